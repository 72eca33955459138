"""Shapes and frames of operations, counted by hand, and what no program may be."""

import re

import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.integer.ops import (
    KINDS,
    Act,
    Add,
    Attend,
    Concat,
    Conv,
    Gives,
    Gru,
    Input,
    Last,
    MatrixShape,
    MeanTime,
    Mul,
    Op,
    Pick,
    Pool,
    Shape,
    least_frames,
    repeated,
    shapes_of,
    step_frames,
)
from tests.programs import PROGRAMS

HEARD = Input(mels=40)
# Values for others to read: 1 the input in 2 channels of 18 rows every 8 frames, 2 an energy, 3 a vector.
STEM = (
    HEARD,
    Conv(inputs=(0,), channels=2, kernel_mel=5, kernel_time=20, stride_mel=2, stride_time=8),
    Conv(inputs=(1,), rows=1, channels=1, gives=Gives.ENERGY),
    Attend(inputs=(2, 1)),
)


def test_shapes_by_hand() -> None:
    assert shapes_of(STEM) == (
        Shape(1, 40, True),
        Shape(2, 18, True),
        Shape(1, 1, True),
        Shape(2, 18, False),
    )
    assert shapes_of(PROGRAMS["depthwise"]) == (
        Shape(1, 40, True),
        Shape(6, 20, True),  # (40 + 8 - 10) // 2 + 1
        Shape(6, 20, True),
        Shape(5, 20, True),
        Shape(5, 1, True),
        Shape(5, 1, False),
        Shape(2, 1, False),
    )
    assert shapes_of(PROGRAMS["split"])[8:15] == (
        Shape(4, 16, True),
        Shape(4, 16, True),
        Shape(4, 8, True),
        Shape(4, 4, True),
        Shape(3, 4, True),
        Shape(7, 4, True),
        Shape(7, 4, True),
    )


def test_matrices_by_hand() -> None:
    def of(op: Op, *given: Shape) -> list[tuple[str, int, int, bool]]:
        return [tuple(one) for one in op.matrices(given)]

    image = Shape(6, 20, True)
    conv = Conv(inputs=(0,), channels=12, kernel_mel=3, kernel_time=5, groups=2)
    assert of(conv, image) == [("", 12, 3 * 3 * 5, True)]
    each = Conv(inputs=(0,), channels=12, kernel_mel=3, groups=0, biased=False)
    assert of(each, image) == [("", 12, 3, False)]
    assert of(Conv(inputs=(0,), rows=1, channels=2), image) == [("", 2, 120, True)]
    gru = [(f"ih.{gate}", 5, 120, True) for gate in "rzn"]
    assert of(Gru(inputs=(0,), hidden=5), image) == [
        *gru,
        *(("hh.r", 5, 5, False), ("hh.z", 5, 5, False), ("hh.n", 5, 5, True)),
    ]
    assert of(Gru(inputs=(0,), hidden=5, rank=2), image) == [
        *gru,
        *(("hh.down", 2, 5, False), ("hh.r", 5, 2, False), ("hh.z", 5, 2, False), ("hh.n", 5, 2, True)),
    ]
    for op in (Pool(inputs=(0,)), Add(inputs=(0,)), Last(inputs=(0,))):
        assert of(op, image) == []
    assert MatrixShape("", 1, 1, True) in Conv(inputs=(0,), channels=1).matrices([Shape(1, 1, True)])


def test_frames_by_hand() -> None:
    """Windows of 3 every 2 frames over windows of 4 every 3, one frame put before: 4 + 3 (3 - 1 - 1)."""
    program = (
        HEARD,
        Conv(inputs=(0,), channels=1, kernel_time=4, stride_time=3),
        Conv(inputs=(1,), channels=1, kernel_time=3, stride_time=2, before=1),
        MeanTime(inputs=(2,)),
        Conv(inputs=(3,), channels=1),
    )
    assert step_frames(program) == (1, 3, 6, 6, 6)
    assert least_frames(program) == 7
    assert (least_frames(STEM), step_frames(STEM)[-1]) == (20, 8)
    # Three taps two frames apart, two frames behind: what is heard reaches two ahead.
    dilated = (HEARD, Conv(inputs=(0,), channels=1, kernel_time=3, dilation_time=2, after=2))
    assert least_frames(dilated) == 3
    assert least_frames((HEARD, Conv(inputs=(0,), channels=1, kernel_time=3, before=1, after=1))) == 1


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("rows", [5, 6, 9, 14])
def test_rows_are_those_of_torch(before: int, stride: int, rows: int) -> None:
    conv = nn.Conv2d(1, 1, (3, 1), (stride, 1), dilation=(2, 1))
    padded = nn.functional.pad(torch.zeros(1, 1, rows, 1), (0, 0, before, 1))
    op = Conv(inputs=(0,), channels=1, kernel_mel=3, stride_mel=stride, dilation_mel=2, above=before, below=1)
    assert op.rows_out(Shape(1, rows, True)) == conv(padded).shape[2]


