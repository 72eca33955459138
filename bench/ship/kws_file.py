"""The ``.kws`` file: an integer model, flat and little-endian; needs NumPy only, reads without pickle.

The layout, byte by byte, is in ``docs/integer-model.md``.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.files import write_atomically
from models.errors import KwsError, ModelError
from models.integer import IntegerModel, IntegerSpec, Quantized, has_bias

MAGIC = b"KWS\x1a"
VERSION = 1
# As in models/base.py, which imports torch: what features have, and the keyword or not.
N_MELS, N_CLASSES = 40, 2
# magic, version, activation bits, bytes of the file, then the sizes, then one step of the convolution.
_HEAD = struct.Struct("<4sBBI HBBBBHHBBB e")
_CRC = struct.Struct("<I")
WIDTHS = range(2, 9)


class FileError(KwsError):
    """A ``.kws`` file that cannot be read: cut, altered, newer, or something else altogether."""


@dataclass(frozen=True)
class ArtifactBytes:
    """Where the bytes of a file are.

    Attributes:
        artifact_bytes: All of them.
        payload_bytes: Packed weights.
        scale_bytes: Scales and biases.
        container_bytes: The rest: header, widths and checksum.
    """

    artifact_bytes: int
    payload_bytes: int
    scale_bytes: int
    container_bytes: int


def pack(values: npt.NDArray[np.int8], bits: int) -> bytes:
    """Signed integers of so many bits, the first in the lowest bits; the last byte is filled with zeros.

    Example:
        >>> pack(np.array([1, -1, 7], np.int8), 4).hex()
        'f107'
    """
    ones = np.unpackbits(values.astype(np.uint8).reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return np.packbits(ones.flatten(), bitorder="little").tobytes()


def unpack(data: bytes, bits: int, count: int) -> npt.NDArray[np.int8]:
    """The integers that ``pack`` wrote, shape (count,)."""
    ones = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * bits]
    raw = np.packbits(ones.reshape(count, bits), axis=1, bitorder="little")[:, 0].astype(np.int16)
    return np.where(raw >= 1 << (bits - 1), raw - (1 << bits), raw).astype(np.int8)


def to_bytes(model: IntegerModel) -> bytes:
    """The file's content."""
    spec, tensors = model.spec, [model.tensors[name] for name in model.spec.shapes()]
    nibbles = [tensor.bits for tensor in tensors]
    nibbles += [0] * (len(nibbles) % 2)
    widths = bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
    scales = b"".join(
        numbers.astype("<f2").tobytes()
        for tensor in tensors
        for numbers in (tensor.scale, tensor.bias)
        if numbers is not None
    )
    body = widths + scales + b"".join(pack(tensor.weight, tensor.bits) for tensor in tensors)
    sizes = (spec.channels, *spec.kernel, *spec.stride, spec.hidden, spec.attention)
    counts = (spec.layers, spec.n_mels, spec.n_classes)
    try:
        head = _HEAD.pack(
            MAGIC,
            VERSION,
            spec.activations,
            _HEAD.size + len(body) + _CRC.size,
            *sizes,
            *counts,
            float(model.conv_scale),
        )
    except struct.error as error:
        raise ModelError(f"the model is too large for a .kws file: {error}") from None
    return head + body + _CRC.pack(zlib.crc32(head + body))


def save(model: IntegerModel, path: Path) -> None:
    """Writes the file, as a whole or not at all.

    Raises:
        ModelError: The model is too large for it.
        NoRoomError: The disk has no room for it.
    """
    write_atomically(path, to_bytes(model))


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
    fields = _HEAD.unpack_from(data)
    activations, (channels, k0, k1, s0, s1, hidden, attention) = fields[2], fields[4:11]
    layers, n_mels, n_classes, conv_scale = fields[11:15]
    kernel, stride = (k0, k1), (s0, s1)
    spec = IntegerSpec(channels, kernel, stride, hidden, attention, layers, n_mels, n_classes, activations)
    plain = (channels, *kernel, *stride, hidden, attention, layers, n_classes)
    usable = np.isfinite(conv_scale) and conv_scale > 0
    if min(plain) < 1 or k0 > n_mels or activations not in (8, 16) or not usable:
        raise FileError(f"{name}: its header describes no model; write it anew")
    if (n_mels, n_classes) != (N_MELS, N_CLASSES):
        raise FileError(
            f"{name}: its header says {n_mels} mel bands and {n_classes} classes, and a keyword spotter has "
            f"{N_MELS} and {N_CLASSES}; write it anew"
        )
    try:
        model = IntegerModel(spec, np.float16(conv_scale), _tensors(data, spec))
        _ = model.layers
    except (ValueError, IndexError, ModelError) as error:
        raise FileError(f"{name}: its content does not fit its header ({error}); write it anew") from None
    return model


def _check(data: bytes, name: str) -> None:
    """Refuses what is no whole, unaltered file of this version."""
    if data[:4] != MAGIC[: len(data[:4])] or not data:
        raise FileError(f"{name} is no .kws file: it does not begin as one")
    if len(data) > 4 and data[4] > VERSION:
        raise FileError(f"{name} is of version {data[4]} and this toolkit reads up to {VERSION}; update it")
    if len(data) < _HEAD.size + _CRC.size or len(data) != _HEAD.unpack_from(data)[3]:
        wanted = _HEAD.unpack_from(data)[3] if len(data) >= _HEAD.size else "more"
        raise FileError(f"{name} has {len(data)} bytes where its header says {wanted}; copy it again")
    if zlib.crc32(data[: -_CRC.size]) != _CRC.unpack_from(data, len(data) - _CRC.size)[0]:
        raise FileError(f"{name} was altered: its checksum does not match; copy it again")


def _tensors(data: bytes, spec: IntegerSpec) -> dict[str, Quantized]:
    shapes = spec.shapes()
    at = _HEAD.size + (len(shapes) + 1) // 2
    widths = [value for byte in data[_HEAD.size : at] for value in (byte & 15, byte >> 4)]
    scales: dict[str, list[npt.NDArray[np.float16]]] = {}
    for key, (out, _) in shapes.items():
        for _ in range(1 + has_bias(key)):
            scales.setdefault(key, []).append(np.frombuffer(data, "<f2", out, at).astype(np.float16))
            at += 2 * out
    tensors = {}
    for (key, (out, width)), bits in zip(shapes.items(), widths, strict=False):
        if bits not in WIDTHS:
            raise ValueError(f"{key} has weights of {bits} bits")
        size = (out * width * bits + 7) // 8
        weight = unpack(data[at : at + size], bits, out * width).reshape(out, width)
        at += size
        bias = scales[key][1] if has_bias(key) else None
        tensors[key] = Quantized(bits, weight, scales[key][0], bias)
    if at != len(data) - _CRC.size:
        raise ValueError(f"{len(data) - _CRC.size - at} bytes left over")
    return tensors


def count_bytes(model: IntegerModel) -> ArtifactBytes:
    """Where the bytes of a model's file are."""
    whole = len(to_bytes(model))
    tensors = model.tensors.values()
    payload = sum((tensor.weight.size * tensor.bits + 7) // 8 for tensor in tensors)
    scales = sum(2 * len(tensor.scale) * (1 + (tensor.bias is not None)) for tensor in tensors) + 2
    return ArtifactBytes(whole, payload, scales, whole - payload - scales)
