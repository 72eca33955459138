"""A program on real numbers, in torch: exactly, or rounded on the way. One function an operation.

Values are tensors (B, C, rows, T'); what is one for all of time has a single frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.errors import ModelError
from models.integer.lowering import Matrices
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
    Program,
    Shape,
    Window,
    least_frames,
    repeated,
    shapes_of,
)

_CURVES: dict[Act, Callable[[Tensor], Tensor]] = {
    Act.RELU: functional.relu,
    Act.RELU6: functional.relu6,
    Act.TANH: torch.tanh,
    Act.SIGMOID: torch.sigmoid,
    Act.SILU: functional.silu,
}


class Exact:
    """Rounds nothing; what is rounded on the way to integers overrides it.

    Attributes:
        exact: Whether states need not be seen one by one.
    """

    exact = True

    def heard(self, log_mel: Tensor) -> Tensor:
        """The input."""
        return log_mel

    def weight(self, at: int, number: int, weight: Tensor) -> Tensor:
        """A matrix of an operation, by its number there."""
        return weight

    def result(self, at: int, values: Tensor) -> Tensor:
        """The result of an operation."""
        return values

    def pre(self, values: Tensor) -> Tensor:
        """The projections of a GRU."""
        return values

    def inner(self, at: int, values: Tensor) -> Tensor:
        """What stands between the two factors of a GRU's matrix."""
        return values

    def state(self, values: Tensor) -> Tensor:
        """The state of a GRU as its matrices read it."""
        return values


class Around(NamedTuple):
    """What an operation needs besides its inputs.

    Attributes:
        at: Its place in the program.
        reads: The shapes that it reads.
        gives: The shape of its result.
        own: Its matrices.
        how: What is rounded inside it.
    """

    at: int
    reads: Sequence[Shape]
    gives: Shape
    own: Matrices
    how: Exact


def run(
    program: Program, matrices: Sequence[Matrices], log_mel: Tensor, how: Exact | None = None
) -> tuple[Tensor, Tensor | None]:
    """Whole clips: log-mel (B, M, T) -> logits (B, K), and energies (B, T') where there is attention.

    Args:
        program: The operations.
        matrices: Of each operation, (rows, columns) and (rows,), as ``Lowered.matrices`` gives them.
        log_mel: The clips.
        how: What is rounded; None for nothing.

    Raises:
        ModelError: The clips are shorter than a window.
    """
    if log_mel.shape[-1] < least_frames(program):
        raise ModelError(f"clips of {log_mel.shape[-1]} frames; the model needs {least_frames(program)}")
    rounding, shapes = how or Exact(), shapes_of(program)
    last_use = {one: at for at, op in enumerate(program) for one in op.inputs}
    values: dict[int, Tensor] = {0: rounding.heard(log_mel)[:, None]}
    energies = None
    for at, op in enumerate(program[1:], 1):
        given = [values[one] for one in op.inputs]
        if isinstance(op, Attend):
            energies = given[0].flatten(1)
        own = tuple(
            (rounding.weight(at, number, weight), bias) for number, (weight, bias) in enumerate(matrices[at])
        )
        around = Around(at, [shapes[one] for one in op.inputs], shapes[at], own, rounding)
        values[at] = rounding.result(at, compute(op, given, around))
        for one in set(op.inputs):
            if last_use[one] == at:
                del values[one]
    return values[len(program) - 1].flatten(1), energies


@singledispatch
def compute(op: Op, given: Sequence[Tensor], around: Around) -> Tensor:
    """One operation over all frames.

    Args:
        op: Which.
        given: What it reads.
        around: What it needs besides.
    """
    raise NotImplementedError(type(op).__name__)


def _window(op: Window, reads: Shape, x: Tensor, fill: float = 0.0) -> Tensor:
    """The frames in the rows in which they are read, with what is put around them."""
    shape = op.read(reads)
    x = x.reshape(len(x), shape.channels, shape.rows, x.shape[-1])
    around = (op.before, op.after, op.above, op.below)
    return functional.pad(x, around, value=fill) if any(around) else x


def _finish(op: Op, values: Tensor) -> Tensor:
    act = getattr(op, "act", Act.NONE)
    return _CURVES[act](values) if act in _CURVES else values


@compute.register
def _(op: Conv, given: Sequence[Tensor], around: Around) -> Tensor:
    ((weight, bias),) = around.own
    kernel = weight.reshape(op.channels, -1, op.kernel_mel, op.kernel_time)
    x = _window(op, around.reads[0], given[0])
    strides, dilations = (op.stride_mel, op.stride_time), (op.dilation_mel, op.dilation_time)
    groups = op.parts(around.reads[0])
    return _finish(op, functional.conv2d(x, kernel, bias, strides, 0, dilations, groups))


