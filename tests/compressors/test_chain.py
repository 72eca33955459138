from dataclasses import dataclass
from typing import ClassVar

import pytest

from compressors import registry
from compressors.base import Compressor
from compressors.chain import parse
from models.crnn import CrnnSpec
from models.errors import ChainError

BASE = CrnnSpec()


@pytest.mark.parametrize(
    ("text", "label", "acting"),
    [
        ("dq+sp+ad+kd", "DQ+SP+AD+KD", ["kd", "ad", "sp", "dq"]),
        ("dq+kd+sp+ad", "DQ+SP+AD+KD", ["kd", "ad", "sp", "dq"]),
        (" DQ + kd ", "DQ+KD", ["kd", "dq"]),
        ("dq", "DQ+B", ["dq"]),
        ("", "B", []),
        ("base", "B", []),
        (" Base ", "B", []),
        ("kd:kernel=13x5,hidden=12", "KD(kernel=13x5,hidden=12)", ["kd"]),
    ],
)
def test_reading(text: str, label: str, acting: list[str]) -> None:
    chain = parse(text, BASE)
    assert chain.label == label
    assert [part.token for part in chain.parts] == acting


@pytest.mark.parametrize(
    ("text", "student"),
    [
        ("kd", CrnnSpec(channels=4, kernel=(15, 5), hidden=21)),
        ("kd:hidden=12,kernel=13x5", CrnnSpec(channels=4, kernel=(13, 5), hidden=12)),
        ("ad+kd", CrnnSpec(channels=2, hidden=10)),
        ("ad", CrnnSpec(channels=2, hidden=10)),
        ("ad+kd:hidden=8", CrnnSpec(channels=2, hidden=8)),
        ("sp+ad+kd", BASE),
        ("sp", BASE),
        ("dq", BASE),
    ],
)
def test_students_are_the_studys(text: str, student: CrnnSpec) -> None:
    assert parse(text, BASE).student(BASE) == student


@pytest.mark.parametrize(
    "text", ["kd:hidden=12,channels=3", "kd:channels=3,hidden=12", "KD:channels=3,hidden=12,alpha=0.95"]
)
def test_a_chain_has_one_text(text: str) -> None:
    assert parse(text, BASE).text == "kd:channels=3,hidden=12"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kx", r"no compressor 'kx'.*there is: ad, dq, fd, kd, lr, qat, sp, sq"),
        ("dk", r"no compressor 'dk'"),
        ("kd+kd", "'kd' stands twice"),
        ("kd+dq", r"nothing can be trained after 'dq'; write dq\+kd"),
        ("sp+dq+kd", r"write dq\+sp\+kd"),
        ("kd:hiden=3", "cannot read option 'hiden=3'.*hidden="),
        ("kd:share=1", "cannot read option 'share=1'"),
        ("kd:hidden=few", "hidden=few must be a whole number"),
        ("kd:kernel=3", "kernel=3 must be 2 whole numbers joined by x, such as 8x6"),
        ("kd:kernel=50x5", "50 mel bands"),
        ("kd:alpha=1.5", "alpha=1.5 must be above 0"),
        ("kd:temperature=0", "temperature=0 must be from 0.001 to 1000"),
        ("kd:channels=8,kernel=5x20,hidden=64", "the student is the base itself"),
        ("ad+kd:kernel=15x5", "attends to 11 frames a clip and the student to 13"),
        ("kd:temperature=nan", "must be a finite number"),
        ("sp:decay=inf", "must be a finite number"),
        ("sp:keep=0", "keep=0.0 must be above 0"),
        ("kd:hidden=100000000", r"kd:hidden=100000000: a model of .* more than the base's 70,443"),
        ("kd:hidden=200", r"kd:hidden=200: a model of .* more than the base's 70,443"),
        ("kd:kernel=5x99999999999999", "more than the base's 70,443"),
        ("sq+kd:channels=1000000000", "more than the base's 70,443"),
        ("sp+ad+kd:channels=9", "more than the base's 70,443"),
        ("kd:hidden=" + "9" * 18, "of these sizes cannot be built"),
        ("lr:rank=20000", "makes the GRU no smaller"),
        ("lr:recurrent=1" + "0" * 30, "is more than any matrix has; at most 65536"),
        ("sp:decay=-1", "decay=-1 must be above 0"),
        ("+kd", "nothing stands on one side of a plus; write dq.kd, or base for the base alone"),
        ("kd+", "nothing stands on one side of a plus"),
        (" + ", "nothing stands on one side of a plus"),
        ("dq++kd", "nothing stands on one side of a plus"),
        (",", "no compressor ','; there is: .*, and base, which stands alone"),
        ("dq+base", "no compressor 'base'; .* and base, which stands alone"),
        ("kd:temperature=1e+3", r"^kd:temperature=1e\+3: a plus joins compressors.* such as 1e3 or 12"),
        ("dq+kd:hidden=+12+sp", r"^dq\+kd:hidden=\+12\+sp: a plus joins compressors"),
        ("kd:temperature=1e300", "temperature=1e300 must be from 0.001 to 1000"),
        ("ad:temperature=1e-9", "temperature=1e-09 must be from 0.001 to 1000"),
        ("sp:decay=1e7", "decay=10000000 must be above 0 and at most 1000000"),
        ("lr:rank=1e300", "is more than any matrix has; at most 65536"),
        ("qat:bits=8/gru.hh=44", "bits=gru.hh=44 must be a width from 2 to 8"),
    ],
)
def test_refusals_say_what_would_work(text: str, says: str) -> None:
    with pytest.raises(ChainError, match=says) as refused:
        parse(text, BASE)
    assert "\n" not in str(refused.value)


def test_two_converters_are_refused() -> None:
    @dataclass(frozen=True)
    class Other(registry.compressors()["dq"]):  # type: ignore[misc]
        token: ClassVar[str] = "other"

    registry.register(Other)
    try:
        with pytest.raises(ChainError, match="both make the form that ships"):
            parse("dq+other", BASE)
    finally:
        del registry._COMPRESSORS["other"]


@pytest.mark.parametrize(("token", "says"), [("kd", "already registered"), ("K D", "lower-case")])
def test_tokens_are_given_once(token: str, says: str) -> None:
    broken = dataclass(frozen=True)(type("Broken", (Compressor,), {"token": token}))
    with pytest.raises(ChainError, match=says):
        registry.register(broken)
