import pytest

from models.numbers import number, shortest, whole

# What int and float read, and no one types on purpose.
STRANGE = ["１０", "٣", "1_000", " 1", "1 ", "1\n", "", "+", "-", "nan", "inf", "-Infinity", "0x10", "½"]


@pytest.mark.parametrize("text", [*STRANGE, "1.0", "1e3", "9" * 19])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no whole number of at most 18 digits, such as 12"):
        whole(text)


@pytest.mark.parametrize("text", [*STRANGE, "1e999", "-1e999", "9" * 400, "1e", "e3", ".", "1.2.3", "1e１"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no finite number such as 0\.5 or 1e3"):
        number(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-007", -7), ("+12", 12), ("9" * 18, 10**18 - 1)])
def test_whole_numbers(text: str, value: int) -> None:
    assert whole(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.", 1), (".5", 0.5), ("-1E+3", -1000), ("2e-3", 0.002), ("+0.25", 0.25), ("12", 12)],
)
def test_numbers(text: str, value: float) -> None:
    assert number(text) == value


def test_nothing_has_no_sign() -> None:
    assert str(number("-0.0")) == "0.0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((2.0, "2"), (0.9, "0.9"), (0.95, "0.95"), (1 / 16, "0.0625"), (1e-5, "1e-05"), (-0.5, "-0.5")),
        *(
            (0.1234567, "0.1234567"),
            (1e6, "1000000"),
            (1e16, "1e16"),
            (1.5e300, "1.5e300"),
            (5e-324, "5e-324"),
        ),
    ],
)
def test_the_shortest_text(value: float, text: str) -> None:
    assert shortest(value) == text