def test_what_is_repeated_by_hand() -> None:
    """Number (c, r) of a frame of 3 channels and 4 rows reads number c * first + r * second of a value."""
    assert repeated(12, 3, 4) == (4, 1)
    assert repeated(3, 3, 4) == (1, 0)
    assert repeated(4, 3, 4) == (0, 1)
    assert repeated(1, 3, 4) == (0, 0)
    assert repeated(4, 1, 4) == (4, 1)
    assert repeated(4, 4, 1) == (1, 0)
    assert repeated(9, 3, 3) == (3, 1)
    # Where both would fit, a number is one of a channel.
    assert repeated(3, 3, 3) == (1, 0)
    assert repeated(1, 1, 1) == (0, 0)
    with pytest.raises(ModelError, match="2 numbers beside 3 x 4"):
        repeated(2, 3, 4)


def test_kinds_keep_their_numbers() -> None:
    """They stand in files."""
    names = "Input Conv Gru Attend MeanTime Last Pool Add Mul Concat Pick"
    assert [kind.__name__ for kind in KINDS] == names.split()


WIDE = Conv(inputs=(0,), channels=1, kernel_time=3)
REFUSED: list[tuple[tuple[Op, ...], str]] = [
    # What is read.
    ((HEARD, Conv(inputs=(), channels=1)), "operation 1 reads 0 values"),
    ((HEARD, Mul(inputs=(0,))), "operation 1 reads 1 values"),
    ((HEARD, Concat(inputs=())), "operation 1 reads 0 values"),
    ((HEARD, Add(inputs=(1,))), "operation 1 reads a value that is not there"),
    ((HEARD, Add(inputs=(-1,))), "operation 1 reads a value that is not there"),
    (
        (HEARD, Input(mels=40), Conv(inputs=(1,), channels=2)),
        "the input is the first operation, and no other",
    ),
    ((Conv(inputs=(0,), channels=1),), "operation 0 reads a value that is not there"),
    ((HEARD, Conv(inputs=(0,), channels=2, gives=Gives.LOGITS), Add(inputs=(1,))), "reads logits"),
    ((HEARD, Input(mels=40, inputs=(0,))), "operation 1 reads 1 values"),
    # Sizes.
    ((Input(mels=0),), "operation 0 gives nothing"),
    ((HEARD, Conv(inputs=(0,), channels=0)), "operation 1 gives nothing"),
    ((HEARD, Gru(inputs=(0,), hidden=0)), "operation 1 gives nothing"),
    ((HEARD, Gru(inputs=(0,), hidden=2, rank=-1)), "a rank of -1"),
    ((HEARD, Conv(inputs=(0,), channels=1, rows=3)), "a frame of 40 numbers has no 3 rows"),
    ((HEARD, Conv(inputs=(0,), channels=1, kernel_mel=41)), "a window of 41 rows over 40"),
    ((HEARD, Pool(inputs=(0,), kernel_mel=21, dilation_mel=2)), "a window of 41 rows over 40"),
    ((HEARD, Conv(inputs=(0,), channels=3, rows=20, groups=2)), "2 channels to 3 in 2 groups"),
    ((HEARD, Conv(inputs=(0,), channels=4, rows=20, groups=4)), "2 channels to 4 in 4 groups"),
    *(
        ((HEARD, Pool(inputs=(0,), **{name: value})), "a window that has no extent, or does not move on")
        for name in (
            "kernel_mel",
            "kernel_time",
            "stride_mel",
            "stride_time",
            "dilation_mel",
            "dilation_time",
        )
        for value in (0, -1)
    ),
    *(
        ((HEARD, Pool(inputs=(0,), **{name: -1})), "less than nothing put around a window")
        for name in ("rows", "above", "below", "before", "after")
    ),
    # Padding.
    ((HEARD, Pool(inputs=(0,), kernel_time=2, before=2)), "a window of padding alone"),
    ((HEARD, Pool(inputs=(0,), after=1)), "a window of padding alone"),
    # Time.
    ((*STEM, Conv(inputs=(3,), channels=1, kernel_time=2)), "a window over time of what does not move"),
    ((*STEM, Conv(inputs=(3,), channels=1, stride_time=2)), "a window over time of what does not move"),
    ((*STEM, Gru(inputs=(3,), hidden=2)), "a GRU over what does not move"),
    ((*STEM, Add(inputs=(1, 3))), "what moves meets what does not"),
    ((*STEM, Mul(inputs=(1, 3))), "what moves meets what does not"),
    ((*STEM, Concat(inputs=(1, 3))), "what moves stands behind what does not"),
    ((*STEM, MeanTime(inputs=(3,))), "a mean over time of what does not move"),
    ((*STEM, Last(inputs=(3,))), "a mean over time of what does not move"),
    ((*STEM, Attend(inputs=(2, 3))), "a mean over time of what does not move"),
    ((HEARD, WIDE, Add(inputs=(0, 1), rows=40)), "what it reads has not the same frames"),
    ((HEARD, WIDE, Concat(inputs=(0, 1))), "what it reads has not the same frames"),
    (
        (HEARD, Conv(inputs=(0,), channels=1, stride_time=2), Mul(inputs=(0, 1))),
        "what it reads has not the same frames",
    ),
    (
        (HEARD, Conv(inputs=(0,), rows=1, channels=1, gives=Gives.ENERGY), WIDE, Attend(inputs=(1, 2))),
        "what it reads has not the same frames",
    ),
    # Joins.
    ((HEARD, Add(inputs=(0,), channels=3, rows=4)), "operation 1, Add: 40 numbers beside 3 x 4"),
    ((HEARD, Pick(inputs=(0,), order=(1, 2)), Add(inputs=(0, 1))), "2 numbers beside 1 x 40"),
    ((HEARD, Add(inputs=(0, 0), minus=4)), "a sign for a value that it does not read"),
    ((HEARD, Add(inputs=(0,), rows=-40, channels=-1)), "40 numbers beside -1 x -40"),
    # Numbers of a frame.
    ((HEARD, Pick(inputs=(0,), order=())), "a choice of 0 numbers out of 40"),
    ((HEARD, Pick(inputs=(0,), order=(0, 40))), "a choice of 2 numbers out of 40"),
    ((HEARD, Pick(inputs=(0,), order=(0, -1))), "a choice of 2 numbers out of 40"),
    ((HEARD, Pick(inputs=(0,), order=(0, 1, 2), rows=2)), "a choice of 3 numbers out of 40"),
    ((HEARD, Pick(inputs=(0,), order=(0, 1), rows=0)), "a choice of 2 numbers out of 40"),
    # Formats.
    ((HEARD, Attend(inputs=(0, 0))), "40 energies a frame; attention has one"),
    (
        (HEARD, Conv(inputs=(0,), rows=1, channels=1), Attend(inputs=(1, 0))),
        "attention over what is no energy",
    ),
    *(
        ((HEARD, Conv(inputs=(0,), channels=1, act=act, gives=gives)), "a curve has a format of its own")
        for act in (Act.TANH, Act.SIGMOID)
        for gives in (Gives.ENERGY, Gives.LOGITS)
    ),
    ((HEARD, Pool(inputs=(0,), largest=True, act=Act.RELU)), "the largest is given as it is"),
    ((HEARD, Pool(inputs=(0,), largest=True, gives=Gives.LOGITS)), "the largest is given as it is"),
    # What would take all memory, or all day.
    ((Input(mels=65537),), "65537 numbers a frame, and there may be 65536"),
    (
        (HEARD, Pick(inputs=(0,), order=(0,)), Add(inputs=(1,), channels=2**40)),
        "1099511627776 numbers a frame",
    ),
    (
        (HEARD, Pool(inputs=(0,), kernel_mel=65600, above=65599, largest=True)),
        "65639 numbers a frame, and there may be 65536",
    ),
    ((HEARD, Pool(inputs=(0,), kernel_time=4097, before=4096)), "4097 frames, and there may be 4096"),
    ((HEARD, Pool(inputs=(0,), stride_time=4097)), "4097 frames, and there may be 4096"),
    (
        (HEARD, Pool(inputs=(0,), stride_time=64), Pool(inputs=(1,), kernel_time=65, before=64)),
        "4160 frames, and there may be 4096",
    ),
    (
        (HEARD, Pool(inputs=(0,), kernel_mel=40, kernel_time=820)),
        "32800 numbers of a mean, and there may be 32768",
    ),
    ((HEARD, Pool(inputs=(0,), kernel_time=3000), Pool(inputs=(1,), kernel_time=3000)), "5999 frames, and"),
    ((HEARD, Pool(inputs=(0,), kernel_mel=20000, above=40000, largest=True)), "400820000 numbers to read"),
]


@pytest.mark.parametrize(("program", "says"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_program_is_refused(program: tuple[Op, ...], says: str) -> None:
    with pytest.raises(ModelError, match=re.escape(says)) as caught:
        shapes_of(program)
    assert "\n" not in str(caught.value)