@compute.register
def _(op: Pool, given: Sequence[Tensor], around: Around) -> Tensor:
    x = _window(op, around.reads[0], given[0], float("-inf") if op.largest else 0.0)
    kernel, strides = (op.kernel_mel, op.kernel_time), (op.stride_mel, op.stride_time)
    dilations = (op.dilation_mel, op.dilation_time)
    if op.largest:
        return functional.max_pool2d(x, kernel, strides, 0, dilations)
    if dilations == (1, 1):
        return _finish(op, functional.avg_pool2d(x, kernel, strides))
    channels = x.shape[1]
    shares = x.new_full((channels, 1, *kernel), 1 / (op.kernel_mel * op.kernel_time))
    return _finish(op, functional.conv2d(x, shares, None, strides, 0, dilations, channels))


@compute.register
def _(op: Gru, given: Sequence[Tensor], around: Around) -> Tensor:
    frames = given[0].flatten(1, 2).transpose(1, 2)
    exact = around.how.exact
    outputs = _fused(frames, around.own) if exact else gru(frames, around.own, around.how, around.at)[0]
    return outputs.transpose(1, 2)[:, :, None]


def _stacked(own: Matrices) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """The gates' matrices and biases on top of each other, the candidate's second bias, the thin factors."""
    ih, hh, down = own[:3], own[-3:], own[3:-3]
    biases = torch.cat([bias for _, bias in ih if bias is not None])
    second = hh[2][1]
    assert second is not None
    stacked = [torch.cat([weight for weight, _ in three]) for three in (ih, hh)]
    return stacked[0], stacked[1], biases, second, [weight for weight, _ in down]


def _fused(frames: Tensor, own: Matrices) -> Tensor:
    """By torch's kernel."""
    ih, hh, biases, second, down = _stacked(own)
    for thin in down:
        hh = hh @ thin
    after = torch.cat([torch.zeros_like(biases[: 2 * len(second)]), second])
    first = frames.new_zeros(1, len(frames), len(second))
    outputs: Tensor = torch.gru(frames, first, [ih, hh, biases, after], True, 1, 0.0, False, False, True)[0]
    return outputs


def gru(
    frames: Tensor, own: Matrices, how: Exact, at: int, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One GRU layer step by step: frames (B, T', in), state (B, H) -> outputs (B, T', H), the last state.

    All projections of the input are one product, so a step costs one product of (B, H) and a few
    operations on (B, H). The reset gate acts after the product with the state, as in torch.
    """
    ih, hh, biases, second, down = _stacked(own)
    gates = 2 * len(second)
    bias_new = torch.cat([torch.zeros_like(biases[:gates]), second])
    projected = how.pre(functional.linear(frames, ih, biases)).unbind(1)
    state = frames.new_zeros(len(frames), len(second)) if state is None else state
    turned, read, outputs = hh.t(), how.state(state), []
    for frame in projected:
        for thin in down:
            read = how.inner(at, functional.linear(read, thin))
        before = how.pre(torch.addmm(bias_new, read, turned))
        reset, update = torch.sigmoid(frame[:, :gates] + before[:, :gates]).chunk(2, 1)
        new = torch.tanh(torch.addcmul(frame[:, gates:], reset, before[:, gates:]))
        state = torch.lerp(new, state, update)
        read = how.state(state)
        outputs.append(read)
    return torch.stack(outputs, 1), state


def _spread(size: Shape, x: Tensor, gives: Shape) -> Tensor:
    """A value as (B, C, rows, T') for a join; what is repeated has a length of 1."""
    steps = repeated(size.size, gives.channels, gives.rows)
    channels, rows = (gives.channels if steps[0] else 1, gives.rows if steps[1] else 1)
    return x.reshape(len(x), channels, rows, x.shape[-1])


@compute.register
def _(op: Add, given: Sequence[Tensor], around: Around) -> Tensor:
    gives = around.gives
    total = given[0].new_zeros(len(given[0]), gives.channels, gives.rows, given[0].shape[-1])
    for i, (size, x) in enumerate(zip(around.reads, given, strict=True)):
        total = total + _spread(size, x, gives) * (-1 if op.minus >> i & 1 else 1)
    return _finish(op, total)


@compute.register
def _(op: Mul, given: Sequence[Tensor], around: Around) -> Tensor:
    left, right = (_spread(size, x, around.gives) for size, x in zip(around.reads, given, strict=True))
    product = left * right
    return _finish(op, product.expand(-1, around.gives.channels, around.gives.rows, -1))


@compute.register
def _(op: Concat, given: Sequence[Tensor], around: Around) -> Tensor:
    joined = torch.cat([x.flatten(1, 2) for x in given], 1)
    return _finish(op, joined.reshape(len(joined), around.gives.channels, around.gives.rows, -1))


@compute.register
def _(op: Pick, given: Sequence[Tensor], around: Around) -> Tensor:
    flat = given[0].flatten(1, 2)
    return flat[:, list(op.order)].reshape(len(flat), around.gives.channels, around.gives.rows, -1)


@compute.register
def _(op: Last, given: Sequence[Tensor], around: Around) -> Tensor:
    return given[0][..., -1:]


@compute.register
def _(op: MeanTime, given: Sequence[Tensor], around: Around) -> Tensor:
    return given[0].mean(-1, keepdim=True)


@compute.register
def _(op: Attend, given: Sequence[Tensor], around: Around) -> Tensor:
    shares = torch.softmax(given[0], -1)
    return (shares * given[1]).sum(-1, keepdim=True)
