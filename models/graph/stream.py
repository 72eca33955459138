"""A graph on endless audio, frame after frame; states are values, and nothing grows with the audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from models.base import device_of
from models.errors import ModelError
from models.graph.axes import TIME, place_of
from models.graph.ops import Input, Node, Reach
from models.graph.plain import Permute, Reshape
from models.graph.steps import Step, gathered, joined, long_enough, plain, remembering, sliding
from models.graph.trace import Graph, graph_of

if TYPE_CHECKING:
    from models.graph.whole import Whole

EACH = Reach()


class Mode(Enum):
    """What a value is in a stream."""

    FIXED = "a weight"
    FRAME = "its newest frame"
    WINDOW = "its last frames, as if they were a clip"
    WHOLE = "one value for all that was heard"


@dataclass(frozen=True)
class Flow:
    """When a value comes.

    Attributes:
        mode: What it is.
        step: Mel frames from one to the next.
        first: The mel frame, counted from 0, with which the first one comes.
        delay: Mel frames behind the end of a clip that its last one hears.
        gathers: Whether it is made of the last frames of what comes in, not of the newest.
        late: Whether the first ones are missing, for they would need a longer window.
    """

    mode: Mode
    step: int = 1
    first: int = 0
    delay: int = 0
    gathers: bool = False
    late: bool = False


def flows_of(graph: Graph) -> dict[Node, Flow]:
    """When every value that the logits need comes.

    Raises:
        ModelError: Two that meet come at different rates, or what streams would not be one decision a time.
    """
    live = live_nodes(graph)
    flows: dict[Node, Flow] = {}
    for node in live:
        flows[node] = _flow(node, [flows[each] for each in node.inputs])
    if flows[graph.logits].mode is not Mode.WHOLE:
        raise ModelError("logits of each frame cannot be streamed; take the last one, or the mean over time")
    return flows


def delay_frames(graph: Graph) -> int:
    """How far ahead, in mel frames, a model hears: so much later a stream says what a clip's end says."""
    return flows_of(graph)[graph.logits].delay


def decision_frames(graph: Graph) -> int:
    """Mel frames from one decision to the next."""
    return flows_of(graph)[graph.logits].step


def live_nodes(graph: Graph) -> list[Node]:
    """All that the logits come from, in order."""
    needed = {graph.logits}
    for node in reversed(graph.nodes):
        if node in needed:
            needed |= set(node.inputs)
    return [node for node in graph.nodes if node in needed]


def _flow(node: Node, inputs: Sequence[Flow]) -> Flow:
    moving = [flow for flow in inputs if flow.mode is not Mode.FIXED]
    if not moving:
        return Flow(Mode.FRAME if isinstance(node.operation, Input) else Mode.FIXED)
    if len({flow.step for flow in moving}) > 1:
        raise ModelError(f"{node.path or node.name}: what meets here comes at different rates")
    step, late = moving[0].step, any(flow.late for flow in moving)
    first, delay = max(flow.first for flow in moving), max(flow.delay for flow in moving)
    has_time = any(TIME in own.kinds for own in node.axes)
    reach = node.operation.reach(node)
    if reach is None or {flow.mode for flow in moving} not in ({Mode.FRAME}, {Mode.WHOLE}):
        short = reach is not None and reach.width > 1 + reach.before + reach.after
        return Flow(Mode.WINDOW if has_time else Mode.WHOLE, step, first, delay, True, late or short)
    mode = Mode.FRAME if has_time else Mode.WHOLE
    first += step * (reach.width - 1 - reach.before)
    return Flow(mode, step * reach.stride, first, delay + step * reach.after, late=late)


class StreamState(NamedTuple):
    """A stream's memory; every tensor is new in each state, so several streams can share a model.

    Attributes:
        stream: What runs.
        mel: Frames that the next window still needs, shape (B, M, T).
        skip: Frames to come that no window needs, where the stride is longer than the window.
        memories: What each step remembers.
    """

    stream: Stream | Whole
    mel: Tensor
    skip: int
    memories: tuple[Any, ...]


def stream_of(model: nn.Module, max_buffer_len: int | None = 24) -> Stream:
    """A model as a stream.

    Args:
        model: In evaluation mode; its layers are run, not copied.
        max_buffer_len: How many frames what takes all of time looks back on; None for all, and then
            memory grows with the audio.

    Raises:
        ModelError: The model cannot be read, or not be streamed.
    """
    if max_buffer_len is not None and max_buffer_len < 1:
        raise ModelError(f"a buffer of {max_buffer_len} frames holds nothing; it must be at least 1")
    return _Builder(graph_of(model), max_buffer_len, device_of(model)).stream()


