"""Arithmetic, shapes and sums over axes as operations of a program."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError
from models.graph.axes import BATCH, TIME
from models.graph.ops import Node, Weight
from models.graph.plain import Concat, Elementwise, Item, Permute, Product, Reduce, Reshape, Softmax
from models.integer.lower_layers import constant_matrix, each_channel, number_matrix
from models.integer.lowering import (
    Constant,
    Dropout,
    Found,
    Lowering,
    Shares,
    States,
    Weighted,
    flat_positions,
    lower,
)
from models.integer.ops import Act, Add, Attend, Conv, Gives, Last, MeanTime, Mul, Pick, Pool
from models.integer.ops import Concat as ConcatOp

_OF: dict[Act, tuple[Any, ...]] = {
    Act.RELU: (nn.ReLU, functional.relu, torch.relu, Tensor.relu),
    Act.RELU6: (nn.ReLU6, functional.relu6),
    Act.TANH: (nn.Tanh, functional.tanh, torch.tanh, Tensor.tanh),
    Act.SIGMOID: (nn.Sigmoid, functional.sigmoid, torch.sigmoid, Tensor.sigmoid),
    Act.SILU: (nn.SiLU, functional.silu),
}
ACTS = {target: act for act, targets in _OF.items() for target in targets}
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
NOTHING = {
    nn.Identity,
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, functional.dropout, functional.dropout2d),
    *(Tensor.contiguous, Tensor.clone, Tensor.detach, Tensor.float),
}
ADDS = {operator.add, torch.add, Tensor.add}
SUBTRACTS = {operator.sub, torch.sub, Tensor.sub}
MULTIPLIES = {operator.mul, torch.mul, Tensor.mul}
DIVIDES = {operator.truediv, torch.div, Tensor.div}
LOGARITHMS = {functional.log_softmax, Tensor.log_softmax}
NEGATES = {operator.neg, Tensor.neg}
MEANS = {torch.mean, Tensor.mean, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d}
SUMS = {torch.sum, Tensor.sum}
LARGEST = {torch.amax, Tensor.amax, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d}


def _kind(node: Node) -> Any:
    return type(node.target) if isinstance(node.target, nn.Module) else node.target


def _refused(node: Node, what: str = "") -> ModelError:
    kind = _kind(node)
    name = what or getattr(kind, "__name__", str(kind))
    where = f" ({node.path})" if node.path else ""
    return ModelError(
        f"{name}{where} has no integer form; of activations relu, relu6, silu, sigmoid and tanh have, of "
        "arithmetic sums, differences and products"
    )


@lower.register
def _(operation: Elementwise, node: Node, to: Lowering) -> Found:
    kind = _kind(node)
    if kind in NOTHING:
        found = to.found[node.inputs[0]]
        if isinstance(node.target, DROPOUTS) and isinstance(found, int) and to.readers(node.inputs[0]) == 1:
            to.dropouts[found] = Dropout(node.target.p, not isinstance(node.target, nn.Dropout))
        return found
    if kind in ACTS:
        return to.activated(to.value(node.inputs[0]), ACTS[kind], node.name)
    if node.kwargs or kind not in ADDS | SUBTRACTS | MULTIPLIES | DIVIDES | NEGATES:
        raise _refused(node)
    founds = [to.found[one] for one in node.inputs]
    if any(isinstance(one, Shares) for one in founds):
        return _weighted(node, founds)
    constants = [one for one in founds if isinstance(one, Constant)]
    if len(node.inputs) == 2 and not constants:
        return _pair(node, to)
    return _with_constant(node, to, constants[0]) if constants else _with_number(node, to)


def _weighted(node: Node, founds: Sequence[Found]) -> Weighted:
    """Frames times their softmax over time."""
    shares = [one for one in founds if isinstance(one, Shares)]
    values = [one for one in founds if isinstance(one, int)]
    if _kind(node) not in MULTIPLIES or len(shares) != 1 or len(values) != 1:
        raise _refused(node, "this use of a softmax over time")
    return Weighted(shares[0].energies, values[0])


def _pair(node: Node, to: Lowering) -> int:
    """A sum, a difference or a product of two values."""
    kind = _kind(node)
    if kind not in MULTIPLIES | ADDS | SUBTRACTS:
        raise _refused(node)
    channels, rows, spread = _meeting(node, to)
    values = [to.value(one) for one in node.inputs]
    if channels == rows > 1:
        # By its size alone a value of one number a row would be taken for one of a number a channel.
        order = tuple(range(rows)) * channels
        values = [
            to.make(Pick(inputs=(value,), order=order, rows=rows), node.name) if along_rows else value
            for value, along_rows in zip(values, spread, strict=True)
        ]
    inputs = tuple(values)
    if kind in MULTIPLIES:
        return to.make(Mul(inputs=inputs, channels=channels, rows=rows), node.name)
    minus = 2 if kind in SUBTRACTS else 0
    return to.make(Add(inputs=inputs, channels=channels, rows=rows, minus=minus), node.name)


def _meeting(node: Node, to: Lowering) -> tuple[int, int, list[bool]]:
    """Channels and rows in which values meet, and of each whether it has one number for every row alone."""
    sizes = to.frame(node)
    kept = [at for at, own in enumerate(node.axes) if not {BATCH, TIME} & set(own.kinds)]
    repeats = []
    for one in node.inputs:
        padded = [1] * (len(node.axes) - len(one.axes)) + [own.size for own in one.axes]
        repeats.append([padded[at] < size for at, size in zip(kept, sizes, strict=True)])
    for cut in range(len(sizes), -1, -1):
        both = [(_side(own[:cut], sizes[:cut]), _side(own[cut:], sizes[cut:])) for own in repeats]
        if all(side is not None for pair in both for side in pair):
            alone = [bool(outer) and not inner for outer, inner in both]
            return math.prod(sizes[:cut]), math.prod(sizes[cut:]), alone
    raise _refused(node, "a repetition along several axes")


def _side(repeated: Sequence[bool], sizes: Sequence[int]) -> bool | None:
    """Whether a value is repeated along axes; None where along some of them only."""
    found = {flag for flag, size in zip(repeated, sizes, strict=True) if size > 1}
    return None if len(found) > 1 else True in found


def _with_constant(node: Node, to: Lowering, constant: Constant) -> int:
    """A value with a parameter that forward reads itself."""
    kind = _kind(node)
    added = kind in ADDS
    if not added and kind not in MULTIPLIES:
        raise _refused(node)
    others = [one for one in node.inputs if to.found[one] is not constant]
    if len(others) != 1:
        raise _refused(node, "arithmetic on parameters alone")
    value = to.value(others[0])
    sizes = tuple(to.frame(node))
    own = [1] * (len(node.axes) - len(constant.node.axes)) + [axis.size for axis in constant.node.axes]
    is_open = [bool({BATCH, TIME} & set(axis.kinds)) for axis in node.axes]
    if any(size > 1 for size, skipped in zip(own, is_open, strict=True) if skipped):
        raise _refused(node, "a parameter for each frame")
    if to.shapes()[value].size != math.prod(sizes):
        raise _refused(node, "a value that is repeated by a parameter")
    kept = [size for size, skipped in zip(own, is_open, strict=True) if not skipped]
    channels = sizes[0] if sizes and all(size == 1 for size in kept[1:]) else math.prod(sizes)
    op = replace(each_channel(value, math.prod(sizes), channels), biased=added)
    source = partial(constant_matrix, constant.path, tuple(kept), sizes, channels, added)
    return to.make(op, constant.path, source)


def _with_number(node: Node, to: Lowering) -> int:
    """A value with a number."""
    kind = _kind(node)
    numbers = [one for one in node.args if isinstance(one, (int, float))]
    first = bool(node.args) and not isinstance(node.args[0], Node)
    if kind in NEGATES:
        factor, summand = -1.0, 0.0
    elif len(numbers) != 1 or (kind in DIVIDES and (first or not numbers[0])):
        raise _refused(node)
    elif kind in MULTIPLIES or kind in DIVIDES:
        factor, summand = (numbers[0] if kind in MULTIPLIES else 1 / numbers[0]), 0.0
    else:
        sign = -1.0 if kind in SUBTRACTS else 1.0
        factor, summand = (sign, numbers[0]) if first else (1.0, sign * numbers[0])
    value = to.value(node.inputs[0])
    op = Conv(inputs=(value,), rows=to.shapes()[value].size, channels=1)
    return to.make(op, node.name, partial(number_matrix, float(factor), float(summand)))


@lower.register
def _(operation: Weight, node: Node, to: Lowering) -> Found:
    return Constant(node.path, node)


@lower.register
def _(operation: Reshape, node: Node, to: Lowering) -> Found:
    found = to.found[node.inputs[0]]
    if isinstance(found, States):
        return _last_state(node, to, found, range(len(found.layers)))
    if isinstance(found, int):
        to.frame(node)
    return found


def _last_state(node: Node, to: Lowering, states: States, layers: Sequence[int]) -> int:
    if len(layers) != 1:
        raise _refused(node, "the states of several GRU layers")
    return to.make(Last(inputs=(states.layers[layers[0]],)), node.name)


def _picked(node: Node, to: Lowering, value: int, order: Tensor) -> int:
    """Numbers of a frame in another order; nothing where it is the same."""
    places = tuple(order.flatten().tolist())
    if places == tuple(range(to.shapes()[value].size)):
        return value
    sizes = to.frame(node)
    rows = sizes[-1] if len(sizes) > 1 else 1
    return to.make(Pick(inputs=(value,), order=places, rows=rows), node.name)


@lower.register
def _(operation: Permute, node: Node, to: Lowering) -> Found:
    found = to.found[node.inputs[0]]
    if not isinstance(found, int):
        return found
    return _picked(node, to, found, node.function()(flat_positions(node.inputs[0])))


@lower.register
def _(operation: Concat, node: Node, to: Lowering) -> Found:
    values = [to.value(one) for one in node.inputs]
    places, at = [], 0
    for one in node.inputs:
        own = flat_positions(one)
        places.append(own + at)
        at += own.numel()
    value = to.make(ConcatOp(inputs=tuple(values)), node.name)
    return _picked(node, to, value, node.function()(*places))


@lower.register
def _(operation: Item, node: Node, to: Lowering) -> Found:
    source, index = node.args
    found = to.found[source]
    if isinstance(found, States):
        if len(source.results) > 1:
            return found.layers[-1] if index == 0 else found
        layers = range(len(found.layers))[index if isinstance(index, (int, slice)) else slice(None)]
        return _last_state(node, to, found, [layers] if isinstance(layers, int) else layers)
    value = to.value(source)
    moving = any(TIME in own.kinds for own in source.axes)
    if moving and not any(TIME in own.kinds for own in node.axes):
        value = to.make(Last(inputs=(value,)), node.name)
    positions = flat_positions(source)
    return _picked(node, to, value, positions[index])


@lower.register
def _(operation: Reduce, node: Node, to: Lowering) -> Found:
    source, kind = node.inputs[0], _kind(node)
    gone = [source.axes[dim] for dim in operation._gone(node)]
    over_time = any(TIME in own.kinds for own in gone)
    found = to.found[source]
    if isinstance(found, Weighted):
        if kind not in SUMS or not over_time or any(own.size > 1 for own in gone if TIME not in own.kinds):
            raise _refused(node, "this sum of what a softmax over time weighs")
        return to.make(Attend(inputs=(found.energies, found.value)), node.name)
    if kind not in MEANS and (kind not in LARGEST or over_time):
        raise _refused(node)
    value, kept = to.value(source), [own for own in source.axes if not {BATCH, TIME} & set(own.kinds)]
    lost = [own for own in kept if any(own is one for one in gone) and own.size > 1]
    if lost:
        inner = [own for own in kept if own.size > 1][-len(lost) :]
        if any(one is not other for one, other in zip(inner, lost, strict=True)):
            raise _refused(node, "a mean over channels")
        rows = math.prod(own.size for own in lost)
        pool = Pool(inputs=(value,), rows=rows, kernel_mel=rows, largest=kind in LARGEST)
        value = to.make(pool, node.name)
    return to.make(MeanTime(inputs=(value,)), node.name) if over_time else value


@lower.register
def _(operation: Softmax, node: Node, to: Lowering) -> Found:
    value = to.value(node.inputs[0])
    if operation.reach(node) is not None or to.shapes()[value].size != 1 or _kind(node) in LOGARITHMS:
        raise _refused(node, "a softmax that is not over time, of one energy a frame,")
    return Shares(to.as_format(value, Gives.ENERGY, node.name))


@lower.register
def _(operation: Product, node: Node, to: Lowering) -> Found:
    founds = [to.found[one] for one in node.inputs]
    shares = [one for one in founds if isinstance(one, Shares)]
    values = [one for one in founds if isinstance(one, int)]
    if len(shares) != 1 or len(values) != 1:
        raise _refused(node, "a product of matrices that is no weighted sum over time")
    return to.make(Attend(inputs=(shares[0].energies, values[0])), node.name)
