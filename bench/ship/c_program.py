"""The functions of the C code: what runs with each frame, what with each step, and what callers call."""

from __future__ import annotations

from bench.ship.c_calls import Body
from bench.ship.c_constants import Constants, fill_of, is_kept
from bench.ship.c_plan import Plan
from models.integer.ops import Window


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
    typed = (
        f"int8_t values[{max(sizes[0], 1)}];" if narrow else f"int16_t values[{max(1, (sizes[0] + 1) // 2)}];"
    )
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
    note = (
        "/* A mel frame, or one of zeros into the operation `flush`; says whether"
        if plan.flushed
        else ("/* A mel frame; says whether")
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
        lines = [f"    const int came_{at} = came >> {i} & 1;" for i, at in enumerate(plan.gathers)]
        lines += [f"    int came_{at} = 0;" for at in body.flags() if at not in plan.gathers]
    last = body.key(len(plan.model.program) - 1)
    given = [] if plan.together else [f"    return came_{last};"]
    unused = ["    (void)model;", "    (void)scratch;"]
    note = "/* What is made of all frames" + (
        ", or of those gathers that `came` names. */" if came else ". */"
    )
    return [note, head, *lines, *_reader(body), *unused, *body.lines(), *given, "}", ""]


def _init(plan: Plan, made: Constants) -> list[str]:
    lines = [
        "void kws_model_init(kws_model *model) {",
        "    uint8_t *byte = (uint8_t *)model;",
        "    unsigned i;",
    ]
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
        body = [
            f"    const int came = {listen};",
            "    return came ? decide(model, &scratch, came, logits) : 0;",
        ]
    return [*head, *body, "}", ""]


def _clip(plan: Plan) -> list[str]:
    flush = plan.flushed
    lines = ["int kws_model_clip(kws_model *model, const kws_value *mel, uint16_t mel_frames,"]
    lines += [f"                   {_LOGITS}) {{", "    kws_scratch scratch;"]
    if flush:
        pairs = ", ".join(f"{{{at}, {count}}}" for at, count in flush.items())
        lines = [f"static const uint16_t kws_flush[{len(flush)}][2] = {{{pairs}}};", "", *lines]
        lines += ["    int i, j;"]
    lines += ["    if (mel_frames < KWS_MODEL_LEAST_FRAMES) return 0;", "    kws_model_init(model);"]
    step = "    for (; mel_frames > 0; --mel_frames, mel += KWS_MODEL_MELS) "
    lines += [step + ("listen(model, &scratch, mel, 0);" if flush else "listen(model, &scratch, mel);")]
    if flush:
        lines += [f"    for (i = 0; i < {len(flush)}; ++i) {{"]
        lines += [
            "        for (j = 0; j < kws_flush[i][1]; ++j) listen(model, &scratch, 0, kws_flush[i][0]);"
        ]
        lines += ["    }"]
    given = "decide(model, &scratch, logits);" if plan.together else "decide(model, &scratch, -1, logits);"
    return [*lines, "    " + given, "    return 1;", "}"]
