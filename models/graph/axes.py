"""The axes of a result: what each is, what a flatten made it of, and which units stand along it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from models.errors import ModelError

BATCH, MEL, TIME, CHANNEL, UNIT, CLASS, ONE = "batch", "mel", "time", "channel", "unit", "class", "one"
# Axes whose length is the input's affair, not the model's.
OPEN = frozenset({BATCH, TIME})

# For each position along an axis the units that it stands and falls with; () is never removed.
Positions = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Part:
    """A factor of an axis.

    Attributes:
        kind: batch, channel, mel, time, unit, class, or one where the axis only holds a place.
        size: Its length in the traced example.
    """

    kind: str
    size: int


@dataclass(frozen=True)
class Axis:
    """One axis of a result.

    Attributes:
        parts: What it is the product of, outermost first: (channel, mel) after a flatten.
        units: Who stands at each position; empty where nobody does.
    """

    parts: tuple[Part, ...]
    units: Positions = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its parts."""
        return tuple(part.kind for part in self.parts)

    @property
    def size(self) -> int:
        """Its length in the traced example."""
        return math.prod(part.size for part in self.parts)

    @property
    def is_open(self) -> bool:
        """Whether its length changes with the input's."""
        return bool(OPEN & set(self.kinds))

    @property
    def positions(self) -> Positions:
        """Who stands at each position, also where nobody does."""
        return self.units or ((),) * self.size

    def resized(self, size: int) -> Axis:
        """The same kind of axis after a layer that moves along it; nobody keeps a place there."""
        if size == self.size:
            return replace(self, units=())
        kind = self.kinds[0] if len(set(self.kinds)) == 1 else self.kinds[-1]
        return Axis((Part(kind, size),))


Axes = tuple[Axis, ...]


def axis(kind: str, size: int, units: Sequence[int] = ()) -> Axis:
    """An axis of one part; units stand along it one after the other."""
    return Axis((Part(kind, size),), tuple((unit,) for unit in units))


def place_of(axes: Axes, kind: str) -> int | None:
    """Where along a shape the axis of a kind stands, alone or in a product; None where it does not."""
    return next((at for at, one in enumerate(axes) if kind in one.kinds), None)


def merged(axes: Iterable[Axis]) -> Axis:
    """The product of axes, outermost first."""
    several = [one for one in axes if one.kinds != (ONE,)]
    if not several:
        return axis(ONE, 1)
    if len(several) == 1:
        return several[0]
    units: Positions = ()
    if any(one.units for one in several):
        grid = itertools.product(*(one.positions for one in several))
        units = tuple(tuple(itertools.chain(*spot)) for spot in grid)
    return Axis(tuple(part for one in several for part in one.parts), units)


def split(whole: Axis, sizes: Sequence[int]) -> tuple[Axes, set[int]]:
    """An axis as the product of axes of those sizes, and the units that find no place in any of them.

    A unit keeps its place where everything that shares an index of one of the new axes belongs to it.
    """
    if len(sizes) == 1:
        return (whole,), set()
    parts = _parts(whole.parts, sizes)
    if not whole.units:
        return tuple(Axis(own) for own in parts), set()
    indices = list(itertools.product(*map(range, sizes)))
    found: list[Axis] = []
    placed: set[int] = set()
    for dim, own in enumerate(parts):
        common: list[set[int] | None] = [None] * sizes[dim]
        for index, units in zip(indices, whole.units, strict=True):
            before = common[index[dim]]
            common[index[dim]] = set(units) if before is None else before & set(units)
        kept: Positions = tuple(tuple(sorted(each or ())) for each in common)
        placed |= set(itertools.chain(*kept))
        found.append(Axis(own, kept if any(kept) else ()))
    return tuple(found), set(itertools.chain(*whole.units)) - placed


