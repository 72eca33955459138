"""The integer model in NumPy: one function an operation, integers in and out.

Values are arrays (B, C, rows, T'); what is one for all of time has a single frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.integer.fixed_point import Int, power, requantize, rounded_shift, saturate, sigmoid, tanh
from models.integer.model import (
    GATE_BITS,
    WHOLE_BITS,
    Format,
    IntegerModel,
    Layer,
    curving,
    joining,
    scaling,
    six,
    state_format,
    target,
)
from models.integer.ops import (
    Act,
    Add,
    Attend,
    Concat,
    Conv,
    Gru,
    Last,
    MeanTime,
    Mul,
    Op,
    Pick,
    Pool,
    Rounding,
    Window,
    repeated,
)


def clip(model: IntegerModel, log_mel: npt.NDArray[Any]) -> tuple[Int, Int | None]:
    """Whole clips: log-mel (B, M, T) -> logits (B, K), and energies (B, T') where there is attention.

    Raises:
        ModelError: The clips are shorter than a window.
    """
    if log_mel.shape[-1] < model.least_frames:
        raise ModelError(f"clips of {log_mel.shape[-1]} frames; the model needs {model.least_frames}")
    values: list[Int] = [model.quantize_input(log_mel)[:, None]]
    last_use = {one: at for at, op in enumerate(model.program) for one in op.inputs}
    for at, op in enumerate(model.program[1:], 1):
        values.append(compute(op, model, at, [values[one] for one in op.inputs]))
        for one in set(op.inputs):
            if last_use[one] == at and one != model.energies:
                values[one] = np.zeros(0, np.int64)
    energies = None if model.energies is None else values[model.energies].reshape(len(log_mel), -1)
    return values[-1].reshape(len(log_mel), -1), energies


@singledispatch
def compute(op: Op, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    """One operation over all frames.

    Args:
        op: Which.
        model: Whose.
        at: Its place in the program.
        given: What it reads.
        padded: Whether it puts frames of zeros before and behind, where it does.
    """
    raise NotImplementedError(type(op).__name__)


def finish(op: Rounding, model: IntegerModel, at: int, value: Int) -> Int:
    """A sum, rounded to what the activation reads, to the result."""
    gives = model.formats[at]
    match op.act:
        case Act.RELU:
            return np.maximum(value, 0)
        case Act.RELU6:
            return np.clip(value, 0, six(gives))
        case Act.TANH:
            return read_state(tanh(value), gives)
        case Act.SIGMOID:
            return read_state(sigmoid(value), gives)
        case Act.SILU:
            return requantize(value * sigmoid(value), *_ints(curving(model, at)), gives.bits)
    return value


def read_state(value: Int, gives: Format) -> Int:
    """Numbers with 15 fraction bits as others read them."""
    return value if gives.bits == 16 else saturate(rounded_shift(value, 16 - gives.bits), gives.bits)


def matrix(layer: Layer, bits: int) -> Callable[[Int], Int]:
    """A matrix times vectors (..., in) -> (..., out)."""
    weight, bias, multiplier, shift = layer
    # Exact: below 2^31 in size, and doubles hold integers up to 2^53.
    doubles = np.ascontiguousarray(weight.T.astype(np.float64))
    return lambda x: requantize(
        (x.astype(np.float64) @ doubles).astype(np.int64) + bias, multiplier, shift, bits
    )


def behind_each_other(*layers: Layer) -> Layer:
    """Matrices that read the same as one."""
    return Layer(*(np.concatenate(parts) for parts in zip(*layers, strict=True)))


def windows(op: Window, model: IntegerModel, at: int, x: Int, padded: bool) -> Int:
    """Everything that each result reads: (B, C, rows', T', kernel mel, kernel time)."""
    shape, zero = op.read(model.shapes[op.inputs[0]]), model.formats[op.inputs[0]].zero
    x = x.reshape(len(x), shape.channels, shape.rows, x.shape[-1])
    if isinstance(op, Pool) and op.largest:
        zero = -(2 ** (model.formats[at].bits - 1))
    times = (op.before, op.after) if padded else (0, 0)
    if any(times) or op.above or op.below:
        x = np.pad(x, ((0, 0), (0, 0), (op.above, op.below), times), constant_values=zero)
    spans = ((op.kernel_mel - 1) * op.dilation_mel + 1, op.span_time)
    found: Int = np.lib.stride_tricks.sliding_window_view(x, spans, (2, 3))
    return found[:, :, :: op.stride_mel, :: op.stride_time, :: op.dilation_mel, :: op.dilation_time]


@compute.register
def _(op: Conv, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    (layer,) = model.layers[at]
    seen, groups = windows(op, model, at, given[0], padded), op.parts(model.shapes[op.inputs[0]])
    batch, channels, rows, frames = seen.shape[:4]
    total: Int
    each, outs = channels // groups, op.channels // groups
    if each == 1:
        # A tap at a time: no copies of all windows.
        kernel = layer.weight.reshape(groups, outs, 1, op.kernel_mel, op.kernel_time)
        total = np.zeros((batch, groups, outs, rows, frames), np.int64)
        for mel, time in np.ndindex(op.kernel_mel, op.kernel_time):
            total += seen[:, :, None, :, :, mel, time] * kernel[..., mel, time][..., None]
        total = total.reshape(batch, op.channels, rows, frames)
    else:
        parts = seen.reshape(batch, groups, each, *seen.shape[2:]).transpose(0, 1, 3, 4, 2, 5, 6)
        flat = parts.reshape(batch, groups, rows, frames, -1).astype(np.float64)
        weight = layer.weight.reshape(groups, 1, outs, -1).swapaxes(-1, -2).astype(np.float64)
        total = (flat @ weight).astype(np.int64).transpose(0, 1, 4, 2, 3)
        total = total.reshape(batch, op.channels, rows, frames)
    bias, multiplier, shift = (one[:, None, None] for one in layer[1:])
    return finish(
        op, model, at, requantize(total + bias, multiplier, shift, target(op, model.formats[at]).bits)
    )


@compute.register
def _(op: Pool, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    seen = windows(op, model, at, given[0], padded)
    if op.largest:
        largest: Int = seen.max((-2, -1))
        return largest
    zero = model.formats[op.inputs[0]].zero
    total = (seen - zero).sum((-2, -1))
    scaled = requantize(total, *_ints(scaling(model, at)), target(op, model.formats[at]).bits)
    return finish(op, model, at, scaled)


def recur(op: Gru, model: IntegerModel, at: int, x: Int, hidden: Int) -> tuple[Int, Int]:
    """A GRU layer: frames (B, in, T'), a state (B, H) of 15 fraction bits -> outputs (B, H, T'), a state."""
    ih, (*down, hh_r, hh_z, hh_n) = model.layers[at][:3], model.layers[at][3:]
    read, one, outputs = state_format(model.activations), 2**GATE_BITS, []
    inputs = matrix(behind_each_other(*ih), 16)(x.swapaxes(1, 2))
    inner, gates = [matrix(thin, model.activations) for thin in down], behind_each_other(hh_r, hh_z, hh_n)
    recurrent, both = matrix(gates, 16), 2 * op.hidden
    for frame in range(x.shape[-1]):
        state = read_state(hidden, read)
        for thin in inner:
            state = thin(state)
        given, own = inputs[:, frame], recurrent(state)
        curves = sigmoid(saturate(given[:, :both] + own[:, :both], 16))
        reset, update = curves[:, : op.hidden], curves[:, op.hidden :]
        fresh = rounded_shift(reset * own[:, both:], GATE_BITS)
        new = tanh(saturate(given[:, both:] + fresh, 16))
        hidden = rounded_shift(update * hidden + (one - update) * new, GATE_BITS)
        outputs.append(read_state(hidden, read))
    return np.stack(outputs, -1), hidden


@compute.register
def _(op: Gru, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    (x,) = given
    flat = x.reshape(len(x), -1, x.shape[-1])
    return recur(op, model, at, flat, np.zeros((len(x), op.hidden), np.int64))[0][:, :, None]


def _spread(model: IntegerModel, one: int, x: Int, channels: int, rows: int) -> Int:
    """A value as (B, C, rows, T') for a join, without its zero point; what is repeated has a length of 1."""
    steps = repeated(model.shapes[one].size, channels, rows)
    size = (channels if steps[0] else 1, rows if steps[1] else 1)
    return x.reshape(len(x), *size, x.shape[-1]) - model.formats[one].zero


@compute.register
def _(op: Add, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    shape, (factors, shift) = model.shapes[at], joining(model, at)
    total = np.zeros((len(given[0]), shape.channels, shape.rows, given[0].shape[-1]), np.int64)
    for one, x, factor in zip(op.inputs, given, factors, strict=True):
        total = total + _spread(model, one, x, shape.channels, shape.rows) * factor
    return finish(op, model, at, saturate(rounded_shift(total, shift), target(op, model.formats[at]).bits))


@compute.register
def _(op: Mul, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    shape = model.shapes[at]
    left, right = (
        _spread(model, one, x, shape.channels, shape.rows) for one, x in zip(op.inputs, given, strict=True)
    )
    product = np.broadcast_to(left * right, (len(left), shape.channels, shape.rows, left.shape[-1]))
    scaled = requantize(product, *_ints(scaling(model, at)), target(op, model.formats[at]).bits)
    return finish(op, model, at, scaled)


@compute.register
def _(op: Concat, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    shape, (factors, shift) = model.shapes[at], joining(model, at)
    parts = [
        ((x - model.formats[one].zero) * factor).reshape(len(x), -1, x.shape[-1])
        for one, x, factor in zip(op.inputs, given, factors, strict=True)
    ]
    total = np.concatenate(parts, 1).reshape(len(parts[0]), shape.channels, shape.rows, -1)
    return finish(op, model, at, saturate(rounded_shift(total, shift), target(op, model.formats[at]).bits))


@compute.register
def _(op: Pick, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    (x,), shape = given, model.shapes[at]
    flat: Int = x.reshape(len(x), -1, x.shape[-1])
    picked: Int = flat[:, list(op.order)].reshape(len(x), shape.channels, shape.rows, x.shape[-1])
    return picked


@compute.register
def _(op: Last, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    return given[0][..., -1:]


@compute.register
def _(op: MeanTime, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    form, count = model.formats[op.inputs[0]], np.int64(given[0].shape[-1])
    return _whole((given[0] - form.zero).sum(-1, keepdims=True), count, form)


@compute.register
def _(op: Attend, model: IntegerModel, at: int, given: Sequence[Int], *, padded: bool = True) -> Int:
    energies, values = given
    form = model.formats[op.inputs[1]]
    weights = power(energies.max(-1, keepdims=True) - energies)
    summed = (weights * (values - form.zero)).sum(-1, keepdims=True)
    return _whole(summed, weights.sum(-1, keepdims=True), form)


def _whole(summed: Int, total: Int | np.int64, form: Format) -> Int:
    """A sum over a whole, to the nearest, with as many more bits as there is room for."""
    size = (np.abs(summed) << (WHOLE_BITS - form.bits)) + (total >> 1)
    return saturate(np.sign(summed) * (size // total), WHOLE_BITS)


def _ints(pair: tuple[int, int]) -> tuple[Int, Int]:
    return np.array(pair[0]), np.array(pair[1])
