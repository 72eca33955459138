"""Operations that bring the numbers of several values, or of one, together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from models.errors import ModelError
from models.integer.operation import Op, Rounding, Shape, not_in


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

    Examples:
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
