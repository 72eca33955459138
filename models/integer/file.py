"""The ``.kws`` file: an integer model, flat and little-endian; needs NumPy only, reads without pickle.

The layout, byte by byte, is in ``docs/integer-model.md``. Version 3 holds the task, the operations and their
weights. Version 2, without the task, and version 1, a convolution, GRU layers and attention, are read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import KwsError, ModelError
from models.integer.model import INPUT_FORMAT, IntegerModel, Quantized, check
from models.integer.ops import (
    KINDS,
    Act,
    Attend,
    Conv,
    Gives,
    Gru,
    Input,
    MatrixShape,
    Op,
    Program,
    Rounding,
    shapes_of,
)
from models.integer.packing import Reader, number, pack, unpack
from models.integer.task_bytes import read_task, task_bytes
from models.task import UNNAMED, Task

MAGIC = b"KWS\x1a"
VERSION, FIRST, WITHOUT_TASK = 3, 1, 2
# magic, version, activation bits, bytes of the file.
_HEAD = struct.Struct("<4sBBI")
# Of version 1: C, kernel, stride, H, attention width, layers, M, K, one step of the convolution.
_SIZES = struct.Struct("<HBBBBHHBBB e")
_CRC = struct.Struct("<I")
WIDTHS = range(2, 9)
# The kind of an operation stands in the lowest bits, above it a bit for each field that is no default.
_KIND_BITS = 4
MOST_OPS = 4096
# Fields as they are written, those that most operations need first.
_ALWAYS = {"mels", "channels", "hidden", "order"}
_FIRST = ("act", "gives", "inputs", "kernel_mel", "kernel_time", "stride_mel", "stride_time")


class FileError(KwsError):
    """A ``.kws`` file that cannot be read: cut, altered, newer, or something else altogether."""


def _fields(kind: type[Op]) -> list[tuple[str, Any]]:
    """The fields of an operation in the order of the file, with their defaults; always written: None."""
    known = {one.name: None if one.default is MISSING else one.default for one in fields(kind)}
    names = [name for name in _FIRST if name in known] + [name for name in known if name not in _FIRST]
    return sorted(((name, known[name]) for name in names), key=lambda pair: pair[0] not in _ALWAYS)


def _op_bytes(at: int, op: Op) -> bytes:
    mask, body, bit = 0, b"", 0
    for name, default in _fields(type(op)):
        value = getattr(op, name)
        if name == "inputs":
            value, default = [at - one for one in op.inputs], [1] if at else []
        if name not in _ALWAYS:
            mask |= (value != default) << bit
            bit += 1
        if name in _ALWAYS or value != default:
            several = value if isinstance(value, (list, tuple)) else None
            body += b"" if several is None else number(len(several))
            body += b"".join(number(int(one)) for one in ([value] if several is None else several))
    return number(KINDS.index(type(op)) | mask << _KIND_BITS) + body


def to_bytes(model: IntegerModel) -> bytes:
    """The file's content.

    Raises:
        ModelError: The model is too large for it, or not of its task.
    """
    data = _content(model, VERSION)
    _check_task(model.program, model.task)
    return data


def _content(model: IntegerModel, version: int) -> bytes:
    """As a version with operations has it."""
    tensors = [tensor for own in model.tensors for tensor in own]
    nibbles = [tensor.bits for tensor in tensors]
    nibbles += [0] * (len(nibbles) % 2)
    parts = [
        b"" if version == WITHOUT_TASK else task_bytes(model.task),
        number(len(model.program)),
        *(_op_bytes(at, op) for at, op in enumerate(model.program)),
        np.array([model.steps[at] for at in sorted(model.steps)], "<f2").tobytes(),
        bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True)),
        *(
            numbers.astype("<f2").tobytes()
            for tensor in tensors
            for numbers in (tensor.scale, tensor.bias)
            if numbers is not None
        ),
        *(pack(tensor.weight, tensor.bits) for tensor in tensors),
    ]
    body = b"".join(parts)
    size = _HEAD.size + len(body) + _CRC.size
    if len(model.program) > MOST_OPS or size >= 1 << 32:
        raise ModelError("the model is too large for a .kws file")
    head = _HEAD.pack(MAGIC, version, model.activations, size)
    return head + body + _CRC.pack(zlib.crc32(head + body))


def load(path: Path) -> IntegerModel:
    """Reads a file.

    Raises:
        FileError: There is none, or it is no such file, cut, altered or newer; the message says which.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from None
    return from_bytes(data, str(path))


def from_bytes(data: bytes, name: str = "the file") -> IntegerModel:
    """The model of a file's content.

    Raises:
        FileError: See ``load``.
    """
    _check(data, name)
    _, version, activations, _ = _HEAD.unpack_from(data)
    reader = Reader(data[: -_CRC.size], _HEAD.size)
    try:
        task = read_task(reader) if version == VERSION else UNNAMED
        program, step = _first_version(reader) if version == FIRST else _program(reader)
        shapes = shapes_of(program)
        if activations not in INPUT_FORMAT:
            raise ValueError(f"activations of {activations} bits")
        if (
            not isinstance(program[-1], Rounding)
            or program[-1].gives is not Gives.LOGITS
            or shapes[-1].moving
        ):
            raise ValueError("no decisions")
        _check_task(program, task)
    except (ValueError, IndexError, struct.error, KwsError) as error:
        raise FileError(f"{name}: its header describes no model ({error}); write it anew") from None
    try:
        steps = {
            at: step if step is not None else reader.halves(1)[0]
            for at, op in enumerate(program)
            if op.has_step
        }
        if not all(np.isfinite(one) and one > 0 for one in steps.values()):
            raise ValueError("a step is not above 0")
        model = IntegerModel(program, activations, steps, _tensors(reader, program), task)
        check(model)
    except (ValueError, IndexError, ModelError) as error:
        raise FileError(f"{name}: its content does not fit its header ({error}); write it anew") from None
    if version != FIRST and _content(model, version) != data:
        raise FileError(f"{name} says what it says in another way than it is written; write it anew")
    return model


