"""A graph on audio of which much is there at once: the same logits as its stream, many frames a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.graph import spans
from models.graph.axes import BATCH, TIME, place_of
from models.graph.ops import Function, Node
from models.graph.spans import Place, place_in
from models.graph.steps import Step, long_enough, plain, remembering
from models.graph.stream import Flow, Mode, Stream, StreamState, flows_of, stream_of
from models.graph.trace import Graph, graph_of


def whole_of(model: nn.Module, max_buffer_len: int | None = 24) -> Whole | Stream:
    """A model as a stream that takes all frames of a call at once.

    Where it cannot, its ordinary stream, which gives the same frame by frame: where what a layer says depends
    on all that is in the call, as with dynamic quantization, or what looks back on the last frames meets what
    comes at another time.

    Args:
        model: In evaluation mode; its layers are run, not copied.
        max_buffer_len: How many frames what takes all of time looks back on; None for all.

    Raises:
        ModelError: The model cannot be read, or not be streamed.
    """
    stream = stream_of(model, max_buffer_len)
    try:
        return _Builder(graph_of(model), max_buffer_len, stream.sizes).whole()
    except _OneByOneError:
        return stream


class _OneByOneError(Exception):
    """What has to be heard frame by frame."""


@dataclass(frozen=True, eq=False)
class Whole:
    """A model taken apart into steps over many frames; ``start`` and ``push`` are pure.

    Attributes:
        steps: In order; each fills in its values where what it needs has come.
        over: For each step the values that nobody needs after it.
        values: How many values there are; the first is what is heard, the last the logits.
        fresh: What steps remember before the first frame, and behind it how many decisions are still to come
            that only zeros before the audio make.
        sizes: Mel bands and classes.
    """

    steps: tuple[Step, ...]
    over: tuple[tuple[int, ...], ...]
    values: int
    fresh: tuple[Any, ...]
    sizes: tuple[int, int]

    def start(self, batch: int) -> StreamState:
        """The state of some streams before their first frame."""
        return StreamState(self, torch.zeros(batch, self.sizes[0], 0), 0, self.fresh)

    def push(self, chunk: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """The next frames (B, M, T), any T from 0 up: logits (B, T', K) and the next state."""
        none = chunk.new_zeros(len(chunk), 0, self.sizes[1])
        if not chunk.shape[-1]:
            return none, state
        values: list[Any] = [chunk, *[None] * (self.values - 1)]
        *memories, early = state.memories
        for step, over in zip(self.steps, self.over, strict=True):
            step(values, memories)
            for at in over:
                values[at] = None
        said = [group for group in values[-1] or () if group is not None]
        logits = torch.cat(said).view(-1, *none.shape[::2]).transpose(0, 1) if said else none
        memories.append(max(0, early - logits.shape[1]))
        return logits[:, early:], state._replace(memories=tuple(memories))


class _Builder:
    """Takes a graph apart into steps over many frames."""

    def __init__(self, graph: Graph, kept: int | None, sizes: tuple[int, int]) -> None:
        self._graph, self._kept, self._sizes = graph, kept, sizes
        self._flows = flows_of(graph)
        self._at: dict[Node, int] = {}
        self._groups: dict[tuple[Node, bool], int] = {}
        self._steps: list[Step] = []
        self._fresh: list[Any] = []

    def whole(self) -> Whole:
        """All steps."""
        (heard, *rest) = self._flows
        self._at[heard] = 0
        last_reader = {one: node for node in rest for one in node.inputs}
        over: list[tuple[int, ...]] = []
        for node in rest:
            if node.operation.mixes(node.target):
                raise _OneByOneError
            self._add(node)
            gone = {one for one in node.inputs if last_reader[one] is node}
            kept = [at for (one, _), at in self._groups.items() if one in gone]
            over += [()] * (len(self._steps) - len(over) - 1)
            over.append((*kept, *(self._at[one] for one in gone)))
        flow = self._flows[self._graph.logits]
        early = max(0, -(flow.first // flow.step))
        return Whole(tuple(self._steps), tuple(over), self._count(), (*self._fresh, early), self._sizes)

    def _add(self, node: Node) -> None:
        flow = self._flows[node]
        moving = [own for each in node.inputs if (own := self._flows[each]).mode is not Mode.FIXED]
        apart = len({own.first for own in moving}) > 1
        if flow.mode is Mode.FIXED:
            inputs = [self._at[each] for each in node.inputs]
            self._steps.append(plain(inputs, self._next(node), node.operation.function(node)))
        elif flow.mode is Mode.FRAME:
            self._add_frames(node, apart)
        elif apart:
            raise _OneByOneError
        else:
            self._add_groups(node, flow)

    def _add_frames(self, node: Node, apart: bool) -> None:
        """What comes frame by frame."""
        operation, reach, place = node.operation, node.operation.reach(node), place_in(node)
        if place is None or reach is None:
            raise _OneByOneError
        inputs = [self._at[each] for each in node.inputs]
        if apart:
            each = [(self._at[one], self._placed(one).time) for one in node.inputs]
            memory, function = self._memory((None,) * len(each)), operation.function(node)
            self._steps.append(spans.joined(each, self._next(node), function, memory))
        elif operation.remembers:
            function, memory = self._remembering(node), self._memory(None)
            self._steps.append(remembering(inputs[0], self._next(node), function, memory))
        elif reach.width > 1 or reach.stride > 1:
            dim, memory = self._placed(node.inputs[0]).time, self._memory((None, 0))
            function = operation.window(node)
            self._steps.append(spans.sliding(inputs[0], self._next(node), function, reach, dim, memory))
        elif reach.before:
            function, memory = operation.window(node), self._memory(False)
            self._steps.append(
                spans.padded(inputs[0], self._next(node), function, place.time, reach.before, memory)
            )
        else:
            self._steps.append(plain(inputs, self._next(node), operation.window(node)))

    def _remembering(self, node: Node) -> Function:
        """A layer with a state over all frames, or over one after the other."""
        readers = [other for other in self._flows if node in other.inputs]
        # Of several results those that are asked for by number; of one all.
        read = {other.args[1] for other in readers} if len(node.results) > 1 else {0}
        return node.operation.steps(node, read) or one_by_one(node)

    def _add_groups(self, node: Node, flow: Flow) -> None:
        """What is made of the last frames, or no longer moves."""
        operation, reach = node.operation, node.operation.reach(node)
        function = operation.function(node)
        if flow.gathers and reach and reach.width > 1:
            function = long_enough(node, reach)
        elif not flow.gathers:
            if operation.remembers:
                raise _OneByOneError
            function = operation.window(node)
        (first, *others) = node.inputs
        if len(first.results) > 1:
            batch = place_of(node.axes, BATCH)
            if flow.gathers or others or batch is None:
                raise _OneByOneError
            place, source = Place(batch, self._placed(first).time), self._at[first]
            memory = self._memory(0)
            self._steps.append(spans.taken(source, self._next(node), function, place, self._kept, memory))
        else:
            inputs = [self._group(each, flow.gathers) for each in node.inputs]
            self._steps.append(spans.grouped(inputs, self._next(node), function))

    def _group(self, node: Node, gathers: bool) -> tuple[int, bool]:
        """Where a value stands in groups, and whether it does; what comes frame by frame is cut into them."""
        mode = self._flows[node].mode
        if mode is not Mode.FRAME:
            return self._at[node], mode is not Mode.FIXED
        key = (node, gathers)
        if key not in self._groups:
            source, place = self._at[node], self._placed(node)
            self._groups[key] = at = self._count()
            if gathers:
                memory = self._memory((None, 0))
                self._steps.append(spans.windows(source, at, place, self._kept, memory))
            else:
                self._steps.append(spans.singles(source, at, place, self._kept, self._memory(0)))
        return self._groups[key], True

    def _placed(self, node: Node) -> Place:
        place = place_in(node)
        if place is None:
            raise _OneByOneError
        return place

    def _next(self, node: Node) -> int:
        self._at[node] = at = self._count()
        return at

    def _count(self) -> int:
        return len(self._at) + len(self._groups)

    def _memory(self, fresh: Any) -> int:
        self._fresh.append(fresh)
        return len(self._fresh) - 1


def one_by_one(node: Node) -> Function:
    """A layer with a state that takes many frames, one after the other."""
    step, place = node.operation.step(node), place_in(node.inputs[0])
    assert place is not None
    kinds = [BATCH if place_of(axes, TIME) is None else TIME for axes in node.results]
    dims = [
        next(at for at, own in enumerate(axes) if kind in own.kinds)
        for axes, kind in zip(node.results, kinds, strict=True)
    ]

    def run(x: Tensor, memory: Any) -> tuple[Any, Any]:
        made = []
        for frame in torch.split(x, 1, place.time):
            results, memory = step(frame, memory)
            made.append(results if isinstance(results, tuple) else (results,))
        found = tuple(torch.cat(each, dim) for each, dim in zip(zip(*made, strict=True), dims, strict=True))
        return (found if len(node.results) > 1 else found[0]), memory

    return run
