"""Operations that slide over rows and frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.errors import ModelError
from models.integer.operation import (
    MOST_FRAMES,
    MOST_MEAN,
    MOST_NUMBERS,
    MOST_READ,
    Act,
    Gives,
    MatrixShape,
    Rounding,
    Shape,
    at_most,
)


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
