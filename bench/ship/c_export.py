"""C code of an integer model: the sources in ``c/``, with those operations that it has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from bench.files import write_text_atomically
from bench.ship.c_constants import Constants, is_kept
from bench.ship.c_frontend import frontend_texts
from bench.ship.c_numbers import array, quoted
from bench.ship.c_ops import Writer
from bench.ship.c_plan import Plan
from bench.ship.c_program import functions, window_size
from models.errors import ModelError
from models.integer.model import INPUT_FORMAT, LOGIT_BITS, IntegerModel
from models.integer.ops import Attend, Gru, MeanTime, Window

SOURCES = ("kws_model.h", "kws_model.c", "kws_frontend.h", "kws_frontend.c", "example_main.c", "BUILD.md")
LAYERS = "kws_layers.c"
# Parts of the layers: a name, what else it needs.
_PART = re.compile(r"^/\*\{(\w+)(?:: ([\w ]+))?\}\*/\n", re.MULTILINE)


def write_c(model: IntegerModel, folder: Path, name: str = "") -> list[Path]:
    """Writes the model, the log-mel front end, an example and how to build them.

    Args:
        model: What ships.
        folder: Made if it is missing; files of the same names there are replaced.
        name: Where the model comes from, for a comment.

    Returns:
        The files written.

    Raises:
        ModelError: The model is too large for the C code, or no stream can have it.
    """
    filled = texts(model, name)
    paths = []
    for source in SOURCES:
        text = _source(source)
        for marker, value in filled.items():
            text = text.replace(f"/*{{{marker}}}*/", value)
        write_text_atomically(folder / source, text)
        paths.append(folder / source)
    return paths


def texts(model: IntegerModel, name: str = "") -> dict[str, str]:
    """What stands in the sources in place of each marker."""
    if model.formats[-1].step != 2.0**-LOGIT_BITS or model.formats[-1].bits != 32:
        raise ModelError("the last operation gives no logits; C code needs them")
    plan = Plan(model)
    made = Writer(model).write((*plan.moving, *(at for at in plan.still if at not in plan.moving)))
    program = functions(plan, made)
    return frontend_texts(model.task.front_end) | {
        "sizes": sizes(model, name),
        "buffer": str(model.buffer),
        "state": state(plan),
        "weights": weights(made),
        "layers": layers(made),
        "program": "\n".join([*made.structures, "", program]),
    }


def sizes(model: IntegerModel, name: str = "") -> str:
    """The macros of the header; what is in braces is for arrays, and takes nothing where there is none."""
    task = model.task
    input_bits, input_zero = INPUT_FORMAT[model.activations]
    values = {
        "MELS": model.n_mels,
        "CLASSES": model.n_classes,
        "ACTIVATION_BITS": model.activations,
        "STEP_FRAMES": model.step_frames,
        "LEAST_FRAMES": model.least_frames,
        "INPUT_BITS": input_bits,
        "INPUT_ZERO": input_zero,
        "CLIP_MS": round(1000 * task.clip_s),
        "NAMES": f"{{{', '.join(map(quoted, task.classes))}}}",
        "FINDS": f"{{{', '.join(str(int(at in task.to_find)) for at in range(len(task.classes)))}}}",
    }
    comment = f"/* The model of {_plain(name)}. */\n" if name else ""
    return comment + "\n".join(f"#define KWS_MODEL_{key} {value}" for key, value in values.items())


def _plain(text: str) -> str:
    """A text that ends no comment and begins none."""
    return "".join(letter for letter in text if letter.isprintable() and letter not in "*\\")


def state(plan: Plan) -> str:
    """What a stream remembers, the widest first, so that nothing is lost between them."""
    fields = sorted(_fields(plan), key=lambda field: -field[0])
    depths = [depth for at in plan.needed for depth in plan.coming[at].depths]
    spans = [max(op.span_time, op.stride_time) for op in plan.model.program if isinstance(op, Window)]
    wide = "uint16_t" if max(depths) > 255 else "uint8_t"
    lines = ["/* Counts of frames; negative where some are left out. */", "#if KWS_MODEL_BUFFER > 255"]
    lines += ["typedef uint16_t kws_count;", "#else", f"typedef {wide} kws_count;", "#endif"]
    lines += [f"typedef {'int16_t' if max(spans, default=0) > 127 else 'int8_t'} kws_held;", ""]
    lines += [
        "/* Frames that are kept in turn: how many there are, and where the next one goes, or comes from. */"
    ]
    lines += ["typedef struct {", "    kws_count held, next;", "} kws_line;", ""]
    lines += ["/* All that a stream remembers; several streams can share the weights. */", "typedef struct {"]
    # C knows no struct without a member.
    declared = [f"    {text};" for _, text in fields] or ["    uint8_t nothing;"]
    return "\n".join([*lines, *declared, "} kws_model;"])


def _fields(plan: Plan) -> Iterable[tuple[int, str]]:
    """Bytes of an element, and the declaration."""
    model = plan.model
    typed = {model.activations: "kws_value", 16: "int16_t", 32: "int32_t"}
    for at in plan.needed:
        op = model.program[at]
        bits = model.formats[op.inputs[-1]].bits
        size = model.shapes[op.inputs[-1]].size
        if isinstance(op, Gru):
            yield 2, f"int16_t hidden_{at}[{op.hidden}]"
        if isinstance(op, Window) and is_kept(op):
            yield bits // 8, f"{typed[bits]} window_{at}[{window_size(plan, at)}]"
        if isinstance(op, Window) and (op.slides or is_kept(op)):
            yield 1, f"kws_held held_{at}"
        if isinstance(op, Attend):
            yield 2, f"int16_t energies_{at}[KWS_MODEL_BUFFER]"
        if isinstance(op, MeanTime):
            yield 4, f"int32_t sums_{at}[{size}]"
        if isinstance(op, (Attend, MeanTime)):
            yield bits // 8, f"{typed[bits]} frames_{at}[KWS_MODEL_BUFFER * {size}]"
            yield 1, f"kws_line ring_{at}"
        for i, depth in enumerate(plan.coming[at].depths):
            if depth:
                one = model.formats[op.inputs[i]].bits
                yield one // 8, f"{typed[one]} queue_{at}_{i}[{depth * model.shapes[op.inputs[i]].size}]"
                yield 1, f"kws_line line_{at}_{i}"


def weights(made: Constants) -> str:
    """The arrays in the order in which the code reads them, and what is known of all operations."""
    always, ever = made.always()
    values = {
        "ALWAYS": always,
        "EVER": ever,
        "PIECE": made.piece,
        "HIDDEN": made.hidden,
        "RANK": made.rank,
        "ATTEND_REACH": made.reach,
    }
    lines = [
        f"#define KWS_{name} {value}" for name, value in values.items() if value or name in ("ALWAYS", "EVER")
    ]
    lines += [f"#define EXTRA(op) {'((op)->extra)' if 'extra' in _used(made) else '0'}"]
    lines += [f"typedef {'int64_t' if made.wide_sums else 'int32_t'} kws_sum;", ""]
    lines += [array("int8_t kws_weight", [byte - 256 * (byte > 127) for byte in made.weight] or [0])]
    lines += [array("uint16_t kws_scale", made.scale or [0])]
    if made.silu:
        # Less one: the last place is rounded.
        pairs = [f"{{{multiplier}, {shift - 1}}}" for multiplier, shift in made.silu]
        lines += [array("struct {\n    int32_t multiplier;\n    uint8_t shift;\n} kws_silu", pairs)]
    return "\n".join(lines)


def layers(made: Constants) -> str:
    """The operations of the program, and what they need."""
    used = _used(made)
    pieces = _PART.split(_source(LAYERS))[1:]
    return "".join(
        text for part, text in zip(pieces[::3], pieces[2::3], strict=True) if part in used
    ).rstrip()


def _used(made: Constants) -> set[str]:
    needs: dict[str, set[str]] = {}
    for part, more in _PART.findall(_source(LAYERS)):
        needs.setdefault(part, set()).update(more.split())
    found, left = set[str](), set(made.parts)
    while left:
        part = left.pop()
        found.add(part)
        left |= needs[part] - found
    return found


def _source(name: str) -> str:
    return (files("bench.ship") / "c" / name).read_text()
