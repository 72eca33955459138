"""When the operations of an integer model run in C, which frames wait for others, and where values lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import lcm
from typing import NamedTuple

from models.errors import ModelError
from models.integer.model import IntegerModel
from models.integer.ops import Gather, Input, Last, Op, Window, step_frames


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
        found = {len(self.model.program) - 1}
        for at in range(len(self.model.program) - 1, 0, -1):
            if at in found:
                found |= set(self.model.program[at].inputs)
        return tuple(sorted(found - {0}))

    @cached_property
    def moving(self) -> tuple[int, ...]:
        """What runs with frames, and what gathers them."""
        return tuple(at for at in self.needed if self._moves(at) or self._gathers(at))

    @cached_property
    def still(self) -> tuple[int, ...]:
        """What runs once a step: what gathers, and what stands behind it."""
        return tuple(at for at in self.needed if not self._moves(at))

    @cached_property
    def flushed(self) -> tuple[int, ...]:
        """Operations that hear frames of zeros behind a clip."""
        ops = self.model.program
        return tuple(at for at in self.moving if isinstance(op := ops[at], Window) and op.after)

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
        steps, found = step_frames(self.model.program), {0: 0}
        for at in self.needed:
            op = self.model.program[at]
            if len({steps[one] for one in op.inputs}) > 1:
                raise ModelError(f"operation {at}: what meets here comes at different rates; no stream has it")
            found[at] = max(found[one] for one in op.inputs)
            if isinstance(op, Window):
                found[at] += steps[op.inputs[0]] * (op.span_time - 1 - op.before)
        return found

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
                for at in self.flushed:
                    for _ in range(self.model.program[at].after):  # type: ignore[attr-defined]
                        ending.run(at, most)
        return {at: tuple(depths) for at, depths in most.items()}

    @cached_property
    def slots(self) -> Mapping[int, Slot]:
        """Where values lie, by their operation; the input and the logits are the caller's."""
        order = (*self.moving, *(at for at in self.still))
        end, lives = len(order), {}
        for at in self.needed[:-1]:
            if source := self.source(at):
                lives[source] = self._life(source, order, end)
        sizes = {at: self.bytes_of(at) for at in lives}
        narrow = [at for at in lives if self.model.formats[at].bits < 32]
        found: dict[int, Slot] = {}
        for group in (narrow, [at for at in lives if at not in narrow]):
            found |= _placed({at: (sizes[at], *lives[at]) for at in group}, wide=group is not narrow)
        return found

    def source(self, at: int) -> int:
        """The operation in whose memory a value lies: the last frame stays where it is."""
        op = self.model.program[at]
        return op.inputs[0] if isinstance(op, Last) and op.inputs[0] else at

    def bytes_of(self, at: int) -> int:
        """Bytes of a value."""
        return self.model.shapes[at].size * self.model.formats[at].bits // 8

    def _life(self, at: int, order: Sequence[int], end: int) -> tuple[int, int]:
        ops = self.model.program
        # What the end of a clip reads is not written over in the meantime.
        if any(isinstance(ops[one], Last) and at in (one, *ops[one].inputs) for one in self.gathers):
            return 0, end
        places = [place for place, one in enumerate(order) if at in ops[one].inputs]
        # What gathers is there twice: where it takes frames, and where it gives its result.
        return max(place for place, one in enumerate(order) if one == at), max(places)

    @property
    def arena_bytes(self) -> int:
        """Bytes of scratch memory for values."""
        return sum(
            max((slot.start + slot.size for slot in self.slots.values() if slot.wide is wide), default=0)
            for wide in (False, True)
        )

    @property
    def least_arena_bytes(self) -> int:
        """What no order of places can go below: the most that is needed at once."""
        slots = self.slots.values()
        return max(
            sum(slot.size for slot in slots if slot.born <= at <= slot.last)
            for at in range(1 + max(slot.last for slot in slots))
        )


def _placed(lives: Mapping[int, tuple[int, int, int]], *, wide: bool) -> dict[int, Slot]:
    """Places, the largest first, each as far down as those that live at the same time leave room."""
    found: dict[int, Slot] = {}
    for at, (size, born, last) in sorted(lives.items(), key=lambda item: -item[1][0]):
        beside = sorted(one for one in found.values() if one.born <= last and born <= one.last)
        start = 0
        for one in beside:
            if one.start >= start + size:
                break
            start = max(start, _even(one.start + one.size))
        found[at] = Slot(start, size, born, last, wide)
    return found


def _even(size: int) -> int:
    return size + size % 2


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