@dataclass(frozen=True, eq=False)
class Stream:
    """A model taken apart into steps; ``start`` and ``push`` are pure.

    Attributes:
        window: The frames that one step of the whole hears.
        steps: In order; each fills in its values where what it needs has come.
        values: How many values there are; the first is the window, the last the logits.
        fresh: What steps remember before the first frame.
        zeros: Frames of padding to be sent ahead: the value, its shape without the batch, how many.
        sizes: Mel bands and classes.
        device: Where the model is.
    """

    window: Reach
    steps: tuple[Step, ...]
    values: int
    fresh: tuple[Any, ...]
    zeros: tuple[tuple[int, tuple[int, ...], int], ...]
    sizes: tuple[int, int]
    device: torch.device

    def start(self, batch: int) -> StreamState:
        """The state of some streams before their first frame."""
        mel = torch.zeros(batch, self.sizes[0], self.window.before, device=self.device)
        memories = list(self.fresh)
        with torch.no_grad():
            for value, shape, count in reversed(self.zeros):
                for _ in range(count):
                    self._run(value, mel.new_zeros(batch, *shape), memories)
        return StreamState(self, mel, 0, tuple(memories))

    def push(self, chunk: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """The next frames (B, M, T), any T from 0 up: logits (B, T', K) and the next state.

        Frames go one by one, so that dynamic quantization, whose scales depend on all that a call sees,
        gives the same however the audio is cut.
        """
        mel, at = torch.cat([state.mel, chunk], dim=-1), state.skip
        width, stride = self.window.width, self.window.stride
        heard = mel.shape[-1]
        if heard < at + width:
            return self._none(chunk), state._replace(mel=mel)
        memories, found = list(state.memories), []
        while heard >= at + width:
            logits = self._run(0, mel[..., at : at + width], memories)
            if logits is not None:
                found.append(logits)
            at += stride
        after = StreamState(self, mel[..., at:].clone(), max(0, at - heard), tuple(memories))
        return torch.stack(found, 1) if found else self._none(chunk), after

    def _none(self, chunk: Tensor) -> Tensor:
        return chunk.new_zeros(len(chunk), 0, self.sizes[1])

    def _run(self, at: int, value: Tensor, memories: list[Any]) -> Tensor | None:
        values = [None] * self.values
        values[at] = value  # type: ignore[call-overload]
        for step in self.steps:
            step(values, memories)
        return values[-1]


class _Builder:
    """Takes a graph apart into steps."""

    def __init__(self, graph: Graph, max_buffer_len: int | None, device: torch.device) -> None:
        self._graph, self._kept, self._device = graph, max_buffer_len, device
        self._flows = flows_of(graph)
        self._head = _head(self._flows)
        self._at: dict[Node, int] = {}
        self._windows: dict[Node, int] = {}
        self._steps: list[Step] = []
        self._fresh: list[Any] = []
        self._zeros: list[tuple[int, tuple[int, ...], int]] = []

    def stream(self) -> Stream:
        """All steps."""
        (heard, *rest) = self._flows
        self._at[heard] = 0
        for node in rest:
            self._add(node)
        window = self._head.operation.reach(self._head) if self._head else EACH
        return Stream(
            window or EACH,
            tuple(self._steps),
            self._at[self._graph.logits] + 1,
            tuple(self._fresh),
            tuple(self._zeros),
            (heard.axes[1].size, self._graph.logits.axes[-1].size),
            self._device,
        )

    def _add(self, node: Node) -> None:
        flow, operation, reach = self._flows[node], node.operation, node.operation.reach(node)
        inputs = [self._last_frames(each) if flow.gathers else self._at[each] for each in node.inputs]
        self._at[node] = at = self._count()
        moving = [own for each in node.inputs if (own := self._flows[each]).mode is not Mode.FIXED]
        if len({own.first for own in moving}) > 1:
            if len(moving) < len(inputs) or any(own.late for own in moving):
                raise ModelError(f"{node.path or node.name}: what meets here cannot be brought in step")
            self._steps.append(
                joined(inputs, at, operation.function(node), self._memory(((),) * len(inputs)))
            )
        elif flow.gathers and reach and reach.width > 1:
            self._steps.append(plain(inputs, at, long_enough(node, reach)))
        elif flow.gathers or reach is None or flow.mode is Mode.FIXED:
            self._steps.append(plain(inputs, at, operation.function(node)))
        elif operation.remembers:
            self._steps.append(remembering(inputs[0], at, operation.step(node), self._memory(None)))
        elif reach.width > 1 or reach.stride > 1:
            self._slide(node, inputs[0], at, reach)
        else:
            if reach.before:
                shape = tuple(1 if TIME in own.kinds else own.size for own in node.axes[1:])
                self._zeros.append((at, shape, reach.before))
            self._steps.append(plain(inputs, at, operation.window(node)))

    def _slide(self, node: Node, source: int, at: int, reach: Reach) -> None:
        """A window over frames that are kept; the first of all gets whole windows already."""
        function, dim = node.operation.window(node), place_of(node.inputs[0].axes, TIME)
        assert dim is not None
        if node is self._head:
            self._steps.append(plain([source], at, function))
        else:
            self._steps.append(sliding(source, at, function, reach, dim, self._memory((None, 0))))

    def _last_frames(self, node: Node) -> int:
        """Where the last frames of a value are kept, where it comes frame by frame."""
        dim = place_of(node.axes, TIME)
        if self._flows[node].mode is not Mode.FRAME or dim is None:
            return self._at[node]
        if node not in self._windows:
            self._windows[node] = at = self._count()
            self._steps.append(gathered(self._at[node], at, dim, self._kept, self._memory(None)))
        return self._windows[node]

    def _count(self) -> int:
        return len(self._at) + len(self._windows)

    def _memory(self, fresh: Any) -> int:
        self._fresh.append(fresh)
        return len(self._fresh) - 1


def _head(flows: Mapping[Node, Flow]) -> Node | None:
    """The first convolution, where nothing but the layout of axes stands before it: it reads mel frames."""
    node = next(iter(flows))
    while True:
        readers = [other for other in flows if node in other.inputs]
        if len(readers) != 1:
            return None
        (node,) = readers
        reach = node.operation.reach(node)
        if reach and reach.width * reach.stride > 1 and not reach.fill:
            return node
        if not isinstance(node.operation, (Reshape, Permute)) or flows[node].mode is not Mode.FRAME:
            return None
