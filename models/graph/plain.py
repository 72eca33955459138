"""The operations without weights: arithmetic, shapes, sums and products over axes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError
from models.graph.axes import ONE, TIME, UNIT, Axis, Couplings, Part, axis, place_of, reshaped
from models.graph.ops import Call, Function, Node, Operation, Reach, Results, operation

ACTIVATIONS = ("relu", "sigmoid", "tanh", "exp", "log", "abs", "neg", "square", "sqrt", "clamp")
COPIES = ("contiguous", "clone", "detach", "float", "double", "to")
ARITHMETIC = ("add", "sub", "mul", "div")


@operation(nn.ReLU, nn.ReLU6, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish)
@operation(nn.LeakyReLU, nn.ELU, nn.GELU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
@operation(functional.relu, functional.relu6, functional.silu, functional.hardtanh, functional.leaky_relu)
@operation(functional.gelu, functional.dropout, functional.dropout2d, functional.sigmoid, functional.tanh)
@operation(torch.relu, torch.sigmoid, torch.tanh, torch.exp, torch.log, torch.abs, torch.clamp, torch.square)
@operation(torch.add, torch.sub, torch.mul, torch.div, operator.add, operator.sub, operator.mul)
@operation(operator.truediv, operator.neg)
@operation(*ACTIVATIONS, *COPIES, *ARITHMETIC)
class Elementwise(Operation):
    """Every number by itself, or with those at its place in the other inputs, which may repeat."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        rank = len(call.sizes[0])
        padded = [(axis(ONE, 1),) * (rank - len(node.axes)) + node.axes for node in call.inputs]
        return (tuple(met(own, couplings) for own in zip(*padded, strict=True)),)

    def function(self, node: Node) -> Function:
        """Never in place: a stream still needs what it remembers."""
        if not getattr(node.target, "inplace", False):
            return node.function()
        target = copy(node.target)
        target.inplace = False
        return replace(node, target=target).function()


def met(axes: Sequence[Axis], couplings: Couplings) -> Axis:
    """The axis where several meet: those of full length go together, one that is repeated can't be cut."""
    size = max(one.size for one in axes)
    full = [one for one in axes if one.size == size]
    for one in axes:
        if one.size < size:
            couplings.pin(unit for units in one.units for unit in units)
    if any(one.units for one in full):
        for one in full[1:]:
            couplings.couple(full[0].positions, one.positions)
    # What it is, is said by whoever knows more than that it is a parameter's or a placeholder.
    return next((one for one in full if not {UNIT, ONE} & set(one.kinds)), full[0])


@operation(torch.flatten, torch.squeeze, torch.unsqueeze, torch.reshape, nn.Flatten)
@operation("flatten", "squeeze", "unsqueeze", "reshape", "view", "unflatten")
class Reshape(Operation):
    """The same numbers in the same order, in another shape."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        axes, lost = reshaped(call.inputs[0].axes, call.sizes[0])
        couplings.pin(lost)
        return (axes,)

    def function(self, node: Node) -> Function:
        """With the sizes of the traced example where these are the model's, and the input's elsewhere."""
        before = node.inputs[0].axes
        sizes: list[int | tuple[int]] = []
        for own in node.axes:
            same = [at for at, one in enumerate(before) if one.parts == own.parts]
            sizes.append((own.size if not own.is_open else -1) if not same or not own.is_open else (same[0],))
        if sizes.count(-1) > 1:
            raise ModelError(f"{node.name}: a reshape that parts batch and time cannot be streamed")

        def run(x: Tensor) -> Tensor:
            return x.reshape([x.shape[size[0]] if isinstance(size, tuple) else size for size in sizes])

        return run


@operation(torch.transpose, torch.permute, "transpose", "permute", "swapaxes", "movedim")
class Permute(Operation):
    """Axes in another order."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class: what moves where is read off numbers that tell the axes apart."""
        axes = call.inputs[0].axes
        probe = torch.empty(*range(2, 2 + len(axes)), device="meta")
        return (tuple(axes[size - 2] for size in call.function()(probe).shape),)


