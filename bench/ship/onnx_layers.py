"""The operations of a program as ONNX nodes, of whole clips or one step of a stream: windows and GRUs.

Imports ``onnx``, of the extra of that name; ``onnx_export`` asks for it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np

from bench.ship.onnx_values import CLIP, HIDDEN, NEXT, WINDOW, Layout, Value, Writer
from bench.ship.onnx_weights import Array, Matrix
from models.integer.ops import Act, Conv, Gru, Input, Op, Pool, Window

_CURVES = {Act.RELU: "Relu", Act.TANH: "Tanh", Act.SIGMOID: "Sigmoid"}


@singledispatch
def write(op: Op, at: int, writer: Writer) -> Value:
    """The nodes of one operation.

    Args:
        op: Which.
        at: Its place in the program.
        writer: The graph, and what the operation reads.
    """
    raise NotImplementedError(type(op).__name__)


@write.register
def _(op: Input, at: int, writer: Writer) -> Value:
    return Value(CLIP if writer.timing is None else WINDOW, Layout.MEL, writer.shapes[at])


def finished(op: Op, at: int, writer: Writer, name: str, layout: Layout) -> Value:
    """A sum with its activation."""
    act, add = getattr(op, "act", Act.NONE), writer.builder.add
    if act is Act.RELU6:
        limits = [writer.builder.constant(np.array(limit, np.float32)) for limit in (0, 6)]
        name = add("Clip", [name, *limits])
    elif act is Act.SILU:
        name = add("Mul", [name, add("Sigmoid", [name])])
    elif act in _CURVES:
        name = add(_CURVES[act], [name])
    return Value(name, layout, writer.shapes[at])


def _right_factor(writer: Writer, name: str, matrix: Matrix) -> str:
    """A matrix as (1, in, out). ONNX Runtime makes of DequantizeLinear and a MatMul with two axes a
    product that rounds the activations to int8 as well (MatMulNBits); with three axes it stays float.
    """
    turned = matrix._replace(weight=matrix.weight.T)
    return writer.builder.weight(name, turned, [1, *turned.weight.shape], 2)


@write.register
def _(op: Conv, at: int, writer: Writer) -> Value:
    (value,), (matrix,), builder = writer.given(at), writer.weights.matrices[at], writer.builder
    name, bias = f"w{at}", [] if matrix.bias is None else [builder.numbers(f"b{at}", matrix.bias)]
    if _is_matrix(op, value) and value.layout is Layout.VECTOR:
        weight = builder.weight(name, matrix, matrix.weight.shape, 0)
        gemm = builder.add("Gemm", [value.name, weight, *bias], {"transB": 1})
        return finished(op, at, writer, gemm, Layout.VECTOR)
    if _is_matrix(op, value) and value.layout is Layout.SEQUENCE:
        total = builder.add("MatMul", [value.name, _right_factor(writer, name, matrix)])
        total = builder.add("Add", [total, *bias]) if bias else total
        return finished(op, at, writer, total, Layout.SEQUENCE)
    image, pads = _heard(op, at, writer, value)
    groups = op.parts(value.shape)
    kernel = [op.channels, op.read(value.shape).channels // groups, op.kernel_mel, op.kernel_time]
    how = _sliding(op, pads) | ({"group": groups} if groups > 1 else {})
    total = builder.add("Conv", [image, builder.weight(name, matrix, kernel, 0), *bias], how)
    return finished(op, at, writer, total, Layout.IMAGE)


def _is_matrix(op: Conv, value: Value) -> bool:
    """Whether it is one matrix that reads a whole frame."""
    rows = op.read(value.shape).rows
    bare = not (op.slides or op.above or op.below) and op.parts(value.shape) == 1
    return bare and op.kernel_mel == rows and (op.dilation_mel == 1 or rows == 1)


@write.register
def _(op: Pool, at: int, writer: Writer) -> Value:
    (value,), builder = writer.given(at), writer.builder
    fill = -np.inf if op.largest else 0.0
    image, pads = _heard(op, at, writer, value, fill)
    # The operator refuses more padding than its kernel has places.
    if max(pads[::2]) >= op.kernel_mel or max(pads[1::2]) >= op.kernel_time:
        around = builder.integers(0, 0, *pads[:2], 0, 0, *pads[2:])
        image = builder.add("Pad", [image, around, builder.constant(np.array(fill, np.float32))])
        pads = [0] * 4
    how = {"kernel_shape": [op.kernel_mel, op.kernel_time], **_sliding(op, pads)}
    if op.largest:
        return finished(op, at, writer, builder.add("MaxPool", [image], how), Layout.IMAGE)
    if any(pads):
        how["count_include_pad"] = 1
    return finished(op, at, writer, builder.add("AveragePool", [image], how), Layout.IMAGE)


def _sliding(op: Window, pads: list[int]) -> dict[str, int | list[int]]:
    """The attributes of a window that are not what they are by default."""
    found: dict[str, int | list[int]] = {}
    for name, values, default in (
        ("strides", [op.stride_mel, op.stride_time], 1),
        ("dilations", [op.dilation_mel, op.dilation_time], 1),
        ("pads", pads, 0),
    ):
        if set(values) != {default}:
            found[name] = values
    return found


def _heard(op: Window, at: int, writer: Writer, value: Value, fill: float = 0.0) -> tuple[str, list[int]]:
    """What a window reads, as an image, and how much is put above, before, below and behind."""
    read, timing = op.read(value.shape), writer.timing
    image = writer.image(value, read.channels, read.rows)
    if timing is None:
        return image, [op.above, op.before, op.below, op.after]
    pads = [op.above, 0, op.below, 0]
    if at == timing.head or not op.slides:
        return image, pads
    (source,) = op.inputs
    first, rate = timing.first[source], timing.frames[source]
    oldest = timing.first[at] * op.stride_time - op.before
    kept = first - oldest
    if op.before and not fill:
        image = writer.masked(image, 0.0, first, rate, rate)
    if kept < 0:
        image = writer.builder.cut(image, 3, -kept)
    elif kept:
        image = writer.remember(f"past_{at}", Value(image, Layout.IMAGE, read), kept)
    if op.before and fill:
        image = writer.masked(image, fill, oldest, rate, kept + rate)
    return image, pads


@write.register
def _(op: Gru, at: int, writer: Writer) -> Value:
    (value,), builder = writer.given(at), writer.builder
    # torch and the program have the gates r, z, n; ONNX has z, r, n.
    r, z, n, *hh = writer.weights.matrices[at]
    ih, hh_all = _stacked([z, r, n]), _stacked([hh[1], hh[0], hh[2]])
    bias = builder.numbers(f"b{at}", np.concatenate([_bias(ih), _bias(hh_all)]))
    weights = [
        builder.weight(f"w{at}", ih, [1, *ih.weight.shape], 1),
        builder.weight(f"r{at}", hh_all, [1, *hh_all.weight.shape], 1),
        builder.add("Unsqueeze", [bias, builder.integers(0)]),
    ]
    # The candidate's reset gate acts after the product with the state, as it does in torch.
    how = {"hidden_size": op.hidden, "linear_before_reset": 1}
    frames = writer.sequence(value)
    if writer.timing is not None:
        return Value(_recurrent(at, writer, frames, weights, how), Layout.SEQUENCE, writer.shapes[at])
    outputs = builder.add("Squeeze", [builder.add("GRU", [frames, *weights], how), builder.integers(1)])
    return Value(outputs, Layout.SEQUENCE, writer.shapes[at])


def _recurrent(at: int, writer: Writer, frames: str, weights: list[str], how: dict[str, int]) -> str:
    """The frames of a step; before the first of all, the state stays at zeros."""
    timing, builder = writer.timing, writer.builder
    assert timing is not None
    first, rate = timing.first[at], timing.frames[at]
    state = f"{HIDDEN}{sum(name.startswith(HIDDEN) for name in writer.states)}"
    writer.states[state] = [1, "B", how["hidden_size"]]
    # A step that holds frames before the first and others goes frame by frame.
    pieces = [frames]
    if first % rate:
        pieces = [f"{state}_{i}" for i in range(rate)]
        builder.add("Split", [frames, builder.integers(*[1] * rate)], {"axis": 0}, pieces)
    hidden, found = state, []
    for i, piece in enumerate(pieces):
        before = writer.masked(hidden, 0.0, first - 1 + i, rate) if first else hidden
        hidden = NEXT + state if piece == pieces[-1] else f"{piece}h"
        every = f"{state}y" if rate > 1 and len(pieces) == 1 else ""
        builder.add("GRU", [piece, *weights, "", before], how, [every, hidden])
        found.append(builder.add("Squeeze", [every, builder.integers(1)]) if every else hidden)
    return found[0] if len(found) == 1 else builder.add("Concat", found, {"axis": 0})


def _stacked(parts: Sequence[Matrix]) -> Matrix:
    scales = [part.scale for part in parts if part.scale is not None]
    if len(scales) < len(parts):
        parts = [part._replace(weight=part.real()) for part in parts]
    weight = np.concatenate([part.weight for part in parts])
    scale = np.concatenate(scales) if len(scales) == len(parts) else None
    bias = np.concatenate([_bias(part) for part in parts])
    return Matrix(weight, scale, bias, max(part.bits for part in parts))


def _bias(matrix: Matrix) -> Array:
    if matrix.bias is not None:
        return matrix.bias
    return np.zeros(len(matrix.weight), np.float32 if matrix.scale is None else np.float16)
