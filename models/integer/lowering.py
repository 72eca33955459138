"""What a program is made with: operations one after the other, and what becomes of each node of a graph.

A value of the program holds the numbers of a frame in the order in which torch has them, axes of batch and
time left out; so most reshapes and transposes are nothing, and the others a choice of numbers (``Pick``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.graph.axes import BATCH, TIME
from models.graph.ops import Input as HeardInput
from models.graph.ops import Node, Operation
from models.graph.stream import live_nodes
from models.graph.trace import Graph
from models.integer.ops import Act, Add, Gives, Input, Op, Pool, Program, Rounding, Shape, shapes_of

# The matrices of an operation, (rows, columns) and (rows,) or None, read from a model's parameters.
Matrices = tuple[tuple[Tensor, Tensor | None], ...]
Source = Callable[[nn.Module], Matrices]


class Dropout(NamedTuple):
    """What training leaves out of a result.

    Attributes:
        share: Of its numbers, or of its channels.
        channels: Whether whole channels are left out.
    """

    share: float
    channels: bool


class Padded(NamedTuple):
    """A value with zeros around it, for a window to take."""

    value: int
    rows: tuple[int, int]
    frames: tuple[int, int]


class Shares(NamedTuple):
    """The softmax of energies over time."""

    energies: int


class Weighted(NamedTuple):
    """Frames times their shares."""

    energies: int
    value: int


class States(NamedTuple):
    """The last states of GRU layers, by the values of their outputs."""

    layers: tuple[int, ...]


class Constant(NamedTuple):
    """A parameter or buffer that forward reads itself."""

    path: str
    node: Node


Found = int | Padded | Shares | Weighted | States | Constant | None


@dataclass(frozen=True, eq=False)
class Lowered:
    """A model as a program.

    Attributes:
        program: The operations.
        names: What each is called, for people: the path of its layer, or the name of its call.
        sources: Where each has its matrices from; None for one without.
        dropouts: The share of a result that training leaves out, where it does.
    """

    program: Program
    names: tuple[str, ...]
    sources: tuple[Source | None, ...]
    dropouts: Mapping[int, Dropout]

    def matrices(self, model: nn.Module) -> tuple[Matrices, ...]:
        """The matrices of every operation, from a model of the same layers; gradients flow to its weights."""
        return tuple(() if source is None else source(model) for source in self.sources)

    def names_of(self, at: int, shapes: Sequence[Shape]) -> list[str]:
        """The names of an operation's matrices, such as ``gru.0.hh.n``."""
        op = self.program[at]
        own = op.matrices([shapes[one] for one in op.inputs])
        return [f"{self.names[at]}.{one.name}" if one.name else self.names[at] for one in own]


