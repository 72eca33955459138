"""When the operations of an integer model run in C, which frames wait for others, and where values lie."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import lcm
from random import Random
from typing import NamedTuple

from models.integer.model import IntegerModel
from models.integer.ops import Gather, Input, Last, Op, Window, first_frames, live_values, step_frames

# Orders of placing values that are tried.
ORDERS = 200


class Slot(NamedTuple):
    """A place in the scratch memory.

    Attributes:
        start: First byte.
        size: Bytes.
        born, last: The places in the order between which it is needed, both included.
        wide: Whether it is of the numbers of 32 bits, which have memory of their own.
    """

    start: int
    size: int
    born: int
    last: int
    wide: bool


class Coming(NamedTuple):
    """How what an operation reads comes.

    Attributes:
        key: The operation whose result comes at the same times: 0, or one that slides or waits.
        depths: For each value that it reads how many frames of it wait at the most.
    """

    key: int
    depths: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """The order of an integer model's operations; those that the logits do not need are left out.

    Attributes:
        model: Whose.
    """

    model: IntegerModel

    @cached_property
    def needed(self) -> tuple[int, ...]:
        """Operations that the logits come from, without the input."""
        return tuple(at for at in live_values(self.model.program) if at)

    @cached_property
    def moving(self) -> tuple[int, ...]:
        """What runs with frames, and what gathers them."""
        return tuple(at for at in self.needed if self._moves(at) or self._gathers(at))

    @cached_property
    def still(self) -> tuple[int, ...]:
        """What runs once a step: what gathers, and what stands behind it."""
        return tuple(at for at in self.needed if not self._moves(at))

    @cached_property
    def flushed(self) -> Mapping[int, int]:
        """Operations that hear frames of zeros behind a clip, and how many."""
        windows = {at: op for at in self.moving if isinstance(op := self.model.program[at], Window)}
        return {at: op.after for at, op in windows.items() if op.after}

    @cached_property
    def gathers(self) -> tuple[int, ...]:
        """What gathers."""
        return tuple(at for at in self.moving if self._gathers(at))

    @cached_property
    def together(self) -> bool:
        """Whether all that gathers does so at the same times."""
        return len({self.first[at] for at in self.gathers}) == 1

    @cached_property
    def first(self) -> Mapping[int, int]:
        """The mel frame with which each value first comes.

        Raises:
            ModelError: Values that meet come at different rates.
        """
        return {0: 0} | first_frames(self.model.program)

    @cached_property
    def coming(self) -> Mapping[int, Coming]:
        """How each operation's result comes; those of what waits nowhere have depths of 0."""
        waiting, found = self._waiting(), {0: Coming(0, ())}
        for at in self.needed:
            op, depths = self.model.program[at], waiting.get(at, (0,))
            slides = isinstance(op, Window) and op.slides
            found[at] = Coming(at if slides or any(depths) else found[op.inputs[0]].key, depths)
        return found

    def _moves(self, at: int) -> bool:
        return self.model.shapes[at].moving

    def _gathers(self, at: int) -> bool:
        return isinstance(self.model.program[at], Gather)

    def _waiting(self) -> dict[int, tuple[int, ...]]:
        """How many frames wait at the most before each operation of several values: by trying all lengths."""
        steps = step_frames(self.model.program)
        around = lcm(*(steps[at] for at in self.needed))
        most: dict[int, list[int]] = {}
        stream = _Tokens(self.model.program, self.moving, self.still)
        for frame in range(max(self.model.least_frames, *self.first.values()) + 2 * around + 2):
            stream.run(0, most)
            if frame + 1 >= self.model.least_frames and self.flushed:
                ending = stream.copy()
                for at, count in self.flushed.items():
                    for _ in range(count):
                        ending.run(at, most)
        return {at: tuple(depths) for at, depths in most.items()}

    @cached_property
    def slots(self) -> Mapping[int, Slot]:
        """Where values lie, by their operation; the input and the logits are the caller's."""
        sources = sorted({self.source(at) for at in self.needed[:-1]})
        lives = {at: (self.bytes_of(at), *self._life(at)) for at in sources}
        wide = {at: life for at, life in lives.items() if self.model.formats[at].bits == 32}
        narrow = {at: life for at, life in lives.items() if at not in wide}
        unit = max((self.model.formats[at].bits // 8 for at in narrow), default=1)
        return _placed(narrow, unit, wide=False) | _placed(wide, 4, wide=True)

    def source(self, at: int) -> int:
        """The operation in whose memory a value lies: the last frame stays where it is."""
        op = self.model.program[at]
        return op.inputs[0] if isinstance(op, Last) and op.inputs[0] else at

    def bytes_of(self, at: int) -> int:
        """Bytes of a value."""
        return self.model.shapes[at].size * self.model.formats[at].bits // 8

    def _life(self, at: int) -> tuple[int, int]:
        ops, order = self.model.program, (*self.moving, *self.still)
        # What the end of a clip reads is not written over in the meantime.
        if any(isinstance(ops[one], Last) and at in (one, *ops[one].inputs) for one in self.gathers):
            return 0, len(order)
        # What gathers is there twice: where it takes frames, and where it gives its result.
        born = len(order) - 1 - order[::-1].index(at)
        return born, max(order.index(one) for one in self.needed if at in ops[one].inputs)

    @property
    def arena_bytes(self) -> int:
        """Bytes of scratch memory for values."""
        return sum(_reach(slots) for slots in self._arenas())

    @property
    def least_arena_bytes(self) -> int:
        """What no order of places can go below: the most that is needed at once."""
        return sum(_most_at_once(slots) for slots in self._arenas())

    def _arenas(self) -> list[list[Slot]]:
        return [[slot for slot in self.slots.values() if slot.wide is wide] for wide in (False, True)]


def _placed(lives: Mapping[int, tuple[int, int, int]], unit: int, *, wide: bool) -> dict[int, Slot]:
    """Places for (size, born, last), each as far down as those beside it in time leave room.

    The largest go first; where that leaves gaps, some other orders are tried.
    """
    draw, order, best = Random(0), sorted(lives, key=lambda at: -lives[at][0]), dict[int, Slot]()
    for _ in range(ORDERS):
        found = _in_order([(at, lives[at]) for at in order], unit, wide)
        if not best or _reach(found.values()) < _reach(best.values()):
            best = found
        if _reach(best.values()) <= _most_at_once(best.values()):
            break
        draw.shuffle(order)
    return best


def _reach(slots: Iterable[Slot]) -> int:
    return max((slot.start + slot.size for slot in slots), default=0)


def _most_at_once(slots: Collection[Slot]) -> int:
    return max(
        (sum(one.size for one in slots if one.born <= slot.born <= one.last) for slot in slots), default=0
    )


def _in_order(lives: Iterable[tuple[int, tuple[int, int, int]]], unit: int, wide: bool) -> dict[int, Slot]:
    found: dict[int, Slot] = {}
    for at, (size, born, last) in lives:
        start = 0
        for one in sorted(found.values()):
            if one.born <= last and born <= one.last and one.start < start + size:
                start = max(start, -(-(one.start + one.size) // unit) * unit)
        found[at] = Slot(start, size, born, last, wide)
    return found


@dataclass
class _Tokens:
    """A stream in which only the coming of frames is followed."""

    program: tuple[Op, ...]
    moving: tuple[int, ...]
    still: tuple[int, ...]
    held: dict[int, int] = field(default_factory=dict)
    queues: dict[int, list[int]] = field(default_factory=dict)

    def copy(self) -> _Tokens:
        """The same, to go on apart."""
        queues = {at: list(queue) for at, queue in self.queues.items()}
        return _Tokens(self.program, self.moving, self.still, dict(self.held), queues)

    def run(self, flush: int, most: dict[int, list[int]]) -> None:
        """A mel frame, or a frame of zeros into one operation; notes how much waits."""
        came = {0: not flush}
        behind = () if flush else tuple(at for at in self.still if at not in self.moving)
        for at in (*self.moving, *behind):
            op = self.program[at]
            if len(op.inputs) > 1:
                came[at] = self._joined(at, [came[one] for one in op.inputs], most)
            else:
                came[at] = (came[op.inputs[0]] or flush == at) and self._slides(at, op)

    def _slides(self, at: int, op: Op) -> bool:
        if isinstance(op, Input) or not isinstance(op, Window) or not op.slides:
            return True
        held = self.held.get(at, op.before)
        held += 1 - op.stride_time * (held == op.span_time)
        self.held[at] = held
        return held == op.span_time

    def _joined(self, at: int, came: Sequence[bool], most: dict[int, list[int]]) -> bool:
        queue = self.queues.setdefault(at, [0] * len(came))
        queue[:] = [own + one for own, one in zip(queue, came, strict=True)]
        fired = all(queue)
        queue[:] = [own - fired for own in queue]
        most[at] = [max(pair) for pair in zip(most.get(at, queue), queue, strict=True)]
        return fired
