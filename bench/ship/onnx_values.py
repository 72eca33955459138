"""The values of a program inside an ONNX graph: how they lie in memory, and what of them a stream keeps.

Imports ``onnx``, of the extra of that name; ``onnx_export`` asks for it first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from bench.ship.onnx_build import Builder
from bench.ship.onnx_timing import Timing
from bench.ship.onnx_weights import Weights
from models.integer.ops import Shape, shapes_of

Sizes = list[int | str]
# Names of the graph's inputs and outputs; a state NAME comes back as ``next_NAME``.
CLIP, WINDOW, LOGITS = "log_mel", "window", "logits"
ENERGIES, OUTPUTS, HIDDEN, CALLS, NEXT = "energies", "outputs", "hidden_", "calls", "next_"


class Layout(Enum):
    """The axes of a value: the axis of time, and how many there are."""

    MEL = "(B, M, T)"
    IMAGE = "(B, C, rows, T)"
    SEQUENCE = "(T, B, C * rows)"
    VECTOR = "(B, C * rows), what does not move"


TIME_AXIS = {Layout.MEL: 2, Layout.IMAGE: 3, Layout.SEQUENCE: 0}


class Value(NamedTuple):
    """A value in the graph.

    Attributes:
        name: Of the tensor.
        layout: Its axes.
        shape: Its frame, and whether it moves.
    """

    name: str
    layout: Layout
    shape: Shape


@dataclass(eq=False)
class Writer:
    """A graph that is being written.

    Attributes:
        builder: Its nodes.
        weights: Of the model.
        timing: When values come in a stream; None for whole clips.
        kept: Frames N that what takes all of time looks back on, in a stream.
        values: Those that are there, by their place in the program.
        states: The shape of each state of a stream, by name.
    """

    builder: Builder
    weights: Weights
    timing: Timing | None
    kept: int
    values: dict[int, Value] = field(default_factory=dict)
    states: dict[str, Sizes] = field(default_factory=dict)
    _made: dict[tuple[object, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes = shapes_of(self.weights.program)

    def image(self, value: Value, channels: int = 0, rows: int = 0) -> str:
        """A value as (B, C, rows, T), its frame in those channels and rows; 0: as it is."""
        channels, rows = channels or value.shape.channels, rows or value.shape.rows
        if value.layout is Layout.IMAGE and (channels, rows) == value.shape[:2]:
            return value.name
        key = (value.name, Layout.IMAGE, channels, rows)
        if key not in self._made:
            self._made[key] = self._image(value, channels, rows)
        return self._made[key]

    def _image(self, value: Value, channels: int, rows: int) -> str:
        add, name, layout = self.builder.add, value.name, value.layout
        if layout is Layout.SEQUENCE:
            name, layout = add("Transpose", [name], {"perm": [1, 2, 0]}), Layout.MEL
        if layout is Layout.MEL and 1 in (channels, rows):
            return add("Unsqueeze", [name, self.builder.integers(2 if rows == 1 else 1)])
        return add("Reshape", [name, self.builder.integers(0, channels, rows, -1)])

    def sequence(self, value: Value) -> str:
        """A value as (T, B, C * rows)."""
        if value.layout is Layout.SEQUENCE:
            return value.name
        key = (value.name, Layout.SEQUENCE)
        if key not in self._made:
            add, name = self.builder.add, value.name
            if value.layout is Layout.VECTOR:
                self._made[key] = add("Unsqueeze", [name, self.builder.integers(0)])
            else:
                if value.layout is Layout.IMAGE:
                    name = add("Reshape", [name, self.builder.integers(0, value.shape.size, -1)])
                self._made[key] = add("Transpose", [name], {"perm": [2, 0, 1]})
        return self._made[key]

    def vector(self, value: Value) -> str:
        """What does not move as (B, C * rows)."""
        return value.name if value.layout is Layout.VECTOR else self.builder.add("Flatten", [value.name])

    def given(self, at: int) -> list[Value]:
        """What an operation reads; in a stream the earlier ones wait for the latest."""
        inputs = self.weights.program[at].inputs
        if self.timing is None or len(inputs) == 1:
            return [self.values[one] for one in inputs]
        newest = [self.timing.newest(one) for one in inputs]
        return [self._late(one, last - min(newest)) for one, last in zip(inputs, newest, strict=True)]

    def _late(self, one: int, frames: int) -> Value:
        """A value so many of its frames ago."""
        value = self.values[one]
        if not frames or self.timing is None:
            return value
        if value.layout is Layout.VECTOR:
            value = value._replace(name=self.sequence(value), layout=Layout.SEQUENCE)
        key, axis = (value.name, "late", frames), TIME_AXIS[value.layout]
        if key not in self._made:
            longer = self.remember(f"late_{one}_{frames}", value, frames)
            self._made[key] = self.builder.cut(longer, axis, 0, self.timing.frames[one])
        value = value._replace(name=self._made[key])
        if value.shape.moving or value.layout is not Layout.SEQUENCE:
            return value
        vector = self.builder.add("Squeeze", [value.name, self.builder.integers(0)])
        return value._replace(name=vector, layout=Layout.VECTOR)

    def remember(self, name: str, value: Value, frames: int) -> str:
        """A state of so many frames of a value, and the newest behind them; the last are the next state."""
        shape, axis = value.shape, TIME_AXIS[value.layout]
        sizes: dict[Layout, Sizes] = {
            Layout.MEL: ["B", shape.size, frames],
            Layout.IMAGE: ["B", shape.channels, shape.rows, frames],
            Layout.SEQUENCE: [frames, "B", shape.size],
        }
        self.states[name] = sizes[value.layout]
        longer = self.builder.add("Concat", [name, value.name], {"axis": axis})
        self.builder.cut(longer, axis, -frames, name=NEXT + name)
        return longer

    def buffered(self, name: str, value: Value) -> str:
        """The last frames (N, B, C * rows) of a value in a stream."""
        self.remember(name, Value(self.sequence(value), Layout.SEQUENCE, value.shape), self.kept)
        return NEXT + name

    def calls(self) -> str:
        """How many calls there were before, as a real number; after 2^24 it stays."""
        if CALLS not in self.states:
            self.states[CALLS] = [1]
            self.builder.add("Add", [CALLS, self.builder.real(1)], outputs=[NEXT + CALLS])
        return CALLS

    def masked(self, x: str, fill: float, first: int, rate: int, count: int = 1) -> str:
        """A value whose frames before its first hold something else; time is the last axis.

        Args:
            x: The value; of one frame a call it may have any axes.
            fill: What they hold.
            first: The number of its first frame in call 0; negative: so many are before.
            rate: Frames a call.
            count: Frames that it has.
        """
        # The first call in which each is a value; one number where it is the same for all.
        since = [-((first + at) // rate) for at in range(count)]
        if max(since) <= 0:
            return x
        limits = self.builder.real(*(since if len(set(since)) > 1 else since[:1]))
        key = ("true", limits)
        if key not in self._made:
            self._made[key] = self.builder.add("GreaterOrEqual", [self.calls(), limits])
        return self.builder.add("Where", [self._made[key], x, self.builder.real(fill)])