class Lowering:
    """Operations that are made one after the other.

    Attributes:
        found: What became of each node.
        dropouts: See ``Lowered``.
    """

    def __init__(self, graph: Graph) -> None:
        self.ops: list[Op] = []
        self.names: list[str] = []
        self.sources: list[Source | None] = []
        self.found: dict[Node, Found] = {}
        self.dropouts: dict[int, Dropout] = {}
        self._graph = graph
        self._needed = set(live_nodes(graph))
        self._shared: set[int] = set()

    def add(self, node: Node) -> None:
        """The next node."""
        found = lower(node.operation, node, self)
        self.found[node] = found
        if isinstance(found, int) and self.readers(node) > 1:
            self._shared.add(found)

    def readers(self, node: Node) -> int:
        """How many nodes that matter read a result."""
        return sum(reader in self._needed for reader in self._graph.readers(node))

    def shapes(self) -> tuple[Shape, ...]:
        """Of all values so far."""
        return shapes_of(tuple(self.ops))

    def make(self, op: Op, name: str, source: Source | None = None) -> int:
        """One more operation; gives its value."""
        self.ops.append(op)
        self.names.append(name)
        self.sources.append(source)
        self.shapes()
        return len(self.ops) - 1

    def value(self, node: Node) -> int:
        """The value of a node.

        Raises:
            ModelError: It is none: a softmax over time that is not used for a weighted sum, and the like.
        """
        found = self.found[node]
        if isinstance(found, Padded):
            (above, below), frames = found.rows, found.frames
            if any(frames):
                raise ModelError(f"{node.name}: frames of zeros must stand right before a window over time")
            around = Pool(inputs=(found.value,), above=above, below=below)
            found = self.make(around, node.name)
        if not isinstance(found, int):
            raise ModelError(f"{node.path or node.name}: what is made of it here has no integer form")
        return found

    def frame(self, node: Node) -> list[int]:
        """The sizes of the axes of a result that are of its frame: neither batch nor time.

        Raises:
            ModelError: Time stands in one axis with something else.
        """
        mixed = [own for own in node.axes if own.is_open and len(own.parts) > 1]
        if mixed:
            raise ModelError(f"{node.path or node.name}: frames that stand in one axis have no integer form")
        return [own.size for own in node.axes if not {BATCH, TIME} & set(own.kinds)]

    def activated(self, value: int, act: Act, name: str) -> int:
        """A value with an activation: part of the operation that makes it, or one of its own."""
        if self._is_open(value):
            self.ops[value] = replace(self._rounding(value), act=act)
            if act is not Act.RELU:
                # What is left out before a curve is not what is left out behind it.
                self.dropouts.pop(value, None)
            return value
        return self._joined(value, name, act=act)

    def as_format(self, value: int, gives: Gives, name: str) -> int:
        """A value in a fixed format."""
        if self._is_open(value):
            self.ops[value] = replace(self._rounding(value), gives=gives)
            return value
        return self._joined(value, name, gives=gives)

    def _joined(self, value: int, name: str, act: Act = Act.NONE, gives: Gives = Gives.STEP) -> int:
        shape = self.shapes()[value]
        op = Add(inputs=(value,), channels=shape.channels, rows=shape.rows, act=act, gives=gives)
        return self.make(op, name)

    def _is_open(self, value: int) -> bool:
        """Whether nobody else reads it, and its format is not settled."""
        op = self.ops[value]
        plain = isinstance(op, Rounding) and op.act is Act.NONE and op.gives is Gives.STEP
        return plain and value not in self._shared and not (isinstance(op, Pool) and op.largest)

    def _rounding(self, value: int) -> Rounding:
        op = self.ops[value]
        assert isinstance(op, Rounding)
        return op

    def finish(self, said: int) -> None:
        """Makes the logits the last operation.

        Raises:
            ModelError: Something comes behind them.
        """
        if said != len(self.ops) - 1:
            raise ModelError(f"{self.names[said]}: something comes behind the logits")


@singledispatch
def lower(operation: Operation, node: Node, to: Lowering) -> Found:
    """What becomes of a node; a plugin's operation registers a function of its own.

    Raises:
        ModelError: It has no integer form.
    """
    names = sorted(kind.__name__ for kind in lower.registry if kind not in (object, Operation))
    where = node.path or node.name
    raise ModelError(
        f"{where}: {type(operation).__name__} has no integer form; these have: {', '.join(names)}; a plugin "
        "gives it one with models.integer.lowering.lower.register"
    )


@lower.register
def _(operation: HeardInput, node: Node, to: Lowering) -> Found:
    return to.make(Input(mels=node.axes[1].size), "input")


def of_path(path: str) -> Callable[[nn.Module], Any]:
    """Reads a layer, a parameter or a buffer of a model."""

    def read(model: nn.Module) -> Any:
        found: Any = model
        for name in path.split("."):
            found = getattr(found, name)
        return found

    return read


def flat_positions(node: Node) -> Tensor:
    """For each place of a result (axes of batch and time with a single place) its place in the frame."""
    sizes = [1 if {BATCH, TIME} & set(own.kinds) else own.size for own in node.axes]
    count = int(torch.tensor(sizes).prod()) if sizes else 1
    return torch.arange(count).reshape(sizes)
