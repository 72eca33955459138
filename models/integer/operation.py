"""What an operation is: the values that it reads and gives, its matrices, how it rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple

from models.errors import ModelError

# What no keyword spotter comes near, and a damaged file may claim: numbers of a frame with what is put around
# it, mel frames of a window or of a clip, numbers that the windows of a frame read in all, and those of a
# mean, whose sum is to fit in 32 bits.
MOST_NUMBERS, MOST_FRAMES, MOST_READ, MOST_MEAN = 2**16, 2**12, 2**24, 2**15


class Act(IntEnum):
    """What is done with a sum before it is rounded."""

    NONE = 0
    RELU = 1
    RELU6 = 2
    TANH = 3
    SIGMOID = 4
    SILU = 5


class Gives(IntEnum):
    """The format of a result: its own step, or a fixed one."""

    STEP = 0
    ENERGY = 1
    LOGITS = 2


class Shape(NamedTuple):
    """The shape of a value.

    Attributes:
        channels: Outer axis C.
        rows: Inner axis, what is left of the mel bands.
        moving: Whether it comes with every frame; else it is one for all of time.
    """

    channels: int
    rows: int
    moving: bool

    @property
    def size(self) -> int:
        """Numbers in it."""
        return self.channels * self.rows


class MatrixShape(NamedTuple):
    """A matrix of an operation.

    Attributes:
        name: Within the operation; empty where it has one.
        rows: Outputs.
        columns: Inputs.
        biased: Whether it has a bias for each row.
    """

    name: str
    rows: int
    columns: int
    biased: bool


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation.

    Attributes:
        inputs: The values that it reads, by their place in the program.
    """

    inputs: tuple[int, ...]
    # How many it may read; None: any number from one up.
    arity: ClassVar[int | None] = 1
    # Whether it turns what moves into one value for all of time.
    gathers: ClassVar[bool] = False

    def shape(self, given: Sequence[Shape]) -> Shape:
        """The shape of its result.

        Raises:
            ModelError: It cannot read these.
        """
        raise NotImplementedError

    def matrices(self, given: Sequence[Shape]) -> tuple[MatrixShape, ...]:
        """Its matrices, in the order of the file."""
        return ()

    @property
    def has_step(self) -> bool:
        """Whether one number of its own says what a unit of its result stands for."""
        return False


@dataclass(frozen=True, kw_only=True)
class Rounding(Op):
    """An operation that rounds sums to a format.

    Attributes:
        act: What is done before.
        gives: The format.
    """

    act: Act = Act.NONE
    gives: Gives = Gives.STEP

    @property
    def has_step(self) -> bool:
        """See the base class; what a curve limits has a fixed format."""
        return self.gives is Gives.STEP and self.act not in (Act.TANH, Act.SIGMOID)


@dataclass(frozen=True, kw_only=True)
class Input(Op):
    """Quantized log-mel: one channel of so many rows."""

    arity: ClassVar[int | None] = 0

    inputs: tuple[int, ...] = ()
    mels: int

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        return Shape(1, self.mels, True)


def not_in(values: Sequence[int], places: range) -> bool:
    """Whether one of some numbers is none of these."""
    return any(one not in places for one in values)


def at_most(found: int, most: int, what: str) -> None:
    """Refuses what is too large.

    Raises:
        ModelError: It is.
    """
    if found > most:
        raise ModelError(f"{found} {what}, and there may be {most}")
