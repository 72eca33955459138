import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar

import pytest

from compressors import registry
from compressors.base import Compressor, Phase
from compressors.chain import parse
from compressors.registry import compressors, options, read, written
from models.crnn import CrnnSpec
from models.errors import ChainError

OPTIONS = [
    (token, option.name, str(option.hint))
    for token, kind in compressors().items()
    for option in options(kind, CrnnSpec())
]


def floats(rng: Random) -> Iterator[float]:
    """Of all sizes: any bits that are a finite number, powers of ten, and what people type."""
    yield from (0.0, -0.0, 5e-324, 1.7976931348623157e308)
    for exponent in range(-308, 309, 4):
        yield float(f"1e{exponent}")
    for _ in range(100):
        (value,) = struct.unpack("d", rng.randbytes(8))
        if math.isfinite(value):
            yield value
        yield round(rng.uniform(-2000, 2000), rng.randrange(9))


def texts(hint: str, rng: Random) -> Iterator[tuple[str, Any]]:
    """Texts of values that an option of some type accepts, and the values."""
    if "tuple" in hint:
        pairs = [(rng.randrange(-(10**6), 10**6), rng.randrange(10**9)) for _ in range(100)]
        yield from ((f"{first}x{second}", (first, second)) for first, second in pairs)
    elif "bool" in hint:
        yield from (("true", True), ("FALSE", False))
    elif "float" in hint:
        # As Python writes it, less the plus; %.17g is exact, too.
        yield from ((repr(value).replace("e+", "e"), value) for value in floats(rng))
        yield from ((f"{value:.17g}".replace("e+", "e"), value) for value in floats(rng))
    elif "int" in hint:
        yield from (
            (str(value), value) for value in (rng.randrange(10 ** rng.randrange(1, 19)) for _ in range(100))
        )
    else:
        yield from ((text, text) for text in ("8/gru.hh=4", "4", "a b", "", "x:y=z", "ä"))


def test_every_compressor_has_options_of_a_type_that_is_tried() -> None:
    assert {
        ("kd", "temperature"),
        ("kd", "kernel"),
        ("sp", "channels"),
        ("fd", "stride"),
        ("fd", "node"),
        ("sq", "fallback"),
        ("qat", "bits"),
    } <= {(token, name) for token, name, _ in OPTIONS}


@pytest.mark.parametrize(("token", "name", "hint"), OPTIONS)
def test_what_is_written_is_read_back_as_the_same(token: str, name: str, hint: str) -> None:
    """For every value: one text a value, one value a text, and none that is split where chains are joined."""
    values: dict[str, Any] = {}
    written_as: dict[Any, str] = {}
    for text, value in texts(hint, Random(0)):
        found, canonical = read(f"{token}:{name}={text}", CrnnSpec())
        assert found.settings()[name] == value
        assert read(canonical, CrnnSpec()) == (found, canonical)
        assert "+" not in canonical
        assert values.setdefault(canonical, value) == value
        assert written_as.setdefault(value, canonical) == canonical
    assert len(values) > 1


def test_floats_of_up_to_six_digits_are_written_as_ever() -> None:
    """Rows keep their labels: %g is how they were written, up to where it wrote a plus."""
    rng = Random(0)
    for _ in range(1000):
        value = float(f"{rng.uniform(-1, 1):.{rng.randrange(1, 6)}g}e{rng.randrange(-300, 6)}")
        assert written(value) == f"{value:g}"


def test_chains_that_differ_have_texts_that_differ() -> None:
    first, second = (parse(f"kd:alpha={alpha}", CrnnSpec()) for alpha in ("0.1234567", "0.123457"))
    assert (first.text, second.text) == ("kd:alpha=0.1234567", "kd:alpha=0.123457")
    assert parse("dq+kd:temperature=1e2", CrnnSpec()).label == "DQ+KD(temperature=100)"


@pytest.mark.parametrize("value", ["1_0", "１２", " 12", "12 ", "nan", "1e999", "0x1", "1" * 400])
@pytest.mark.parametrize(
    "text",
    [
        *("kd:hidden={},alpha=1", "kd:temperature={},alpha=1", "kd:kernel=5x{},alpha=1"),
        *("sp:keep={},decay=1", "qat:bits={},activations=8", "qat:activations={},bits=8"),
    ],
)
def test_what_is_no_plain_number_is_refused(text: str, value: str) -> None:
    with pytest.raises(ChainError, match="must be") as refused:
        parse(text.format(value), CrnnSpec())
    assert "\n" not in str(refused.value)


def decorated(**changes: Any) -> type[Compressor]:
    """A compressor as a plugin writes it, but for what a test changes."""
    own = {"token": "mine", "summary": "a word", "phase": Phase.TRAIN, "__annotations__": {}} | changes
    return dataclass(frozen=True)(type("Mine", (Compressor,), own))


@dataclass(frozen=True)
class NoCompressor:
    token: ClassVar[str] = "mine"
    summary: ClassVar[str] = "a word"


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (NoCompressor, "NoCompressor must be a class that derives from Compressor"),
        (lambda: None, "<lambda> must be a class that derives from Compressor"),
        (decorated()(), r"Mine\(\) must be a class that derives from Compressor"),
        (type("Bare", (Compressor,), {"token": "mine"}), "Bare must be a frozen dataclass: put @dataclass"),
        (decorated(token=3), "the token 3 of Mine must be lower-case letters and digits"),
        (decorated(token="base"), "the token 'base' of Mine is the base alone"),
        (decorated(summary=None), "Mine must have a summary"),
        (decorated(phase=1), "Mine must have a summary, one line of text, and a phase"),
        (decorated(token="kd"), r"a compressor 'kd' is already registered, by .*distill\.py; choose another"),
    ],
)
def test_what_is_no_compressor_is_refused(what: Any, says: str) -> None:
    there = compressors()
    with pytest.raises(ChainError, match=says):
        registry.register(what)
    assert compressors() == there


def test_the_text_of_an_option_keeps_no_spaces_around_it() -> None:
    @registry.register
    @dataclass(frozen=True)
    class Named(Compressor):
        token: ClassVar[str] = "named"
        summary: ClassVar[str] = "takes a text"
        name: str = ""
        other: int = field(default=0)

    try:
        assert read("named:name=a b,other=1", CrnnSpec())[0] == replace(Named(), name="a b", other=1)
        with pytest.raises(ChainError, match="named: name=a  must be without spaces around it"):
            read("named:name=a ,other=1", CrnnSpec())
    finally:
        del registry._COMPRESSORS["named"]


def test_an_option_that_stands_twice_is_refused() -> None:
    with pytest.raises(ChainError, match="kd: hidden is given twice; write it once"):
        read("kd:hidden=3,hidden=4", CrnnSpec())
