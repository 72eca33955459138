"""When the values of a program come in a stream that takes one step of the whole program a call.

Call after call hears the next mel frames and gives one decision. A value that comes several times in a step
comes as often in each call. ``models/graph/stream.py`` says with which mel frame the first of each comes;
what a call holds of a value before its first is no value at all, and must not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.errors import ModelError
from models.integer.ops import Pool, Program, Window, first_frames, shapes_of, step_frames


@dataclass(frozen=True)
class Timing:
    """What a call hears, and what of each value it holds.

    Attributes:
        hop: Mel frames P from one decision to the next, and from one call's window to the next one's.
        width: Mel frames that a call hears.
        ahead: Frames of zeros before the first mel frame.
        skip: Calls before the first decision.
        head: The window that reads mel frames, and gets all that it needs in each call; None where there is
            none, and then each call hears the next P frames.
        live: Which values the logits are made of.
        frames: How often each value comes in a call.
        first: The number of the first of each in call 0; negative: so many are none.
    """

    hop: int
    width: int
    ahead: int
    skip: int
    head: int | None
    live: frozenset[int]
    frames: tuple[int, ...]
    first: tuple[int, ...]

    def newest(self, at: int) -> int:
        """The number of the newest one in call 0."""
        return self.first[at] + self.frames[at] - 1


def timing_of(program: Program) -> Timing:
    """When every value comes.

    Raises:
        ModelError: Values that meet come at different rates, or there is no one decision a time.

    Examples:
        >>> from models.integer.ops import Conv, Input, Last
        >>> conv = Conv(inputs=(0,), channels=2, kernel_mel=40, kernel_time=20, stride_time=8)
        >>> timing = timing_of((Input(mels=40), conv, Last(inputs=(1,))))
        >>> timing.hop, timing.width, timing.ahead, timing.skip
        (8, 20, 0, 0)
    """
    if shapes_of(program)[-1].moving:
        raise ModelError("logits of each frame cannot be streamed; take the last one, or the mean over time")
    steps, comes = step_frames(program), first_frames(program)
    hop, last_one = steps[-1], len(program) - 1
    frames = tuple(hop // step if at in comes else 1 for at, step in enumerate(steps))
    # The newest of each value when the first decision is made.
    newest = [(comes[last_one] - comes.get(at, 0)) // step for at, step in enumerate(steps)]
    head = _head(program, list(comes))
    start = 0 if head is None else head
    skip = -(-(newest[start] + 1) // frames[start]) - 1
    first = tuple(last - (skip + 1) * count + 1 for last, count in zip(newest, frames, strict=True))
    op = program[start]
    span, before = (op.span_time, op.before) if isinstance(op, Window) else (1, 0)
    stride = steps[start]
    width, ahead = span + (frames[start] - 1) * stride, before - first[start] * stride
    return Timing(hop, width, ahead, skip, head, frozenset(comes), frames, first)


def _head(program: Program, live: Sequence[int]) -> int | None:
    """What alone reads the mel frames, where it is a window that slides and puts nothing but zeros before."""
    readers = [at for at in live if 0 in program[at].inputs]
    op = program[readers[0]] if len(readers) == 1 else None
    if not isinstance(op, Window) or not op.slides:
        return None
    return None if isinstance(op, Pool) and op.largest and op.before else readers[0]
