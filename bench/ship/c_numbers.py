"""Weights and scales of an integer model as the C code reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from models.integer.model import IntegerModel, Layer
from models.integer.ops import Gru

# Matrices of up to so many bits are stored two weights a byte.
NIBBLE_BITS = 4
# Multipliers have 31 bits. So many of their lowest are zero where the scale is a half-precision number times
# a power of two, and where it is a product of two such numbers: the others and the shift fit 16 and 32 bits.
SHORT_ZEROS, MIDDLE_ZEROS = 20, 4


class Kind(IntFlag):
    """The bits of ``c/kws_layers.c``; the number of an activation stands above them."""

    NONE = 0
    PACKED = 1
    SHORT_BIAS = 2
    LONG_BIAS = 4
    SHORT_SCALE = 8
    LONG_SCALE = 16
    READS_16 = 32
    READS_32 = 64
    ROUNDS_16 = 128
    ROUNDS_32 = 256
    GIVES_16 = 512
    GIVES_32 = 1024
    HOLDS_16 = 2048


ACT_BITS = 12
READS, ROUNDS = Kind.READS_16 | Kind.READS_32, Kind.ROUNDS_16 | Kind.ROUNDS_32
GIVES = Kind.GIVES_16 | Kind.GIVES_32
SCALES = Kind.SHORT_SCALE | Kind.LONG_SCALE
STORED = Kind.PACKED | Kind.SHORT_BIAS | Kind.LONG_BIAS | SCALES


@dataclass(frozen=True)
class Stored:
    """The matrices of one operation.

    Attributes:
        kinds: How each is stored, by its name.
        weight: Bytes.
        scale: Words of 16 bits: of each row multiplier, shift and bias.
    """

    kinds: dict[str, Kind]
    weight: bytes
    scale: list[int]


def stored(model: IntegerModel, at: int) -> Stored:
    """The rows in the order in which the code reads them; those of a GRU layer unit by unit."""
    shapes, layers, tensors = model.matrices(at), model.layers[at], model.tensors[at]
    groups: dict[str, list[int]] = {}
    for index, shape in enumerate(shapes):
        # The gates of a GRU that read the same are stored alike.
        name = shape.name if shape.name == "hh.down" else shape.name.partition(".")[0]
        groups.setdefault(name, []).append(index)
    kinds, weight, scale = {}, bytearray(), list[int]()
    for own in groups.values():
        scales = _scales([layers[index] for index in own])
        packed = Kind.PACKED * all(tensors[index].bits <= NIBBLE_BITS for index in own)
        for index in own:
            # What has none in the file can have one for the zero point of what it reads.
            biases = [layers[other].bias for other in own if shapes[other].biased == shapes[index].biased]
            kinds[shapes[index].name] = packed | scales | _bias(biases)
    for index, row in _order(model, at):
        kind = kinds[shapes[index].name]
        weight += _weights(layers[index].weight[row], bool(kind & Kind.PACKED))
        scale += _row(layers[index], row, kind)
    return Stored(kinds, bytes(weight), scale)


def _order(model: IntegerModel, at: int) -> Iterator[tuple[int, int]]:
    shapes, op = model.matrices(at), model.program[at]
    gates = [index for index, shape in enumerate(shapes) if shape.name not in ("", "hh.down")]
    for index, shape in enumerate(shapes):
        if index not in gates:
            yield from ((index, row) for row in range(shape.rows))
    if isinstance(op, Gru):
        yield from ((index, row) for row in range(op.hidden) for index in gates)


def _scales(layers: Iterable[Layer]) -> Kind:
    every = list(layers)
    for zeros, kind in ((SHORT_ZEROS, Kind.SHORT_SCALE), (MIDDLE_ZEROS, Kind.NONE)):
        if all(not (one.multiplier % 2**zeros).any() and (one.shift > zeros).all() for one in every):
            return kind
    return Kind.LONG_SCALE


def _bias(biases: Sequence[npt.NDArray[np.int64]]) -> Kind:
    most = max(int(np.abs(bias).max()) for bias in biases)
    return Kind.NONE if not most else Kind.SHORT_BIAS if most < 2**15 else Kind.LONG_BIAS


def _weights(values: npt.NDArray[np.int64], packed: bool) -> bytes:
    """One row; of two weights a byte the first in the lower half, and it fills whole bytes."""
    if not packed:
        return values.astype(np.int8).tobytes()
    even = np.append(values, [0] * (len(values) % 2)).astype(np.uint8) & 15
    return (even[::2] | even[1::2] << 4).astype(np.uint8).tobytes()


def _row(layer: Layer, row: int, kind: Kind) -> list[int]:
    multiplier, shift, bias = int(layer.multiplier[row]), int(layer.shift[row]), int(layer.bias[row])
    # Less one: the last place is rounded.
    if kind & Kind.LONG_SCALE:
        words = [shift - 1, *_halves(multiplier)]
    elif kind & Kind.SHORT_SCALE:
        words = [(multiplier >> SHORT_ZEROS) % 1024 << 6 | shift - 1 - SHORT_ZEROS]
    else:
        words = _halves((multiplier >> MIDDLE_ZEROS) % 2**26 << 6 | shift - 1 - MIDDLE_ZEROS)
    if kind & Kind.SHORT_BIAS:
        return [*words, bias & 0xFFFF]
    return [*words, *_halves(bias)] if kind & Kind.LONG_BIAS else words


def _halves(value: int) -> list[int]:
    return [value & 0xFFFF, value >> 16 & 0xFFFF]


def array(name: str, values: Sequence[Any], width: int = 110) -> str:
    """A constant array in C, wrapped."""
    lines, line = [f"static const {name}[{len(values)}] = {{"], "   "
    for value in values:
        word = f" {value},"
        if len(line) + len(word) > width:
            lines.append(line)
            line = "   "
        line += word
    return "\n".join([*lines, line, "};\n"])


def quoted(text: str) -> str:
    r"""A text as C writes it, in UTF-8.

    Examples:
        >>> print(quoted("happy é"))
        "happy \303\251"
    """
    safe = set(range(32, 127)) - set(b'"\\?')
    data = text.encode(errors="surrogateescape")
    plain = (chr(byte) if byte in safe else f"\\{byte:03o}" for byte in data)
    return f'"{"".join(plain)}"'
