"""C code of an integer model: the sources in ``c/`` as they are, with sizes and weights filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from bench.files import write_text_atomically
from models.integer import GATES, INPUT_FORMAT, IntegerModel, Layer, has_bias

SOURCES = ("kws_model.h", "kws_model.c", "kws_frontend.h", "kws_frontend.c", "example_main.c", "BUILD.md")
SIZES, WEIGHTS = "/*{sizes}*/", "/*{weights}*/"
# Matrices of up to so many bits are stored two weights a byte.
NIBBLE_BITS = 4
# A multiplier of 31 bits whose lower 15 are zero is stored in 16.
NARROW_BITS = 15


@dataclass(frozen=True)
class _Row:
    """One row as the C code reads it; ``bias`` is None where the code expects none."""

    weight: bytes
    bias: int | None
    multiplier: int
    shift: int
    wide: bool


def write_c(model: IntegerModel, folder: Path, name: str = "") -> list[Path]:
    """Writes the model, the log-mel front end, an example and how to build them.

    Args:
        model: What ships.
        folder: Made if it is missing; files of the same names there are replaced.
        name: Where the model comes from, for a comment.

    Returns:
        The files written.

    Raises:
        ModelError: The model is too large for the C code.
    """
    filled = {SIZES: sizes(model, name), WEIGHTS: weights(model)}
    paths = []
    for source in SOURCES:
        text = (files("bench.ship") / "c" / source).read_text()
        for marker, value in filled.items():
            text = text.replace(marker, value)
        write_text_atomically(folder / source, text)
        paths.append(folder / source)
    return paths


def sizes(model: IntegerModel, name: str = "") -> str:
    """The macros of the header: all sizes are fixed when the code is compiled."""
    spec = model.spec
    input_bits, input_zero = INPUT_FORMAT[spec.activations]
    values = {
        "MELS": spec.n_mels,
        "CHANNELS": spec.channels,
        "KERNEL_MEL": spec.kernel[0],
        "KERNEL_TIME": spec.kernel[1],
        "STRIDE_MEL": spec.stride[0],
        "STRIDE_TIME": spec.stride[1],
        "LAYERS": spec.layers,
        "HIDDEN": spec.hidden,
        "ATTENTION": spec.attention,
        "CLASSES": spec.n_classes,
        "ACTIVATION_BITS": spec.activations,
        "INPUT_BITS": input_bits,
        "INPUT_ZERO": input_zero,
    }
    comment = f"/* The model of {name.replace('*/', '')}. */\n" if name else ""
    return comment + "\n".join(f"#define KWS_MODEL_{key} {value}" for key, value in values.items())


def weights(model: IntegerModel) -> str:
    """The arrays of the source, in the order in which the code reads them."""
    rows = list(_rows(model))
    # One multiplier that needs all its bits where 16 are expected makes all of them wide.
    all_wide = any(not row.wide and not _is_narrow(row) for row in rows)
    wide = [row for row in rows if row.wide or all_wide]
    narrow = [] if all_wide else [row for row in rows if not row.wide]
    # Less one: the last place is rounded.
    shift = [row.shift - 1 - (0 if row.wide or all_wide else NARROW_BITS) for row in rows]
    arrays = [
        ("int8_t kws_weight", [byte - 256 * (byte > 127) for row in rows for byte in row.weight]),
        ("int32_t kws_bias", [row.bias for row in rows if row.bias is not None]),
        ("uint32_t kws_wide", [row.multiplier for row in wide]),
        ("uint16_t kws_narrow", [row.multiplier >> NARROW_BITS for row in narrow] or [0]),
        ("uint8_t kws_shift", shift),
    ]
    head = [_packed(model), f"#define KWS_MODEL_ALL_WIDE {int(all_wide)}\n"]
    return "\n".join(head + [_array(name, values) for name, values in arrays])


def _rows(model: IntegerModel) -> Iterator[_Row]:
    """Every row; those of a GRU layer unit by unit, so that a unit's six stand together."""
    spec = model.spec
    for row in range(spec.channels):
        yield _row(model, "conv", row, wide=True)
    for layer in range(spec.layers):
        for unit in range(spec.hidden):
            for kind in ("ih", "hh"):
                for gate in GATES:
                    yield _row(model, f"gru.{layer}.{kind}.{gate}", unit, wide=kind == "ih" and layer == 0)
    for name, count in (
        ("attention.inner", spec.attention),
        ("attention.energy", 1),
        ("classifier", spec.n_classes),
    ):
        for row in range(count):
            yield _row(model, name, row, wide=name == "attention.energy")


def _row(model: IntegerModel, name: str, row: int, *, wide: bool) -> _Row:
    layer: Layer = model.layers[name]
    values = layer.weight[row]
    packed = model.tensors[name].bits <= NIBBLE_BITS
    return _Row(
        _nibbles(values) if packed else values.astype(np.int8).tobytes(),
        int(layer.bias[row]) if has_bias(name) else None,
        int(layer.multiplier[row]),
        int(layer.shift[row]),
        wide,
    )


def _is_narrow(row: _Row) -> bool:
    return row.multiplier % (1 << NARROW_BITS) == 0 and row.shift > NARROW_BITS


def _nibbles(values: np.ndarray) -> bytes:
    """Two weights a byte, the first in the lower half; a row fills whole bytes."""
    even = np.append(values, [0] * (len(values) % 2)).astype(np.uint8) & 15
    return (even[::2] | even[1::2] << 4).astype(np.uint8).tobytes()


def _packed(model: IntegerModel) -> str:
    """Which matrices are stored two weights a byte: a constant where they are all alike."""
    packed = [int(model.tensors[name].bits <= NIBBLE_BITS) for name in model.spec.shapes()]
    if len(set(packed)) == 1:
        return f"#define KWS_MODEL_PACKED(matrix) ((void)(matrix), {packed[0]})"
    array = _array("uint8_t kws_packed", packed)
    return f"{array}#define KWS_MODEL_PACKED(matrix) kws_packed[matrix]"


def _array(name: str, values: Sequence[int], width: int = 110) -> str:
    lines, line = [f"static const {name}[{len(values)}] = {{"], "   "
    for value in values:
        word = f" {value},"
        if len(line) + len(word) > width:
            lines.append(line)
            line = "   "
        line += word
    return "\n".join([*lines, line, "};\n"])
