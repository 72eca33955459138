"""What each call of a graph costs, counted as ptflops counts layers."""

from __future__ import annotations

import math
from functools import singledispatch

from torch import nn

from models.graph.layers import BatchNorm, Convolution, FactoredGruLayers, Gru, Linear, Pool
from models.graph.ops import Node, Operation
from models.graph.plain import Elementwise, Reduce
from models.graph.trace import Graph

# The layers without weights that are counted; others, and functions, are not.
COUNTED = (nn.ReLU, nn.PReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU)


def macs_by_node(graph: Graph) -> dict[Node, int]:
    """Multiply-accumulates of each call on one clip of as many frames as the graph was traced with.

    Biases are one each, a norm with scale and offset two for each number, pools and the counted
    activations one; functions are not counted.
    """
    clips = graph.nodes[0].sizes[0][0]
    return {node: macs(node.operation, node) // clips for node in graph.nodes}


@singledispatch
def macs(operation: Operation, node: Node) -> int:
    """Multiply-accumulates of a call on the whole example; a plugin registers a rule for its operation."""
    return 0


def _read(node: Node) -> int:
    """How many numbers come in."""
    return math.prod(own.size for own in node.inputs[0].axes)


@macs.register
def _convolution(operation: Convolution, node: Node) -> int:
    layer: nn.Conv2d = node.target
    return math.prod(node.sizes[0]) * (math.prod(layer.weight.shape[1:]) + (layer.bias is not None))


@macs.register
def _linear(operation: Linear, node: Node) -> int:
    layer: nn.Linear = node.target
    return math.prod(node.sizes[0]) * (layer.in_features + (layer.bias is not None))


@macs.register
def _norm(operation: BatchNorm, node: Node) -> int:
    return _read(node) * (2 if node.target.affine else 1)


@macs.register
def _pool(operation: Pool, node: Node) -> int:
    return _read(node)


@macs.register
def _reduce(operation: Reduce, node: Node) -> int:
    return _read(node) if isinstance(node.target, nn.Module) else 0


@macs.register
def _elementwise(operation: Elementwise, node: Node) -> int:
    return math.prod(node.sizes[0]) if type(node.target) in COUNTED else 0


@macs.register
def _gru(operation: Gru, node: Node) -> int:
    """Matrices and biases in each frame, and seven steps a unit."""
    layer: nn.GRU = node.target
    weights = sum(parameter.numel() for parameter in layer.parameters())
    return math.prod(node.sizes[0][:2]) * (weights + 7 * layer.hidden_size * layer.num_layers)


@macs.register
def _factored_gru(operation: FactoredGruLayers, node: Node) -> int:
    return math.prod(node.sizes[0][:2]) * int(node.target.macs_per_frame)
