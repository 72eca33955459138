"""Layers with weights, and windows, as operations of a program."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.base import device_of
from models.errors import ModelError
from models.graph.axes import ONE, TIME
from models.graph.fold import affine
from models.graph.layers import BatchNorm, Convolution, FactoredGruLayers, Gru, Linear, Pad, entry
from models.graph.layers import Pool as PoolLayer
from models.graph.ops import Node
from models.integer.lowering import Dropout, Found, Lowering, Matrices, Padded, States, lower, of_path
from models.integer.ops import Conv, Pool
from models.integer.ops import Gru as GruOp


def _padded(node: Node, to: Lowering) -> Padded:
    """What a node reads, with the zeros that were put around it."""
    found = to.found[node.inputs[0]]
    return found if isinstance(found, Padded) else Padded(to.value(node.inputs[0]), (0, 0), (0, 0))


class _Slid:
    """How a layer slides: which of its own axes are mel and time, and what stands around them."""

    def __init__(self, node: Node, to: Lowering) -> None:
        axes, self.layer = node.inputs[0].axes, node.target
        spatial = axes[2:]
        times = [at for at, own in enumerate(spatial) if TIME in own.kinds]
        ones = [at for at, own in enumerate(spatial) if own.kinds == (ONE,)]
        self.time = times[0] if times else ones[-1] if ones else None
        mels = [at for at in range(len(spatial)) if at != self.time]
        if len(mels) > 1 or (times and TIME in (*axes[0].kinds, *axes[1].kinds)):
            raise ModelError(f"{node.path}: a window over {len(spatial)} axes that are not time")
        self.mel = mels[0] if mels else None
        self.channels = axes[1].size
        self.found = _padded(node, to)
        self.rows = 1 if self.mel is None else spatial[self.mel].size - sum(self.found.rows)

    def own(self, name: str, at: int | None) -> int:
        """A setting of the layer along one of its axes."""
        return 1 if at is None else entry(getattr(self.layer, name, 1), at)

    def fields(self, to: Lowering, padding: Any) -> dict[str, Any]:
        """The fields of a window."""
        shape = to.shapes()[self.found.value]
        above, below = (0, 0) if self.mel is None else padding(self.mel)
        before, after = (0, 0) if self.time is None else padding(self.time)
        return {
            "inputs": (self.found.value,),
            "rows": 0 if shape.rows == self.rows else self.rows,
            "kernel_mel": self.own("kernel_size", self.mel),
            "kernel_time": self.own("kernel_size", self.time),
            "stride_mel": self.own("stride", self.mel),
            "stride_time": self.own("stride", self.time),
            "dilation_mel": self.own("dilation", self.mel),
            "dilation_time": self.own("dilation", self.time),
            "above": above + self.found.rows[0],
            "below": below + self.found.rows[1],
            "before": before + self.found.frames[0],
            "after": after + self.found.frames[1],
        }


def _conv_matrix(path: str, turned: bool, model: nn.Module) -> Matrices:
    layer = of_path(path)(model)
    weight: Tensor = layer.weight
    if turned:
        weight = weight.transpose(2, 3)
    return ((weight.flatten(1), layer.bias),)


@lower.register
def _(operation: Convolution, node: Node, to: Lowering) -> Found:
    slid, layer = _Slid(node, to), node.target
    if layer.padding_mode != "zeros" and any(layer._reversed_padding_repeated_twice):
        raise ModelError(f"{node.path}: padding_mode={layer.padding_mode!r} has no integer form; zeros has")
    both = layer._reversed_padding_repeated_twice[::-1]
    fields = slid.fields(to, lambda at: (both[2 * at + 1], both[2 * at]))
    alone = layer.groups == layer.in_channels > 1
    op = Conv(
        channels=layer.out_channels,
        biased=layer.bias is not None,
        groups=0 if alone else layer.groups,
        **fields,
    )
    turned = slid.time == 0 and slid.mel == 1
    return to.make(op, node.path, partial(_conv_matrix, node.path, turned))


@lower.register
def _(operation: PoolLayer, node: Node, to: Lowering) -> Found:
    slid, layer = _Slid(node, to), node.target
    own = [entry(layer.padding, at) for at in range(len(node.axes) - 2)]
    largest = isinstance(layer, (nn.MaxPool1d, nn.MaxPool2d))
    if not largest and any(own) and not layer.count_include_pad:
        raise ModelError(f"{node.path}: a mean that leaves out the padding has no integer form")
    if layer.ceil_mode:
        raise ModelError(f"{node.path}: ceil_mode has no integer form")
    return to.make(Pool(largest=largest, **slid.fields(to, lambda at: (own[at], own[at]))), node.path)


@lower.register
def _(operation: Pad, node: Node, to: Lowering) -> Found:
    sides, before = operation._sides(node), _padded(node, to)
    rows, frames = before.rows, before.frames
    for dim, (first, last) in sides.items():
        own = node.inputs[0].axes[dim]
        if TIME in own.kinds:
            frames = (frames[0] + first, frames[1] + last)
        elif first or last:
            if dim < 2 or own.size - sum(rows) != to.shapes()[before.value].rows:
                raise ModelError(f"{node.name}: zeros around channels have no integer form")
            rows = (rows[0] + first, rows[1] + last)
    if min(*rows, *frames) < 0:
        raise ModelError(f"{node.name}: what is cut off has no integer form")
    return Padded(before.value, rows, frames)


def _linear_matrix(path: str, model: nn.Module) -> Matrices:
    layer = of_path(path)(model)
    return ((layer.weight, layer.bias),)


@lower.register
def _(operation: Linear, node: Node, to: Lowering) -> Found:
    value, layer = to.value(node.inputs[0]), node.target
    if to.shapes()[value].size != layer.in_features:
        raise ModelError(f"{node.path}: a linear layer that reads parts of a frame has no integer form")
    rows = 0 if to.shapes()[value].rows == 1 else 1
    op = Conv(inputs=(value,), rows=rows, channels=layer.out_features, biased=layer.bias is not None)
    return to.make(op, node.path, partial(_linear_matrix, node.path))


def _norm_matrix(path: str, model: nn.Module) -> Matrices:
    scale, shift = affine(of_path(path)(model))
    return ((scale[:, None], shift),)


@lower.register
def _(operation: BatchNorm, node: Node, to: Lowering) -> Found:
    value, channels = to.value(node.inputs[0]), node.target.num_features
    shape = to.shapes()[value]
    if node.target.running_mean is None or to.frame(node.inputs[0])[0] != channels:
        raise ModelError(f"{node.path}: a norm without statistics of its channels has no integer form")
    return to.make(each_channel(value, shape.size, channels), node.path, partial(_norm_matrix, node.path))


def each_channel(value: int, size: int, channels: int) -> Conv:
    """A factor and a summand for each channel."""
    return Conv(inputs=(value,), rows=size // channels, channels=channels, groups=0 if channels > 1 else 1)


def _gru_matrices(path: str, layer: int, model: nn.Module) -> Matrices:
    weights = of_path(path)(model)
    ih, hh, bias_ih, bias_hh = (
        getattr(weights, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return _gates(ih, bias_ih, hh, bias_hh)


def _gates(ih: Tensor, bias_ih: Tensor, hh: Tensor, bias_hh: Tensor, *down: Tensor) -> Matrices:
    """Each gate's own; the two biases of r and z are added up and stand with the input's projection."""
    inner, state, first, second = (one.chunk(3) for one in (ih, hh, bias_ih, bias_hh))
    merged = (first[0] + second[0], first[1] + second[1], first[2])
    reads = tuple(zip(inner, merged, strict=True))
    thin: Matrices = tuple((one, None) for one in down)
    return (*reads, *thin, (state[0], None), (state[1], None), (state[2], second[2]))


@lower.register
def _(operation: Gru, node: Node, to: Lowering) -> Found:
    value, layers = to.value(node.inputs[0]), []
    if not getattr(node.target, "bias", True):
        raise ModelError(f"{node.path}: a GRU without biases has no integer form")
    for layer in range(node.sizes[1][0]):
        source = partial(_gru_matrices, node.path, layer)
        value = to.make(GruOp(inputs=(value,), hidden=node.sizes[0][-1]), f"{node.path}.{layer}", source)
        layers.append(value)
    to.dropouts |= dict.fromkeys(layers[:-1], Dropout(float(node.target.dropout), False))
    return States(tuple(layers))


def _factors(matrix: Any) -> list[Any]:
    return list(matrix.children()) if isinstance(matrix, nn.Sequential) else [matrix]


def _factored_matrices(path: str, layer: int, model: nn.Module) -> Matrices:
    gru = of_path(path)(model)
    up, (*down, back) = _factors(gru.input[layer])[-1], _factors(gru.recurrent[layer])
    return _gates(up.weight, up.bias, back.weight, back.bias, *(thin.weight for thin in down))


def _thin_matrix(path: str, layer: int, model: nn.Module) -> Matrices:
    return ((_factors(of_path(path)(model).input[layer])[0].weight, None),)


@lower.register
def _(operation: FactoredGruLayers, node: Node, to: Lowering) -> Found:
    value, layers, gru = to.value(node.inputs[0]), [], node.target
    for layer in range(node.sizes[1][0]):
        name = f"{node.path}.{layer}"
        *down, _ = _factors(gru.input[layer])
        if down:
            thin = Conv(inputs=(value,), rows=1, channels=down[0].out_features, biased=False)
            value = to.make(thin, f"{name}.down", partial(_thin_matrix, node.path, layer))
        inner = _factors(gru.recurrent[layer])
        rank = inner[0].out_features if len(inner) > 1 else 0
        op = GruOp(inputs=(value,), hidden=gru.hidden_size, rank=rank)
        value = to.make(op, name, partial(_factored_matrices, node.path, layer))
        layers.append(value)
    to.dropouts |= dict.fromkeys(layers[:-1], Dropout(float(gru.dropout), False))
    return States(tuple(layers))


def constant_matrix(
    path: str, own: tuple[int, ...], sizes: tuple[int, ...], channels: int, added: bool, model: nn.Module
) -> Matrices:
    """A parameter as a factor, or a summand, of each channel.

    Args:
        path: Of the parameter.
        own: Its sizes along the axes of the frame.
        sizes: Those of the frame.
        channels: How many of them it tells apart.
        added: Whether it is a summand.
        model: Whose.
    """
    values: Tensor = of_path(path)(model).reshape(own)
    spread = values.expand(sizes).reshape(channels, -1)[:, 0]
    return ((torch.ones_like(spread)[:, None], spread) if added else (spread[:, None], None),)


def number_matrix(factor: float, summand: float, model: nn.Module) -> Matrices:
    """The same factor and summand for all."""
    device = device_of(model)
    return ((torch.tensor([[factor]], device=device), torch.tensor([summand], device=device)),)
