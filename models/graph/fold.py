"""Batch normalisation folded into the layer before it, and taken out again."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.graph.axes import CHANNEL, UNIT
from models.graph.layers import BatchNorm, Convolution, Linear
from models.graph.ops import Node
from models.graph.plain import Reshape
from models.graph.trace import Graph, graph_of


@dataclass(frozen=True)
class Fold:
    """A norm that can be part of a layer.

    Attributes:
        layer: The path of the layer before it.
        norm: The path of the norm.
        bands: How many entries of the norm belong to one output of the layer; more than one where each
            band of mel rows has its own, and then they are all the same.
    """

    layer: str
    norm: str
    bands: int


def folds_of(graph: Graph) -> tuple[Fold, ...]:
    """The norms that can be folded: right behind a convolution or a linear layer that nobody else reads.

    Between the two may stand a reshape that parts the mel rows into bands; its norm is folded where the
    statistics of all bands are the same.
    """
    found = []
    for node in graph.nodes:
        if not isinstance(node.operation, BatchNorm) or node.target.running_mean is None:
            continue
        before = node.inputs[0]
        while isinstance(before.operation, Reshape) and len(graph.readers(before)) == 1:
            before = before.inputs[0]
        outputs = _outputs(before)
        bands = node.target.num_features // outputs if outputs else 0
        alone = len(graph.readers(before)) == 1 and _once(graph, before) and _once(graph, node)
        if bands and alone and _is_outer(node, outputs) and _alike(node.target, bands):
            found.append(Fold(before.path, node.path, bands))
    return tuple(found)


def _once(graph: Graph, node: Node) -> bool:
    return sum(other.path == node.path for other in graph.nodes) == 1


def _outputs(node: Node) -> int:
    """How many outputs a layer has that a norm can be folded into; 0 for any other node."""
    if isinstance(node.operation, Convolution):
        return int(node.target.out_channels)
    return int(node.target.out_features) if isinstance(node.operation, Linear) else 0


def _is_outer(norm: Node, outputs: int) -> bool:
    """Whether the outputs of the layer are what the norm tells apart, alone or before bands."""
    first = norm.inputs[0].axes[1].parts[0]
    return first.size == outputs and first.kind in (CHANNEL, UNIT)


def _alike(norm: Any, bands: int) -> bool:
    scale, shift = affine(norm)
    return all(bool((one.view(-1, bands) == one.view(-1, bands)[:, :1]).all()) for one in (scale, shift))


def affine(norm: Any) -> tuple[Tensor, Tensor]:
    """A norm in evaluation mode as a factor and a summand for each channel, shape (C,)."""
    root = torch.sqrt(norm.running_var + norm.eps)
    scale = 1 / root if norm.weight is None else norm.weight / root
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def folded(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose foldable norms are part of the layers before them.

    It computes the same; a layer that had no bias gets one, and the norm becomes an identity.

    Raises:
        ModelError: The forward cannot be read.
    """
    folds, plain = folds_of(graph_of(model)), deepcopy(model).eval()
    with torch.no_grad():
        for fold in folds:
            layer: Any = plain.get_submodule(fold.layer)
            scale, shift = (one[:: fold.bands] for one in affine(plain.get_submodule(fold.norm)))
            bias = shift if layer.bias is None else layer.bias * scale + shift
            layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))
            layer.bias = nn.Parameter(bias.clone())
            plain.set_submodule(fold.norm, nn.Identity())
    return plain


def unfolded(model: nn.Module, plain: nn.Module) -> nn.Module:
    """A copy of a model with the weights of its folded form: each folded norm becomes a shift."""
    found = deepcopy(model)
    with torch.no_grad():
        weights = plain.state_dict()
        for fold in folds_of(graph_of(model)):
            layer: Any = found.get_submodule(fold.layer)
            norm: Any = found.get_submodule(fold.norm)
            norm.running_mean.copy_(-weights[f"{fold.layer}.bias"].repeat_interleave(fold.bands))
            norm.running_var.fill_(1 - norm.eps)
            if norm.weight is not None:
                norm.weight.fill_(1)
            if norm.bias is not None:
                norm.bias.zero_()
            if layer.bias is not None:
                weights[f"{fold.layer}.bias"] = torch.zeros_like(layer.bias)
        found.load_state_dict(weights, strict=False)
    return found