def _parts(parts: Sequence[Part], sizes: Sequence[int]) -> list[tuple[Part, ...]]:
    """The parts of each of the new axes; a part that is cut in two gives its kind to both."""
    found = []
    at, left = 0, parts[0].size
    for size in sizes:
        own, missing = [], size
        while missing > 1:
            taken = math.gcd(missing, left)
            if left > 1:
                own.append(Part(parts[at].kind, taken))
            missing, left = missing // taken, left // taken
            if left == 1 and at + 1 < len(parts):
                at, left = at + 1, parts[at + 1].size
        found.append(tuple(own) or (Part(ONE, 1),))
    return found


def reshaped(axes: Axes, sizes: Sequence[int]) -> tuple[Axes, set[int]]:
    """Axes after a reshape to those sizes, and the units that lose their place by it.

    Examples:
        >>> whole = (axis(CHANNEL, 2, [7, 8]), axis(MEL, 3))
        >>> flat, _ = reshaped(whole, [6])
        >>> flat[0].kinds, flat[0].units
        (('channel', 'mel'), ((7,), (7,), (7,), (8,), (8,), (8,)))
        >>> reshaped(flat, [2, 3])[0] == whole
        True
    """
    factors = _refined([one.size for one in axes], sizes)
    pieces: list[Axis] = []
    lost: set[int] = set()
    rest = iter(factors)
    for one in axes:
        own, product = [], 1
        while product < one.size:
            own.append(next(rest))
            product *= own[-1]
        found, without = split(one, own) if own else ((), set(itertools.chain(*one.units)))
        pieces, lost = [*pieces, *found], lost | without
    result, at = [], 0
    for size in sizes:
        start, product = at, 1
        while product < size:
            product *= factors[at]
            at += 1
        result.append(merged(pieces[start:at]))
    return tuple(result), lost


def _refined(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """The coarsest factors of which both shapes are products, in order."""
    factors: list[int] = []
    left, right = ([size for size in sizes if size > 1] for sizes in (before, after))
    while left:
        taken = min(left[0], right[0])
        if left[0] % taken or right[0] % taken:
            raise ModelError(f"a reshape from {list(before)} to {list(after)} cuts across its axes")
        factors.append(taken)
        for sizes in (left, right):
            sizes[0] //= taken
            if sizes[0] == 1:
                sizes.pop(0)
    return factors


class Couplings:
    """Which units live and die together, and where they stand in parameters and buffers.

    It is filled while a graph is made, and read afterwards.

    Attributes:
        owners: For each unit the name of the layer that makes it.
        places: For each parameter's or buffer's name and dimension the units at each of its positions.
    """

    def __init__(self) -> None:
        self.owners: list[str] = []
        self.places: dict[tuple[str, int], Positions] = {}
        self._same: list[int] = []
        self._pinned: set[int] = set()

    def new(self, owner: str, size: int) -> range:
        """Fresh units of a layer."""
        first = len(self.owners)
        self.owners += [owner] * size
        self._same += range(first, first + size)
        return range(first, first + size)

    def find(self, unit: int) -> int:
        """The unit that stands for all that it is coupled with."""
        while self._same[unit] != unit:
            self._same[unit] = self._same[self._same[unit]]
            unit = self._same[unit]
        return unit

    def pin(self, units: Iterable[int]) -> None:
        """Units that can't be removed."""
        self._pinned |= set(units)

    @property
    def pinned(self) -> set[int]:
        """Those that stand for units that can't be removed."""
        return {self.find(unit) for unit in self._pinned}

    def place(self, name: str, dim: int, positions: Positions) -> None:
        """Says who stands along a dimension of a parameter or buffer; a second use couples with the first."""
        before = self.places.setdefault((name, dim), positions)
        if before is not positions:
            self.couple(before, positions)

    def couple(self, left: Positions, right: Positions) -> None:
        """What stands at the same position goes together; beside what stays, it stays."""
        for mine, theirs in zip(left, right, strict=True):
            if not mine or not theirs:
                self.pin(mine + theirs)
            elif len(mine) == len(theirs):
                for one, other in zip(mine, theirs, strict=True):
                    self._same[self.find(one)] = self.find(other)
            else:
                for unit in mine + theirs:
                    self._same[self.find(unit)] = self.find(mine[0])