def _check_task(program: Program, task: Task) -> None:
    """Refuses a program that hears other clips than those of its task, or tells other classes apart."""
    shapes = shapes_of(program)
    found, asked = (shapes[0].size, shapes[-1].size), (task.front_end.mels, len(task.classes))
    if found != asked:
        raise ModelError(
            f"a program of {found[0]} mel bands and {found[1]} classes, and its task has {asked[0]} and "
            f"{asked[1]}"
        )


def _check(data: bytes, name: str) -> None:
    """Refuses what is no whole, unaltered file of a version that is known."""
    if data[:4] != MAGIC[: len(data[:4])] or not data:
        raise FileError(f"{name} is no .kws file: it does not begin as one")
    if len(data) > 4 and not 1 <= data[4] <= VERSION:
        advice = "update it" if data[4] else "write it anew"
        raise FileError(f"{name} is of version {data[4]} and this toolkit reads 1 to {VERSION}; {advice}")
    if len(data) < _HEAD.size + _CRC.size or len(data) != _HEAD.unpack_from(data)[3]:
        wanted = _HEAD.unpack_from(data)[3] if len(data) >= _HEAD.size else "more"
        raise FileError(f"{name} has {len(data)} bytes where its header says {wanted}; copy it again")
    if zlib.crc32(data[: -_CRC.size]) != _CRC.unpack_from(data, len(data) - _CRC.size)[0]:
        raise FileError(f"{name} was altered: its checksum does not match; copy it again")


def _program(reader: Reader) -> tuple[Program, None]:
    count = reader.number()
    if not 0 < count <= MOST_OPS:
        raise ValueError(f"{count} operations")
    return tuple(_op(reader, at) for at in range(count)), None


def _op(reader: Reader, at: int) -> Op:
    head = reader.number()
    if head & (1 << _KIND_BITS) - 1 >= len(KINDS):
        raise ValueError(f"no operation of kind {head & (1 << _KIND_BITS) - 1}")
    kind, mask, bit = KINDS[head & (1 << _KIND_BITS) - 1], head >> _KIND_BITS, 0
    values: dict[str, Any] = {}
    for name, default in _fields(kind):
        given = name in _ALWAYS or mask >> bit & 1
        bit += name not in _ALWAYS
        if name == "inputs":
            found = reader.several() if given else (1,) if at else ()
            values[name] = tuple(at - one for one in found)
        elif given:
            several = name == "order"
            value: Any = reader.several() if several else reader.number()
            values[name] = value if several or default is None else type(default)(value)
    if mask >> bit:
        raise ValueError(f"{kind.__name__} has no such fields")
    return kind(**values)


def _first_version(reader: Reader) -> tuple[Program, np.float16]:
    """Convolution, GRU layers, attention over time, classifier."""
    sizes = _SIZES.unpack(reader.take(_SIZES.size))
    channels, kernel_mel, kernel_time, stride_mel, stride_time, hidden, attention, layers = sizes[:8]
    mels, classes, step = sizes[8:]
    if min(sizes[:-1]) < 1:
        raise ValueError("a size below 1")
    kernel = {"kernel_mel": kernel_mel, "kernel_time": kernel_time}
    conv = Conv(inputs=(0,), channels=channels, stride_mel=stride_mel, stride_time=stride_time, **kernel)
    grus = [Gru(inputs=(1 + layer,), hidden=hidden) for layer in range(layers)]
    last = 1 + layers
    return (
        Input(mels=mels),
        conv,
        *grus,
        Conv(inputs=(last,), channels=attention, act=Act.TANH),
        Conv(inputs=(last + 1,), channels=1, gives=Gives.ENERGY),
        Attend(inputs=(last + 2, last)),
        Conv(inputs=(last + 3,), channels=classes, gives=Gives.LOGITS),
    ), np.float16(step)


def _shapes(program: Program) -> Iterator[tuple[MatrixShape, ...]]:
    shapes = shapes_of(program)
    for op in program:
        yield op.matrices([shapes[one] for one in op.inputs])


def _tensors(reader: Reader, program: Program) -> tuple[tuple[Quantized, ...], ...]:
    shapes = list(_shapes(program))
    count = sum(len(own) for own in shapes)
    widths = iter([value for byte in reader.take((count + 1) // 2) for value in (byte & 15, byte >> 4)])
    scales = [
        [(reader.halves(one.rows), reader.halves(one.rows) if one.biased else None) for one in own]
        for own in shapes
    ]
    found = []
    for own, numbers in zip(shapes, scales, strict=True):
        tensors = []
        for one, (scale, bias) in zip(own, numbers, strict=True):
            bits, size = next(widths), one.rows * one.columns
            if bits not in WIDTHS:
                raise ValueError(f"weights of {bits} bits")
            data = reader.take((size * bits + 7) // 8)
            tensors.append(Quantized(bits, unpack(data, bits, size).reshape(one.rows, -1), scale, bias))
        found.append(tuple(tensors))
    if reader.left:
        raise ValueError(f"{reader.left} bytes left over")
    return tuple(found)
