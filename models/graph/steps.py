"""The steps that a stream is made of: each fills in a value where what it needs has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from models.graph.axes import TIME, place_of
from models.graph.ops import Function, Node, Reach

# Reads and writes the values of one round, None where none has come, and what each step remembers.
Step = Callable[[list[Any], list[Any]], None]


def long_enough(node: Node, reach: Reach) -> Function:
    """A layer over the last frames, once there are as many as its window."""
    function, dim = node.operation.function(node), place_of(node.inputs[0].axes, TIME)
    assert dim is not None
    least = reach.width - reach.before - reach.after
    return lambda x: function(x) if x.shape[dim] >= least else None


def plain(inputs: Sequence[int], at: int, function: Function) -> Step:
    """A function of values that come together."""
    if len(inputs) == 1:
        (source,) = inputs

        def one(values: list[Any], memories: list[Any]) -> None:
            x = values[source]
            if x is not None:
                values[at] = function(x)

        return one

    def several(values: list[Any], memories: list[Any]) -> None:
        given = [values[source] for source in inputs]
        if all(x is not None for x in given):
            values[at] = function(*given)

    return several


def remembering(source: int, at: int, function: Function, memory: int) -> Step:
    """A layer with a state."""

    def run(values: list[Any], memories: list[Any]) -> None:
        x = values[source]
        if x is not None:
            values[at], memories[memory] = function(x, memories[memory])

    return run


def gathered(source: int, at: int, dim: int, kept: int | None, memory: int) -> Step:
    """The last frames of a value."""

    def run(values: list[Any], memories: list[Any]) -> None:
        x, before = values[source], memories[memory]
        if x is None:
            return
        frames = x if before is None else torch.cat([before, x], dim)
        if kept is not None and frames.shape[dim] > kept:
            frames = frames.narrow(dim, frames.shape[dim] - kept, kept)
        values[at] = memories[memory] = frames

    return run


def sliding(source: int, at: int, function: Function, reach: Reach, dim: int, memory: int) -> Step:
    """A window over the last frames that comes to a value with every stride."""

    def run(values: list[Any], memories: list[Any]) -> None:
        x, (before, skip) = values[source], memories[memory]
        if x is None:
            return
        if skip:
            memories[memory] = (before, skip - 1)
            return
        if before is None:
            shape = list(x.shape)
            shape[dim] = reach.before
            before = x.new_full(shape, reach.fill)
        window = torch.cat([before, x], dim)
        if window.shape[dim] == reach.width:
            values[at] = function(window)
            left = max(0, reach.width - reach.stride)
            window = window.narrow(dim, reach.width - left, left)
        memories[memory] = (window, max(0, reach.stride - reach.width) if values[at] is not None else 0)

    return run


def joined(inputs: Sequence[int], at: int, function: Function, memory: int) -> Step:
    """A function of values of which some come later than others: the first of each, then the second."""

    def run(values: list[Any], memories: list[Any]) -> None:
        waiting = [
            own if values[source] is None else (*own, values[source].clone())
            for source, own in zip(inputs, memories[memory], strict=True)
        ]
        if all(waiting):
            values[at] = function(*(own[0] for own in waiting))
            waiting = [own[1:] for own in waiting]
        memories[memory] = tuple(waiting)

    return run
