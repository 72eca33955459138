"""The operations of an integer model: what each reads, what it gives, which matrices it holds.

A value is a frame of (channels, rows) numbers that comes again and again, or one vector for all of time.
A program is a list of operations; each gives one value, and reads values of operations before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple

from models.errors import ModelError

GATES = ("r", "z", "n")
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


@dataclass(frozen=True, kw_only=True)
class Window(Rounding):
    """What slides over rows and frames.

    Attributes:
        rows: Rows in which the frame is read; 0: as it is given.
        kernel_mel, kernel_time: Its extent.
        stride_mel, stride_time: Its steps.
        dilation_mel, dilation_time: From one tap to the next.
        above, below: Rows of zeros put around.
        before, after: Frames of zeros put around.
    """

    kernel_mel: int = 1
    kernel_time: int = 1
    rows: int = 0
    stride_mel: int = 1
    stride_time: int = 1
    above: int = 0
    below: int = 0
    before: int = 0
    after: int = 0
    dilation_mel: int = 1
    dilation_time: int = 1

    @property
    def span_time(self) -> int:
        """Frames from its first tap to its last, both included."""
        return (self.kernel_time - 1) * self.dilation_time + 1

    @property
    def slides(self) -> bool:
        """Whether it needs more than the frame that comes, or leaves frames out."""
        return self.span_time > 1 or self.stride_time > 1 or self.before > 0 or self.after > 0

    def check(self) -> None:
        """Refuses what is no window.

        Raises:
            ModelError: A size that none has.
        """
        steps = (self.stride_mel, self.stride_time, self.dilation_mel, self.dilation_time)
        if min(self.kernel_mel, self.kernel_time, *steps) < 1:
            raise ModelError("a window that has no extent, or does not move on")
        if min(self.rows, self.above, self.below, self.before, self.after) < 0:
            raise ModelError("less than nothing put around a window")
        at_most(max(self.span_time, self.stride_time), MOST_FRAMES, "frames")

    def read(self, given: Shape) -> Shape:
        """The frame as it reads it: in its own number of rows."""
        rows = self.rows or given.rows
        if given.size % rows:
            raise ModelError(f"a frame of {given.size} numbers has no {rows} rows")
        return Shape(given.size // rows, rows, given.moving)

    def rows_out(self, given: Shape) -> int:
        """Rows of its result."""
        self.check()
        span, read = (self.kernel_mel - 1) * self.dilation_mel + 1, self.read(given)
        padded = read.rows + self.above + self.below
        at_most(read.channels * padded, MOST_NUMBERS, "numbers a frame")
        if span > padded:
            raise ModelError(f"a window of {span} rows over {read.rows}")
        if self.slides and not given.moving:
            raise ModelError("a window over time of what does not move")
        if max(self.before, self.after) >= self.span_time and self.slides:
            raise ModelError("a window of padding alone")
        rows = (padded - span) // self.stride_mel + 1
        at_most(read.channels * rows * self.kernel_mel * self.kernel_time, MOST_READ, "numbers to read")
        return rows


@dataclass(frozen=True, kw_only=True)
class Conv(Window):
    """Weighted sums: a convolution, a linear layer, a norm of each channel.

    Attributes:
        channels: Of its result.
        biased: Whether it has biases.
        groups: Parts of the channels that it keeps apart; 0: each channel is one.
    """

    channels: int
    biased: bool = True
    groups: int = 1

    def parts(self, given: Shape) -> int:
        """Number of groups."""
        channels = self.read(given).channels
        groups = self.groups or channels
        if channels % groups or self.channels % groups:
            raise ModelError(f"{channels} channels to {self.channels} in {groups} groups")
        return groups

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        rows = self.rows_out(given[0])
        self.parts(given[0])
        return Shape(self.channels, rows, given[0].moving)

    def matrices(self, given: Sequence[Shape]) -> tuple[MatrixShape, ...]:
        """A row for each output channel: its part of the input channels, each kernel mel-major."""
        each = self.read(given[0]).channels // self.parts(given[0])
        columns = each * self.kernel_mel * self.kernel_time
        return (MatrixShape("", self.channels, columns, self.biased),)


@dataclass(frozen=True, kw_only=True)
class Pool(Window):
    """The mean or the largest of each window.

    Attributes:
        largest: Whether it is the largest; its result then has the format of what it reads.
    """

    largest: bool = False

    @property
    def has_step(self) -> bool:
        """See the base class."""
        return not self.largest and super().has_step

    def check(self) -> None:
        """See the base class."""
        super().check()
        if self.largest and (self.act is not Act.NONE or self.gives is not Gives.STEP):
            raise ModelError("the largest is given as it is: no activation, no other format")
        if not self.largest:
            at_most(self.kernel_mel * self.kernel_time, MOST_MEAN, "numbers of a mean")

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        rows = self.rows_out(given[0])
        return Shape(self.read(given[0]).channels, rows, given[0].moving)


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
class Join(Rounding):
    """Values brought to one step; where one has a single row or channel, it is repeated.

    Attributes:
        channels: Of the result; 0: those of the first value.
        rows: Of the result; 0: those of the first value.
    """

    arity: ClassVar[int | None] = None

    channels: int = 0
    rows: int = 0

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        moving = {one.moving for one in given}
        if len(moving) > 1:
            raise ModelError("what moves meets what does not")
        channels, rows = self.channels or given[0].channels, self.rows or given[0].rows
        for one in given:
            repeated(one.size, channels, rows)
        return Shape(channels, rows, moving.pop())


def repeated(size: int, channels: int, rows: int) -> tuple[int, int]:
    """How far apart in memory the numbers of neighbouring channels and rows are; 0 where one is repeated.

    Where a frame has as many channels as rows, so many numbers are one of each channel.

    Raises:
        ModelError: That many numbers fit nowhere.

    Example:
        >>> repeated(12, 3, 4), repeated(3, 3, 4), repeated(4, 3, 4), repeated(1, 3, 4)
        ((4, 1), (1, 0), (0, 1), (0, 0))
    """
    if size == channels * rows and rows > 1:
        return (rows, 1)
    if size == channels > 1:
        return (1, 0)
    if size in (rows, 1):
        return (0, int(size > 1))
    raise ModelError(f"{size} numbers beside {channels} x {rows}")


@dataclass(frozen=True, kw_only=True)
class Add(Join):
    """A sum; of one value, the value in another format.

    Attributes:
        minus: A bit for each value that is subtracted.
    """

    minus: int = 0

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        if self.minus >> len(given):
            raise ModelError("a sign for a value that it does not read")
        return super().shape(given)


@dataclass(frozen=True, kw_only=True)
class Mul(Join):
    """A product of two values."""

    arity: ClassVar[int | None] = 2


@dataclass(frozen=True, kw_only=True)
class Concat(Rounding):
    """Values one behind the other."""

    arity: ClassVar[int | None] = None

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        if len({one.moving for one in given}) > 1:
            raise ModelError("what moves stands behind what does not")
        rows = given[0].rows if len({one.rows for one in given}) == 1 else 1
        return Shape(sum(one.size for one in given) // rows, rows, given[0].moving)


@dataclass(frozen=True, kw_only=True)
class Pick(Op):
    """Numbers of a frame, in an order of its own: a transpose, a part.

    Attributes:
        order: For each number of the result where it stands in the frame.
        rows: Of the result.
    """

    order: tuple[int, ...]
    rows: int = 1

    def shape(self, given: Sequence[Shape]) -> Shape:
        """See the base class."""
        places = range(given[0].size)
        if not self.order or self.rows < 1 or len(self.order) % self.rows or not_in(self.order, places):
            raise ModelError(f"a choice of {len(self.order)} numbers out of {given[0].size}")
        return Shape(len(self.order) // self.rows, self.rows, given[0].moving)


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
Program = tuple[Op, ...]


class Timing(NamedTuple):
    """How many frames a value has: of a clip of T, (T + offset) // step.

    Attributes:
        offset: Mel frames.
        step: Mel frames from one to the next.
    """

    offset: int
    step: int


def timings(program: Program) -> tuple[Timing, ...]:
    """Of every value; of what does not move, that of what it is made of."""
    found: list[Timing] = []
    for op in program:
        offset, step = max((found[one] for one in op.inputs), key=lambda one: one.step, default=Timing(0, 1))
        if isinstance(op, Window):
            offset += step * (op.before + op.after + op.stride_time - op.span_time)
            step *= op.stride_time
        found.append(Timing(offset, step))
    return tuple(found)


def shapes_of(program: Program) -> tuple[Shape, ...]:
    """The shape of every value.

    Raises:
        ModelError: An operation reads what is not there, or what it cannot read.

    Example:
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
    times = timings(program)
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


def step_frames(program: Program) -> tuple[int, ...]:
    """For each value the mel frames from one to the next; of what does not move, of what it is made of."""
    return tuple(one.step for one in timings(program))


def least_frames(program: Program) -> int:
    """Mel frames that a clip must have at least.

    Example:
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


def buffer_frames(step_frames: int) -> int:
    """Frames that a stream looks back on unless it is told otherwise: as many as 1.92 seconds have.

    Example:
        >>> buffer_frames(8), buffer_frames(2), buffer_frames(400)
        (24, 96, 1)
    """
    return max(1, 192 // step_frames)
