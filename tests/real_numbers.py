"""A program on real numbers in double precision, by its definition: of whole clips, or of a stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.integer.model import IntegerModel
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
    shapes_of,
)

Matrices = Sequence[Sequence[tuple[np.ndarray, np.ndarray | None]]]
ACTS = {
    Act.NONE: lambda x: x,
    Act.RELU: torch.relu,
    Act.RELU6: functional.relu6,
    Act.TANH: torch.tanh,
    Act.SIGMOID: torch.sigmoid,
    Act.SILU: functional.silu,
}


def real_numbers(integer: IntegerModel) -> Matrices:
    """Those of an integer model, by what docs/integer-model.md says of them."""
    return [
        [(one.weight * one.scale.astype(np.float64)[:, None], one.bias) for one in own]
        for own in integer.tensors
    ]


def logits_of(program: Program, matrices: Matrices, log_mel: np.ndarray) -> np.ndarray:
    """Whole clips: log-mel (B, M, T) to logits (B, K)."""
    return _run(program, matrices, log_mel, None)[:, :, 0, 0].numpy()


def decisions_of(program: Program, matrices: Matrices, log_mel: np.ndarray, kept: int) -> np.ndarray:
    """A stream: log-mel (B, M, T) to the logits of every decision (B, T', K).

    Nothing is put behind the last frame, what meets does so in order, and what takes all of time is made
    anew of the last frames, so many as are kept, with each that comes.
    """
    return _run(program, matrices, log_mel, kept)[:, :, 0].swapaxes(1, 2).numpy()


def _run(program: Program, matrices: Matrices, log_mel: np.ndarray, kept: int | None) -> Tensor:
    shapes, values = shapes_of(program), [torch.tensor(log_mel, dtype=torch.float64)[:, None]]
    for at, op in enumerate(program[1:], 1):
        given = [values[one] for one in op.inputs]
        own = [
            tuple(None if one is None else torch.tensor(one.astype(np.float64)) for one in pair)
            for pair in matrices[at]
        ]
        if kept is not None:
            shortest = min(x.shape[-1] for x in given)
            given = [x[..., :shortest] for x in given]
        pieces = [given]
        if kept is not None and op.gathers:
            pieces = [[x[..., max(0, end - kept) : end] for x in given] for end in range(1, shortest + 1)]
        after = getattr(op, "after", 0) if kept is None else 0
        reads = [shapes[one] for one in op.inputs]
        made = torch.cat([_one(op, reads, shapes[at], piece, own, after) for piece in pieces], -1)
        values.append(ACTS[getattr(op, "act", Act.NONE)](made))
    return values[-1].reshape(len(log_mel), -1, 1, values[-1].shape[-1])


def _one(op: Op, reads: list[Shape], gives: Shape, given: list[Tensor], own: list, after: int) -> Tensor:
    x = given[0]
    match op:
        case Window():
            return _window(op, reads[0], x, own, after)
        case Gru():
            return _gru(x.flatten(1, 2), own, op.rank)[:, :, None]
        case Add() | Mul():
            parts = [_spread(one, gives) for one in given]
            whole = torch.zeros(len(x), gives.channels, gives.rows, x.shape[-1], dtype=x.dtype)
            if isinstance(op, Mul):
                return whole + parts[0] * parts[1]
            return whole + sum(part * (-1 if op.minus >> i & 1 else 1) for i, part in enumerate(parts))
        case Concat():
            joined = torch.cat([one.flatten(1, 2) for one in given], 1)
            return joined.reshape(len(x), gives.channels, gives.rows, -1)
        case Pick():
            return x.flatten(1, 2)[:, list(op.order)].reshape(len(x), gives.channels, gives.rows, -1)
        case Last():
            return x[..., -1:]
        case MeanTime():
            return x.mean(-1, keepdim=True)
        case Attend():
            return (torch.softmax(x, -1) * given[1]).sum(-1, keepdim=True)
    raise NotImplementedError


def _window(op: Window, reads: Shape, x: Tensor, own: list, after: int) -> Tensor:
    shape, largest = op.read(reads), isinstance(op, Pool) and op.largest
    x = x.reshape(len(x), shape.channels, shape.rows, x.shape[-1])
    fill = float("-inf") if largest else 0.0
    x = functional.pad(x, (op.before, after, op.above, op.below), value=fill)
    x = x.unfold(2, (op.kernel_mel - 1) * op.dilation_mel + 1, op.stride_mel)
    x = x.unfold(3, op.span_time, op.stride_time)[..., :: op.dilation_mel, :: op.dilation_time]
    if isinstance(op, Pool):
        return x.amax((-2, -1)) if largest else x.mean((-2, -1))
    assert isinstance(op, Conv)
    groups, ((weight, bias),) = op.parts(reads), own
    kernel = weight.reshape(groups, op.channels // groups, -1, op.kernel_mel, op.kernel_time)
    parts = x.reshape(len(x), groups, -1, *x.shape[2:])
    total = torch.einsum("bgirtmk,goimk->bgort", parts, kernel).flatten(1, 2)
    return total if bias is None else total + bias[:, None, None]


def _gru(frames: Tensor, own: list, rank: int) -> Tensor:
    """Each gate by its formula; the reset gate acts after the product with the state."""
    (r, z, n), hh = own[:3], own[-3:]
    state, found = torch.zeros(len(frames), len(n[0]), dtype=frames.dtype), []
    for x in frames.unbind(-1):
        read = state @ own[3][0].T if rank else state
        reset, update = (
            torch.sigmoid(x @ ih.T + bias + read @ h.T)
            for (ih, bias), (h, _) in zip((r, z), hh[:2], strict=True)
        )
        new = torch.tanh(x @ n[0].T + n[1] + reset * (read @ hh[2][0].T + hh[2][1]))
        state = (1 - update) * new + update * state
        found.append(state)
    return torch.stack(found, -1)


def _spread(x: Tensor, gives: Shape) -> Tensor:
    """By size: the whole, one a channel, one a row, or one."""
    size = x.shape[1] * x.shape[2]
    shapes = {1: (1, 1), gives.rows: (1, gives.rows), gives.channels: (gives.channels, 1)}
    return x.reshape(len(x), *(shapes | {gives.channels * gives.rows: gives[:2]})[size], x.shape[-1])
