"""The steps of a stream that hears many frames at once: each fills in all that has come of a value.

What comes frame by frame is a tensor of the new frames. What is made of the last frames, or is one value for
all that was heard, stands in groups: windows of equal length, one behind the other along the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.graph.axes import BATCH, TIME, place_of
from models.graph.ops import Function, Node, Reach
from models.graph.steps import Step


class Place(NamedTuple):
    """Where batch and time stand in a value's shape."""

    batch: int
    time: int


def place_in(node: Node) -> Place | None:
    """Where they stand in what comes frame by frame; None where one is a part of another axis."""
    found = [place_of(node.axes, kind) for kind in (BATCH, TIME)]
    sizes = [[part.size for part in node.axes[at].parts if part.size > 1] for at in found if at is not None]
    return Place(*found) if [len(own) for own in sizes] == [1, 1] else None  # type: ignore[arg-type]


def group_sizes(begun: int, new: int, kept: int | None) -> list[int]:
    """How many of the new windows have the same length: short ones at the beginning stand alone.

    Examples:
        >>> group_sizes(0, 6, 4), group_sizes(6, 5, 4), group_sizes(2, 2, None)
        ([1, 1, 1, 3], [5], [1, 1])
    """
    short = new if kept is None else max(0, min(new, kept - 1 - begun))
    return [1] * short + [new - short] * (new > short)


def windows(source: int, at: int, place: Place, kept: int | None, memory: int) -> Step:
    """The last frames of a value as they were with each new one, in groups."""

    def run(values: list[Any], memories: list[Any]) -> None:
        x, (before, begun) = values[source], memories[memory]
        if x is None:
            return
        new, heard = x.shape[place.time], begun + x.shape[place.time]
        frames = _behind(before, x, place.time)
        assert frames is not None
        missing, found, done = heard - frames.shape[place.time], [], begun
        for size in group_sizes(begun, new, kept):
            done += size
            length = done if kept is None else min(done, kept)
            first = done - size - length + 1 - missing
            part = frames.narrow(place.time, first, done - missing - first)
            found.append(_as_batch(part.unfold(place.time, length, 1), place))
        left = frames.shape[place.time] if kept is None else min(kept - 1, frames.shape[place.time])
        tail = frames.narrow(place.time, frames.shape[place.time] - left, left)
        values[at], memories[memory] = found, (tail.clone(), heard)

    return run


def singles(source: int, at: int, place: Place, kept: int | None, memory: int) -> Step:
    """Each new frame by itself, in the same groups."""

    def run(values: list[Any], memories: list[Any]) -> None:
        x = values[source]
        if x is not None:
            sizes = group_sizes(memories[memory], x.shape[place.time], kept)
            parts = x.split(sizes, place.time)
            values[at] = [_as_batch(part.unfold(place.time, 1, 1), place) for part in parts]
            memories[memory] += x.shape[place.time]

    return run


def taken(source: int, at: int, function: Function, place: Place, kept: int | None, memory: int) -> Step:
    """What a layer with a state gives beside its frames, where the batch of each stands already, in groups.

    ``place`` is that of the batch in the result, and of time in the layer's frames.
    """

    def run(values: list[Any], memories: list[Any]) -> None:
        several = values[source]
        if several is not None:
            new, found = several[0].shape[place.time], function(several)
            each = found.shape[place.batch] // new
            sizes = group_sizes(memories[memory], new, kept)
            values[at] = list(found.split([size * each for size in sizes], place.batch))
            memories[memory] += new

    return run


def _behind(before: Tensor | None, x: Tensor | None, dim: int) -> Tensor | None:
    """New frames behind those before."""
    if before is None or x is None:
        return before if x is None else x
    return torch.cat([before, x], dim)


def _as_batch(parts: Tensor, place: Place) -> Tensor:
    """Windows along time, as unfold gives them with their frames as the last axis, into the batch."""
    each = parts.movedim(place.time, 0).movedim(-1, place.time + 1)
    return each.movedim(0, place.batch).flatten(place.batch, place.batch + 1)


def grouped(inputs: Sequence[tuple[int, bool]], at: int, function: Function) -> Step:
    """A function of groups, and of what is the same for all; no result where one is missing.

    Args:
        inputs: Where its values are, and whether they are groups.
        at: Where the result is.
        function: Of one group of each.
    """

    def run(values: list[Any], memories: list[Any]) -> None:
        given = [(values[source], several) for source, several in inputs]
        if any(value is None for value, _ in given):
            return
        count = next(len(value) for value, several in given if several)
        made = []
        for group in range(count):
            parts = [value[group] if several else value for value, several in given]
            made.append(None if any(part is None for part in parts) else function(*parts))
        values[at] = made

    return run


def sliding(source: int, at: int, function: Function, reach: Reach, dim: int, memory: int) -> Step:
    """A layer over all whole windows of the new frames and those that are left of the frames before."""

    def run(values: list[Any], memories: list[Any]) -> None:
        x, (before, skip) = values[source], memories[memory]
        if x is None:
            return
        if before is None:
            shape = list(x.shape)
            shape[dim] = reach.before
            before = x.new_full(shape, reach.fill)
        frames = torch.cat([before, x], dim)
        heard = frames.shape[dim]
        count = max(0, (heard - skip - reach.width) // reach.stride + 1)
        if count:
            length = (count - 1) * reach.stride + reach.width
            values[at] = function(frames.narrow(dim, skip, length))
            skip += count * reach.stride
        start = min(skip, heard)
        memories[memory] = (frames.narrow(dim, start, heard - start).clone(), skip - start)

    return run


def padded(source: int, at: int, function: Function, dim: int, count: int, memory: int) -> Step:
    """Frames with so many of zeros before the first."""

    def run(values: list[Any], memories: list[Any]) -> None:
        x = values[source]
        if x is None:
            return
        found = function(x)
        if not memories[memory]:
            shape = list(found.shape)
            shape[dim] = count
            found = torch.cat([found.new_zeros(shape), found], dim)
        values[at], memories[memory] = found, True

    return run


def joined(inputs: Sequence[tuple[int, int]], at: int, function: Function, memory: int) -> Step:
    """A function of frames of which some come later than others: the first of each, then the second.

    Each input is where its value is, and where time stands in it.
    """

    def run(values: list[Any], memories: list[Any]) -> None:
        waiting = [
            _behind(own, values[source], dim)
            for (source, dim), own in zip(inputs, memories[memory], strict=True)
        ]
        memories[memory] = tuple(waiting)
        there = zip(waiting, inputs, strict=True)
        pairs = [(frames, dim) for frames, (_, dim) in there if frames is not None]
        if len(pairs) < len(waiting):
            return
        ready = min(frames.shape[dim] for frames, dim in pairs)
        if ready:
            values[at] = function(*(frames.narrow(dim, 0, ready) for frames, dim in pairs))
        memories[memory] = tuple(
            frames.narrow(dim, ready, frames.shape[dim] - ready).clone() for frames, dim in pairs
        )

    return run