@operation(torch.cat, torch.concat)
class Concat(Operation):
    """One behind the other along an axis."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        rank = len(call.sizes[0])
        dim = int(call.argument(1, "dim", 0)) % rank
        columns = list(zip(*(node.axes for node in call.inputs), strict=True))
        axes = [met(own, couplings) for at, own in enumerate(columns) if at != dim]
        if TIME in columns[dim][0].kinds:
            raise ModelError(f"{call.name}: what stands one behind the other in time cannot be streamed")
        units = tuple(units for own in columns[dim] for units in own.positions)
        joined = axis(columns[dim][0].kinds[0], call.sizes[0][dim])
        axes.insert(dim, Axis(joined.parts, units if any(units) else ()))
        return (tuple(axes),)


@operation(operator.getitem)
class Item(Operation):
    """One of several results, or a part of a tensor: the last frame, some channels."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        node, index = call.args
        if len(node.results) > 1:
            return (node.results[index],)
        axes: list[Axis] = []
        left = iter(node.axes)
        for key in _whole(index, len(node.axes)):
            own = axis(ONE, 1) if key is None else next(left)
            if own.is_open and key not in (slice(None), -1):
                raise ModelError(f"{call.name}: of batch and time only all, or the last frame, can be taken")
            if isinstance(key, int):
                couplings.pin(unit for units in own.units for unit in units)
            elif key in (None, slice(None)):
                axes.append(own)
            elif not isinstance(key, slice):
                raise ModelError(f"{call.name}: a choice by a list or a tensor is not known; slices are")
            else:
                axes.append(Axis((Part(own.kinds[0], len(own.positions[key])),), own.units[key]))
        return (tuple(axes),)


def _whole(index: Any, rank: int) -> list[Any]:
    """An index with a key for every axis."""
    keys = list(index) if isinstance(index, tuple) else [index]
    missing = [slice(None)] * (rank - sum(key not in (None, Ellipsis) for key in keys))
    at = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
    return [*keys[:at], *missing, *keys[at + 1 :]]


@operation(torch.mean, torch.sum, torch.amax, "mean", "sum", "amax")
@operation(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
class Reduce(Operation):
    """One number for all along some axes."""

    def _gone(self, call: Call) -> tuple[int, ...]:
        if not isinstance(call.target, nn.Module):
            return call.dims()
        wanted = call.target.output_size
        if set(wanted if isinstance(wanted, tuple) else (wanted,)) != {1}:
            raise ModelError(f"{call.path}: an adaptive pool to other than 1 is no operation of a stream")
        rank = len(call.sizes[0])
        return tuple(range(2, rank))

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        gone, axes = self._gone(call), call.inputs[0].axes
        couplings.pin(unit for dim in gone for units in axes[dim].units for unit in units)
        kept = len(call.sizes[0]) == len(axes)
        return (
            tuple(
                axis(ONE, 1) if dim in gone else one
                for dim, one in enumerate(axes)
                if kept or dim not in gone
            ),
        )

    def reach(self, call: Call) -> Reach | None:
        """See the base class."""
        return None if place_of(call.inputs[0].axes, TIME) in self._gone(call) else Reach()


@operation(torch.softmax, functional.softmax, functional.log_softmax, "softmax", "log_softmax", nn.Softmax)
class Softmax(Operation):
    """Shares of one along an axis."""

    def _dim(self, call: Call) -> int:
        given: Any = call.target.dim if isinstance(call.target, nn.Module) else call.argument(1, "dim")
        return int(given) % len(call.sizes[0])

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        axes = call.inputs[0].axes
        couplings.pin(unit for units in axes[self._dim(call)].units for unit in units)
        return (axes,)

    def reach(self, call: Call) -> Reach | None:
        """See the base class."""
        return None if TIME in call.inputs[0].axes[self._dim(call)].kinds else Reach()


@operation(torch.bmm, torch.matmul, operator.matmul, "bmm", "matmul")
class Product(Operation):
    """Products of matrices: the weighted sum over time."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        left, right = (node.axes for node in call.inputs)
        if min(len(left), len(right)) < 2 or len(left) != len(right):
            raise ModelError(f"{call.name}: both sides of a product must be matrices, and as many")
        if left[-1].units or right[-2].units:
            couplings.couple(left[-1].positions, right[-2].positions)
        before = [met(pair, couplings) for pair in zip(left[:-2], right[:-2], strict=True)]
        return ((*before, left[-2], right[-1]),)

    def reach(self, call: Call) -> Reach | None:
        """See the base class."""
        left, right = (node.axes for node in call.inputs)
        across = TIME in (*left[-1].kinds, *right[-2].kinds, *right[-1].kinds)
        return None if across else Reach()
