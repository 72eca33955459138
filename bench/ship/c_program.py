"""The calls of the C code: what a stream remembers, and what runs with each frame and with each step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.ship.c_numbers import Kind
from bench.ship.c_ops import Constants, fill_of, is_kept, reads, strides
from bench.ship.c_plan import Plan
from models.integer.ops import (
    Add,
    Attend,
    Concat,
    Conv,
    Gather,
    Gru,
    Last,
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
        whole = "whole || " if self.still else ""
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
            turn = f"oldest(&{line}, (const int8_t *){queue}, {size}, {pointer})"
            frames.append(f"(whole ? {pointer} : {turn})" if self.still else turn)
            after.append(f"wait_for(&{line}, (int8_t *){queue}, {depth}, {size}, {came} ? {pointer} : 0, came_{at});")
        self.made.parts.add("line")
        self.calls.append(Call(None, f"came_{at} = {' && '.join(there)};"))
        self._run(at, at, frames)
        text = " ".join(after)
        self.calls.append(Call(None, f"if (!whole) {{ {text} }}" if whole else text))

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
        form = self.plan.model.formats[at]
        kind = int(reads(self.plan.model, form))
        kind |= kind * int(Kind.GIVES_16) // int(Kind.READS_16)
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


def functions(plan: Plan, made: Constants) -> str:
    """The functions of the program: ``kws_model_init``, ``_push``, ``_clip`` and what they call."""
    listen, decide = Body(plan, made, still=False), Body(plan, made, still=True)
    for at in plan.moving:
        listen.add(at)
    for at in plan.still:
        decide.add(at)
    model, slots = plan.model, plan.slots.values()
    sizes = [max((s.start + s.size for s in slots if s.wide is wide), default=0) for wide in (False, True)]
    narrow = all(model.formats[at].bits == 8 for at, slot in plan.slots.items() if not slot.wide)
    typed = f"int8_t values[{max(sizes[0], 1)}];" if narrow else f"int16_t values[{max(1, (sizes[0] + 1) // 2)}];"
    scratch = ["/* Values that the next frame does not need. */", "typedef struct {", f"    {typed}"]
    scratch += [f"    int32_t wide[{sizes[1] // 4}];"] * bool(sizes[1])
    place = "#define AT(offset) ((void *)((int8_t *)scratch->values + (offset)))"
    parts = [
        [*scratch, "} kws_scratch;", place, ""],
        _listen(plan, listen),
        _decide(plan, decide),
        _init(plan, made),
        _push(plan),
        _clip(plan),
    ]
    return "\n".join(line for part in parts for line in part)


def _reader(body: Body) -> list[str]:
    has = any(call.at is not None for call in body.calls)
    return ["    reader at = {kws_weight, kws_scale};"] * has


def _listen(plan: Plan, body: Body) -> list[str]:
    """One mel frame, or a frame of zeros into one operation."""
    flush = ", int flush" if plan.flushed else ""
    head = f"static int listen(kws_model *model, kws_scratch *scratch, const kws_value *mel{flush}) {{"
    flags = [f"    int came_{at} = 0;" for at in body.flags()]
    first = ["    const int came_0 = !flush;"] * bool(plan.flushed)
    keys = [_taken(plan, body, at) for at in plan.gathers]
    came = ["1" if key is None else f"came_{key}" for key in keys]
    mask = " | ".join(f"{one} << {i}" if i else one for i, one in enumerate(came))
    given = f"    return {came[0] if plan.together else mask};"
    unused = ["    (void)model;", "    (void)scratch;"]
    note = "/* A mel frame, or one of zeros into the operation `flush`; says whether" if plan.flushed else (
        "/* A mel frame; says whether"
    )
    said = " a step is complete. */" if plan.together else " which gathers took one. */"
    return [note + said, head, *first, *flags, *_reader(body), *unused, *body.lines(), given, "}", ""]


def _taken(plan: Plan, body: Body, at: int) -> int | None:
    """With what a frame is gathered."""
    if any(plan.coming[at].depths):
        return at
    return body.key(plan.model.program[at].inputs[0])


def _decide(plan: Plan, body: Body) -> list[str]:
    """What is made of all frames; where they are not gathered together, of those that came."""
    came = "" if plan.together else ", int came"
    kind = "void" if plan.together else "int"
    head = f"static {kind} decide(kws_model *model, kws_scratch *scratch{came}, int32_t *logits) {{"
    lines = []
    if not plan.together:
        lines = ["    const int whole = came < 0;"] * any(any(plan.coming[at].depths) for at in plan.still
                                                          if at not in plan.gathers)
        lines += [f"    const int came_{at} = came >> {i} & 1;" for i, at in enumerate(plan.gathers)]
        lines += [f"    int came_{at} = 0;" for at in body.flags() if at not in plan.gathers]
    last = body.key(len(plan.model.program) - 1)
    given = [] if plan.together else [f"    return came_{last};"]
    unused = ["    (void)model;", "    (void)scratch;"]
    note = "/* What is made of all frames." + (" `came` is negative at the end of a clip. */" if came else " */")
    return [note, head, *lines, *_reader(body), *unused, *body.lines(), *given, "}", ""]


def _init(plan: Plan, made: Constants) -> list[str]:
    lines = ["void kws_model_init(kws_model *model) {", "    uint8_t *byte = (uint8_t *)model;", "    unsigned i;"]
    lines += ["    for (i = 0; i < sizeof *model; ++i) byte[i] = 0;"]
    for at in plan.needed:
        op = plan.model.program[at]
        if not isinstance(op, Window) or not is_kept(op):
            continue
        value = fill_of(plan.model, at)
        if value and (op.before or op.above or op.below):
            made.parts.add("fill")
            wide = int(plan.model.formats[op.inputs[0]].bits > plan.model.activations)
            lines.append(f"    fill(model->window_{at}, {window_size(plan, at)}, {wide}, {value});")
        if op.before:
            lines.append(f"    model->held_{at} = {op.before};")
    return [*lines, "}", ""]


def window_size(plan: Plan, at: int) -> int:
    """Numbers in a window."""
    op = plan.model.program[at]
    assert isinstance(op, Window)
    shape = op.read(plan.model.shapes[op.inputs[0]])
    return shape.channels * (shape.rows + op.above + op.below) * op.span_time


_MEL, _LOGITS = "const kws_value mel[KWS_MODEL_MELS]", "int32_t logits[KWS_MODEL_CLASSES]"


def _push(plan: Plan) -> list[str]:
    listen = "listen(model, &scratch, mel" + (", 0)" if plan.flushed else ")")
    head = [f"int kws_model_push(kws_model *model, {_MEL}, {_LOGITS}) {{", "    kws_scratch scratch;"]
    if plan.together:
        body = [f"    if (!{listen}) return 0;", "    decide(model, &scratch, logits);", "    return 1;"]
    else:
        body = [f"    const int came = {listen};", "    return came ? decide(model, &scratch, came, logits) : 0;"]
    return [*head, *body, "}", ""]


def _clip(plan: Plan) -> list[str]:
    flush, ops = plan.flushed, plan.model.program
    lines = ["int kws_model_clip(kws_model *model, const kws_value *mel, uint16_t mel_frames,"]
    lines += [f"                   {_LOGITS}) {{", "    kws_scratch scratch;"]
    if flush:
        pairs = ", ".join(f"{{{at}, {ops[at].after}}}" for at in flush)  # type: ignore[attr-defined]
        lines = [f"static const uint16_t kws_flush[{len(flush)}][2] = {{{pairs}}};", "", *lines]
        lines += ["    int i, j;"]
    lines += ["    if (mel_frames < KWS_MODEL_LEAST_FRAMES) return 0;", "    kws_model_init(model);"]
    step = "    for (; mel_frames > 0; --mel_frames, mel += KWS_MODEL_MELS) "
    lines += [step + ("listen(model, &scratch, mel, 0);" if flush else "listen(model, &scratch, mel);")]
    if flush:
        lines += [f"    for (i = 0; i < {len(flush)}; ++i) {{"]
        lines += ["        for (j = 0; j < kws_flush[i][1]; ++j) listen(model, &scratch, 0, kws_flush[i][0]);"]
        lines += ["    }"]
    given = "decide(model, &scratch, logits);" if plan.together else "decide(model, &scratch, -1, logits);"
    return [*lines, "    " + given, "    return 1;", "}"]
