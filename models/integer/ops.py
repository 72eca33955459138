"""The operations of an integer model: what each reads, what it gives, which matrices it holds.

A value is a frame of (channels, rows) numbers that comes again and again, or one vector for all of time.
A program is a list of operations; each gives one value, and reads values of operations before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from models.errors import ModelError
from models.integer.joins import Add, Concat, Join, Mul, Pick, repeated
from models.integer.operation import (
    MOST_FRAMES,
    MOST_NUMBERS,
    Act,
    Gives,
    Input,
    MatrixShape,
    Op,
    Rounding,
    Shape,
    at_most,
    not_in,
)
from models.integer.windows import Conv, Pool, Window

__all__ = [
    "GATES",
    "KINDS",
    "Act",
    "Add",
    "Attend",
    "Concat",
    "Conv",
    "Gather",
    "Gives",
    "Gru",
    "Input",
    "Join",
    "Last",
    "MatrixShape",
    "MeanTime",
    "Mul",
    "Op",
    "Pick",
    "Pool",
    "Program",
    "Rounding",
    "Shape",
    "Window",
    "least_frames",
    "repeated",
    "shapes_of",
    "step_frames",
]

GATES = ("r", "z", "n")


@dataclass(frozen=True, kw_only=True)
class Gru(Op):
    """One layer with a state.

    Attributes:
        hidden: Width H of the state.
        rank: Of the matrix that reads the state, as two factors; 0: one whole matrix.
    """

    hidden: int
    rank: int = 0

    @property
    def has_step(self) -> bool:
        """See the base class: of what stands between the two factors."""
        return self.rank > 0

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        if not given[0].moving:
            raise ModelError("a GRU over what does not move")
        if self.rank < 0:
            raise ModelError(f"a rank of {self.rank}")
        return Shape(self.hidden, 1, True)

    def matrices(self, given: Sequence[Shape]) -> tuple[MatrixShape, ...]:
        """Gates r and z have one bias in all, with the input."""
        ih = [MatrixShape(f"ih.{gate}", self.hidden, given[0].size, True) for gate in GATES]
        reads = self.rank or self.hidden
        down = [MatrixShape("hh.down", self.rank, self.hidden, False)] if self.rank else []
        hh = [MatrixShape(f"hh.{gate}", self.hidden, reads, gate == "n") for gate in GATES]
        return (*ih, *down, *hh)


@dataclass(frozen=True, kw_only=True)
class Gather(Op):
    """What takes all of time, as far as a buffer reaches, and gives one value."""

    gathers: ClassVar[bool] = True

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        if not all(one.moving for one in given):
            raise ModelError("a mean over time of what does not move")
        return Shape(given[-1].channels, given[-1].rows, False)


@dataclass(frozen=True, kw_only=True)
class Attend(Gather):
    """A softmax of energies over time, and with it the weighted sum of a value: inputs (energies, value)."""

    arity: ClassVar[int | None] = 2

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        if given[0].size != 1:
            raise ModelError(f"{given[0].size} energies a frame; attention has one")
        return super().shape(given)


@dataclass(frozen=True, kw_only=True)
class MeanTime(Gather):
    """The mean over time."""


@dataclass(frozen=True, kw_only=True)
class Last(Gather):
    """The newest frame."""


# In the order of their numbers in the file.
KINDS: tuple[type[Op], ...] = (Input, Conv, Gru, Attend, MeanTime, Last, Pool, Add, Mul, Concat, Pick)
# Mel frames that a stream looks back on: 1.92 seconds, the 24 frames of 80 ms of the reference study.
LOOK_BACK_FRAMES = 192
Program = tuple[Op, ...]


class FrameCount(NamedTuple):
    """How many frames a value has: of a clip of T, (T + offset) // step.

    Attributes:
        offset: Mel frames.
        step: Mel frames from one to the next.
    """

    offset: int
    step: int


def frame_counts(program: Program) -> tuple[FrameCount, ...]:
    """Of every value; of what does not move, that of what it is made of."""
    found: list[FrameCount] = []
    for op in program:
        offset, step = max(
            (found[one] for one in op.inputs), key=lambda one: one.step, default=FrameCount(0, 1)
        )
        if isinstance(op, Window):
            offset += step * (op.before + op.after + op.stride_time - op.span_time)
            step *= op.stride_time
        found.append(FrameCount(offset, step))
    return tuple(found)


def shapes_of(program: Program) -> tuple[Shape, ...]:
    """The shape of every value.

    Raises:
        ModelError: An operation reads what is not there, or what it cannot read.

    Examples:
        >>> program = (Input(mels=40), Conv(inputs=(0,), channels=2, kernel_mel=5, stride_mel=2))
        >>> shapes_of(program)[1]
        Shape(channels=2, rows=18, moving=True)
    """
    found: list[Shape] = []
    for at, op in enumerate(program):
        _check_inputs(program, at)
        try:
            made = op.shape([found[one] for one in op.inputs])
            _check_formats(program, op)
            at_most(made.size, MOST_NUMBERS, "numbers a frame")
        except ModelError as error:
            raise ModelError(f"operation {at}, {type(op).__name__}: {error}") from None
        if min(made.channels, made.rows) < 1:
            raise ModelError(f"operation {at} gives nothing")
        found.append(made)
    _check_frames(program, found)
    return tuple(found)


def _check_inputs(program: Program, at: int) -> None:
    op = program[at]
    if (op.arity is not None and len(op.inputs) != op.arity) or (op.arity is None and not op.inputs):
        raise ModelError(f"operation {at} reads {len(op.inputs)} values")
    if not_in(op.inputs, range(at)):
        raise ModelError(f"operation {at} reads a value that is not there")
    if isinstance(op, Input) and at:
        raise ModelError(f"operation {at}: the input is the first operation, and no other")


def _check_formats(program: Program, op: Op) -> None:
    given = [_gives(program[one]) for one in op.inputs]
    if Gives.LOGITS in given:
        raise ModelError("it reads logits; they are the last value")
    if isinstance(op, Attend) and given[0] is not Gives.ENERGY:
        raise ModelError("attention over what is no energy")
    if isinstance(op, Rounding) and op.act in (Act.TANH, Act.SIGMOID) and op.gives is not Gives.STEP:
        raise ModelError("what ends in a curve has a format of its own")


def _gives(op: Op) -> Gives:
    return op.gives if isinstance(op, Rounding) else Gives.STEP


def _check_frames(program: Program, shapes: Sequence[Shape]) -> None:
    """Refuses frames that meet and are not equally many, and more of them than any clip has."""
    times = frame_counts(program)
    for at, op in enumerate(program):
        if len({times[one] for one in op.inputs if shapes[one].moving}) > 1:
            raise ModelError(f"operation {at}, {type(op).__name__}: what it reads has not the same frames")
        span = op.span_time * times[op.inputs[0]].step if isinstance(op, Window) else 1
        try:
            at_most(max(times[at].step, span), MOST_FRAMES, "frames")
        except ModelError as error:
            raise ModelError(f"operation {at}, {type(op).__name__}: {error}") from None
    if program:
        at_most(least_frames(program), MOST_FRAMES, "frames")


def step_frames(program: Program) -> tuple[int, ...]:
    """For each value the mel frames from one to the next; of what does not move, of what it is made of."""
    return tuple(one.step for one in frame_counts(program))


def live_values(program: Program) -> tuple[int, ...]:
    """All that the logits are made of, in order."""
    live = {len(program) - 1}
    for at in reversed(range(len(program))):
        if at in live:
            live |= set(program[at].inputs)
    return tuple(sorted(live))


def first_frames(program: Program) -> dict[int, int]:
    """For each live value the mel frame, counted from 0, with which it first comes in a stream.

    Raises:
        ModelError: Values that meet come at different rates.
    """
    steps = step_frames(program)
    found: dict[int, int] = {}
    for at in live_values(program):
        op = program[at]
        if len({steps[one] for one in op.inputs}) > 1:
            raise ModelError(f"operation {at}: what meets here comes at different rates; no stream has it")
        found[at] = max((found[one] for one in op.inputs), default=0)
        if isinstance(op, Window):
            found[at] += steps[op.inputs[0]] * (op.span_time - 1 - op.before)
    return found


def least_frames(program: Program) -> int:
    """Mel frames that a clip must have at least.

    Examples:
        >>> least_frames((Input(mels=40), Conv(inputs=(0,), channels=2, kernel_time=20, stride_time=8)))
        20
    """
    need = [1] * len(program)
    for at in reversed(range(len(program))):
        op = program[at]
        own = need[at]
        if isinstance(op, Window):
            own = max(1, (own - 1) * op.stride_time + op.span_time - op.before - op.after)
        for one in op.inputs:
            need[one] = max(need[one], own)
    return need[0]


def buffer_frames(step_frames: int, look_back: int = LOOK_BACK_FRAMES, *, clip_frames: int = 0) -> int:
    """Frames that a stream looks back on unless it is told otherwise: of 192 mel frames, or a longer clip.

    Args:
        step_frames: Mel frames from one to the next.
        look_back: Mel frames in all.
        clip_frames: Mel frames of a clip.

    Examples:
        >>> buffer_frames(8), buffer_frames(400), buffer_frames(8, clip_frames=401)
        (24, 1, 51)
    """
    longer = -(-clip_frames // step_frames) if clip_frames > look_back else 1
    return max(look_back // step_frames, longer)
