"""What a model has of time: the layers whose outputs are frames, and how many frames attention weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.base import ModelSpec
from models.graph.axes import BATCH, TIME, Axes, place_of
from models.graph.ops import Node
from models.graph.trace import Graph, graph_of
from models.registry import build

# Layers whose output is another one in training.
NOISE = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)


class Layer(NamedTuple):
    """A layer whose output is frames.

    Attributes:
        batch: Where along the output's shape the clips stand.
        time: Where the frames stand.
        frames: How many they are, T', of a clip.
    """

    batch: int
    time: int
    frames: int

    def frames_of(self, output: Tensor) -> Tensor:
        """An output as frames (B, T', W), all that is neither batch nor time being a frame's width W."""
        moved = output.movedim((self.batch, self.time), (0, 1))
        return moved.reshape(*moved.shape[:2], -1)


@dataclass(frozen=True)
class Frames:
    """What a model's graph says of time, on one clip.

    Attributes:
        energies: Frames that attention weighs; None without attention over time.
        layers: The layers whose outputs are frames, by their paths, in the order in which they run.
        last: Of these the one that the last reduction over time reads; None where none is read.
    """

    energies: int | None
    layers: Mapping[str, Layer]
    last: str | None


@lru_cache(maxsize=64)
def frames_of(spec: ModelSpec) -> Frames:
    """What a model of that specification has of time.

    Raises:
        ModelError: The forward cannot be read, or hears no clip as long as those that it is made for.
    """
    # Building draws from the global generator; a look at a model must not move it.
    with torch.random.fork_rng(devices=[]):
        model = build(spec)
    graph = graph_of(model, spec.clip_frames)
    layers = {
        node.path: layer
        for node in graph.nodes
        if node.path and not isinstance(node.target, NOISE) and (layer := _layer(node.axes))
    }
    attends = None if graph.energies is None else _layer(graph.energies.axes)
    return Frames(attends.frames if attends else None, layers, _last(graph, layers))


def _layer(axes: Axes) -> Layer | None:
    """Where clips and frames stand; None where either has no axis of its own."""
    batch, time = place_of(axes, BATCH), place_of(axes, TIME)
    if batch is None or time is None or batch == time or len(axes[time].parts) > 1:
        return None
    return Layer(batch, time, axes[time].size)


def _last(graph: Graph, layers: Mapping[str, Layer]) -> str | None:
    """From the last reduction over time up to a layer.

    Of several inputs the widest, values and not their weights, and of these the one that more was done to, a
    block and not its shortcut.
    """
    ends = [
        node
        for node in _behind(graph.logits, graph)
        if not _is_timed(node) and any(map(_is_timed, node.inputs))
    ]
    if not ends:
        return None
    node, depth = ends[-1], _depths(graph)
    while node.path not in layers:
        before = [one for one in node.inputs if _is_timed(one)]
        if not before:
            return None
        node = max(before, key=lambda one: (_width(one), depth[one.name]))
    return node.path


def _behind(node: Node, graph: Graph) -> list[Node]:
    """All that a result is made of, itself among it, in order."""
    found = {node.name}
    for one in reversed(graph.nodes):
        if one.name in found:
            found |= {before.name for before in one.inputs}
    return [one for one in graph.nodes if one.name in found]


def _depths(graph: Graph) -> dict[str, int]:
    """For each call how many there are, one behind the other, up to it."""
    depth: dict[str, int] = {}
    for node in graph.nodes:
        depth[node.name] = 1 + max((depth[before.name] for before in node.inputs), default=0)
    return depth


def _is_timed(node: Node) -> bool:
    return _layer(node.axes) is not None


def _width(node: Node) -> int:
    """Numbers a frame."""
    width = 1
    for at, one in enumerate(node.axes):
        width *= 1 if at in (place_of(node.axes, BATCH), place_of(node.axes, TIME)) else one.size
    return width
