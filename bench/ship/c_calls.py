"""The calls of the C code: one statement or a few for each operation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.ship.c_constants import Constants, is_kept, reads, strides, unchanged
from bench.ship.c_plan import Plan
from models.integer.ops import (
    Add,
    Attend,
    Concat,
    Conv,
    Gather,
    Gru,
    MeanTime,
    Mul,
    Pick,
    Pool,
    Window,
)


class Call(NamedTuple):
    """A statement.

    Attributes:
        key: It runs where the result of this operation came; None: always.
        text: C.
        at: The operation whose matrices it reads; None: of none.
    """

    key: int | None
    text: str
    at: int | None = None


@dataclass
class Body:
    """A function's statements, from those of each operation.

    Attributes:
        plan: What runs when.
        made: The constants.
        still: Whether it is what runs once a step.
        calls: In order.
    """

    plan: Plan
    made: Constants
    still: bool
    calls: list[Call] = field(default_factory=list)

    def pointer(self, at: int) -> str:
        """Where a value lies."""
        if at == 0:
            return "mel"
        if at == len(self.plan.model.program) - 1:
            return "logits"
        slot = self.plan.slots[self.plan.source(at)]
        return f"scratch->wide + {slot.start // 4}" if slot.wide else f"AT({slot.start})"

    def key(self, at: int) -> int | None:
        """With what a value comes; None: always."""
        coming, op = self.plan.coming[at], self.plan.model.program[at]
        if not self.still:
            return coming.key if coming.key or self.plan.flushed else None
        if self.plan.together:
            return None
        if isinstance(op, Gather) or any(coming.depths):
            return at
        return self.key(op.inputs[0])

    def add(self, at: int) -> None:
        """An operation."""
        op = self.plan.model.program[at]
        if self.still and isinstance(op, Gather):
            self._gathered(at, op)
        elif any(self.plan.coming[at].depths):
            self._waiting(at)
        elif isinstance(op, Window) and (op.slides or is_kept(op)):
            self._window(at, op)
        else:
            self._run(at, self.key(op.inputs[0]), [self.pointer(one) for one in op.inputs])

    def _window(self, at: int, op: Window) -> None:
        (one,) = op.inputs
        source, before, flushed = self.pointer(one), self.key(one), at in self.plan.flushed
        if is_kept(op):
            frame = f"flush == {at} ? 0 : {source}" if flushed else source
            held, window = f"&model->held_{at}", f"(kws_value *)model->window_{at}"
            text, x = f"slide(&window_{at}, {held}, {window}, {frame})", f"model->window_{at}"
        else:
            text, x = f"skip(&model->held_{at}, {op.stride_time})", source
        if not op.slides:
            self.calls.append(Call(before, f"(void){text};"))
        elif flushed:
            self.calls.append(Call(None, f"if (came_{before} || flush == {at}) came_{at} = {text};"))
        else:
            self.calls.append(Call(before, f"came_{at} = {text};"))
        self._run(at, at if op.slides else before, [x])

    def _waiting(self, at: int) -> None:
        """Values of which some come before others: each waits for its turn."""
        op, depths = self.plan.model.program[at], self.plan.coming[at].depths
        there, frames, after = [], [], []
        for i, (one, depth) in enumerate(zip(op.inputs, depths, strict=True)):
            key, pointer = self.key(one), self.pointer(one)
            came = "1" if key is None else f"came_{key}"
            if not depth:
                there.append(came)
                frames.append(pointer)
                continue
            line, queue, size = f"model->line_{at}_{i}", f"model->queue_{at}_{i}", self.plan.bytes_of(one)
            there.append(f"({came} || {line}.held)")
            frames.append(f"oldest(&{line}, (const int8_t *){queue}, {size}, {pointer})")
            after.append(
                f"wait_for(&{line}, (int8_t *){queue}, {depth}, {size}, {came} ? {pointer} : 0, came_{at});"
            )
        self.made.parts.add("line")
        self.calls.append(Call(None, f"came_{at} = {' && '.join(there)};"))
        self._run(at, at, frames)
        self.calls += [Call(None, text) for text in after]

    def _run(self, at: int, key: int | None, x: Sequence[str]) -> None:
        """An operation on what is there."""
        op = self.plan.model.program[at]
        out = "" if isinstance(op, Gather) else self.pointer(at)
        match op:
            case Conv():
                self.calls.append(Call(key, f"conv(&at, &op_{at}, {x[0]}, {out});", at))
            case Gru():
                self.calls.append(Call(key, f"gru(&at, &op_{at}, {x[0]}, model->hidden_{at}, {out});", at))
            case Pool():
                self.calls.append(
                    Call(key, f"{'largest' if op.largest else 'pool'}(&op_{at}, {x[0]}, {out});")
                )
            case Add():
                self.calls.append(Call(key, f"{_sides(x)} join(&op_{at}, x, {out}); }}"))
            case Concat():
                self._concat(at, op, key, x)
            case Mul():
                self.calls.append(Call(key, f"mul(&op_{at}, {x[0]}, {x[1]}, {out});"))
            case Pick():
                self._pick(at, op, key, x[0])
            case Gather():
                self._gather(at, op, key, x)

    def _concat(self, at: int, op: Concat, key: int | None, x: Sequence[str]) -> None:
        size, done = self.plan.model.formats[at].bits // 8, 0
        for i, one in enumerate(op.inputs):
            out = f"(int8_t *){self.pointer(at)} + {done * size}"
            if self.pointer(at).startswith(("logits", "scratch")):
                out = f"{self.pointer(at)} + {done}"
            self.calls.append(Call(key, f"{_sides([x[i]])} join(&part_{i}_{at}, x, {out}); }}"))
            done += self.plan.model.shapes[one].size

    def _pick(self, at: int, op: Pick, key: int | None, x: str) -> None:
        out = self.pointer(at)
        if strides(op.order) is not None:
            self.calls.append(Call(key, f"pick(&op_{at}, {x}, {out});"))
            return
        kind = unchanged(self.plan.model, self.plan.model.formats[at])
        self.calls.append(Call(key, f"choose(order_{at}, {len(op.order)}, {kind}, {x}, {out});"))

    def _gather(self, at: int, op: Gather, key: int | None, x: Sequence[str]) -> None:
        """Takes a frame."""
        size = self.plan.bytes_of(op.inputs[-1])
        if isinstance(op, Attend):
            kind = int(reads(self.plan.model, self.plan.model.given(at)[0]))
            where = f"&model->ring_{at}, model->energies_{at}, (int8_t *)model->frames_{at}"
            self.calls.append(Call(key, f"listen_to({where}, get({x[0]}, 0, {kind}), {x[1]}, {size});"))
        elif isinstance(op, MeanTime):
            where = f"&model->ring_{at}, model->sums_{at}, model->frames_{at}"
            self.calls.append(Call(key, f"add_up(&op_{at}, {where}, {x[0]});"))
        elif not op.inputs[0]:
            self.made.parts.add("copy")
            self.calls.append(Call(key, f"copy({self.pointer(at)}, {x[0]}, {size});"))

    def _gathered(self, at: int, op: Gather) -> None:
        """Gives what the frames are together."""
        out, last = self.pointer(at), at == len(self.plan.model.program) - 1
        if isinstance(op, Attend):
            where = f"&model->ring_{at}, model->energies_{at}, model->frames_{at}"
            self.calls.append(Call(self.key(at), f"attend(&op_{at}, {where}, {out});"))
        elif isinstance(op, MeanTime):
            where = f"&model->ring_{at}, model->sums_{at}"
            self.calls.append(Call(self.key(at), f"mean(&op_{at}, {where}, {out});"))
        elif last:
            self.made.parts.add("copy")
            source = self.pointer(op.inputs[0])
            self.calls.append(Call(self.key(at), f"copy(logits, {source}, {self.plan.bytes_of(at)});"))

    def lines(self) -> list[str]:
        """The statements, those that run together in one block."""
        found, known, block = list[str](), (0, 0), None
        moved = False
        for call in self.calls:
            if call.key != block:
                found += ["    }"] * (block is not None)
                found += [f"    if (came_{call.key}) {{"] * (call.key is not None)
                # Where a block did not run, its weights were not read.
                known = (-1, -1) if moved and block is not None else known
                moved, block = False, call.key
            indent = " " * (4 if block is None else 8)
            if call.at is not None:
                start, end = self.made.starts[call.at]
                if start != known:
                    found += [f"{indent}at.weight = kws_weight + {start[0]};"]
                    found += [f"{indent}at.scale = kws_scale + {start[1]};"]
                known, moved = end, True
            found.append(indent + call.text)
        return found + ["    }"] * (block is not None)

    def flags(self) -> list[int]:
        """Operations whose coming is noted."""
        return sorted({call.key for call in self.calls if call.key})


def _sides(x: Iterable[str]) -> str:
    return f"{{ const void *const x[] = {{{', '.join(x)}}};"
