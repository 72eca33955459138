"""What an operation is to a graph, and the registry of those that are known.

A plugin adds one of its own::

    @operation(torch.cumsum)
    class CumulativeSum(Operation): ...
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import nn

from models.errors import ModelError
from models.graph.axes import BATCH, MEL, TIME, UNIT, Axes, Couplings, axis
from models.registering import defined_in, shown

# A result is a tensor's axes; a layer with several, such as a GRU, has several.
Results = tuple[Axes, ...]
Function = Callable[..., Any]


class Reach(NamedTuple):
    """Which frames of its input one frame of a result reads: by itself, unless it says more.

    Attributes:
        width: How many, from the first to the last.
        stride: From one result to the next.
        before: Frames put before the first.
        after: Frames put behind the last: so much of what lies ahead is heard.
        fill: What they hold.
    """

    width: int = 1
    stride: int = 1
    before: int = 0
    after: int = 0
    fill: float = 0.0


# Without a text: it would hold those of its inputs, which hold those of theirs.
@dataclass(frozen=True, eq=False, repr=False)
class Call:
    """One call in a forward.

    Attributes:
        name: Unique in the graph.
        target: The layer, the function, or a tensor method.
        path: Where a layer or parameter stands in the model; empty for a function.
        args: Its arguments, with nodes in place of tensors.
        kwargs: Those given by name.
        sizes: The shape of each result in the traced example.
    """

    name: str
    target: Any
    path: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    sizes: tuple[tuple[int, ...], ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes among its arguments, in order."""
        found: list[Node] = []
        _replace((self.args, dict(self.kwargs)), found.append)
        return tuple(found)

    def argument(self, at: int, name: str, default: Any = None) -> Any:
        """An argument, by its place or by its name."""
        return self.args[at] if at < len(self.args) else self.kwargs.get(name, default)

    def dims(self, at: int = 1, name: str = "dim") -> tuple[int, ...]:
        """Dimensions that an argument names, counted from 0; all where it names none."""
        rank = len(self.inputs[0].axes)
        given = self.argument(at, name)
        if given is None:
            return tuple(range(rank))
        return tuple(dim % rank for dim in ([given] if isinstance(given, int) else given))

    def function(self) -> Function:
        """The call as a function of its inputs, in their order."""
        target, args, kwargs = self.target, self.args, dict(self.kwargs)
        given = sum(isinstance(arg, Node) for arg in args)
        if given == len(self.inputs) and all(isinstance(arg, Node) for arg in args[:given]):
            rest = args[given:]
            return lambda *values: target(*values, *rest, **kwargs)

        def general(*values: Any) -> Any:
            left = iter(values)
            plain, named = _replace((args, kwargs), lambda _: next(left))
            return target(*plain, **named)

        return general


@dataclass(frozen=True, eq=False, repr=False)
class Node(Call):
    """A call with what is known of it.

    Attributes:
        operation: What kind of call it is.
        results: The axes of each of its results.
    """

    operation: Operation
    results: Results

    @property
    def axes(self) -> Axes:
        """The axes of its result, or of its first one."""
        return self.results[0]


class Operation(abc.ABC):
    """One kind of call: what its axes are, what it couples, how it streams."""

    # Whether it is run as ``step``, with a memory of its own.
    remembers: ClassVar[bool] = False

    @abc.abstractmethod
    def results(self, call: Call, couplings: Couplings) -> Results:
        """The axes of what it gives; units that it makes, couples and pins are told to ``couplings``."""

    def reach(self, call: Call) -> Reach | None:
        """Which frames one frame of its result reads; None where it takes all of time."""
        return Reach()

    def function(self, node: Node) -> Function:
        """What computes the result, of inputs of any number of frames."""
        return node.function()

    def window(self, node: Node) -> Function:
        """The same without padding in time of its own: on the frames of one reach, or of several at once."""
        return self.function(node)

    def step(self, node: Node) -> Function:
        """Where it remembers: (input, memory or None) to (results, memory), frame by frame."""
        raise NotImplementedError

    def steps(self, node: Node, read: Collection[int]) -> Function | None:
        """Where it remembers: ``step`` on any number of frames at once; None: it takes them one by one.

        Args:
            node: The call.
            read: Which of its results are needed. One without time has the batch of each frame, one behind
                the other.
        """
        return None

    def mixes(self, target: Any) -> bool:
        """Whether what it says of a clip, or of a frame, depends on what else is in the call."""
        return False


def _replace(value: Any, how: Callable[[Node], Any]) -> Any:
    """The same structure with something in place of each node."""
    if isinstance(value, Node):
        return how(value)
    if isinstance(value, (tuple, list)):
        return type(value)([_replace(part, how) for part in value])
    if isinstance(value, dict):
        return {name: _replace(part, how) for name, part in value.items()}
    return value


_OPERATIONS: dict[Any, Operation] = {}


def operation(*targets: Any) -> Callable[[type[Operation]], type[Operation]]:
    """Class decorator: these layer types, functions and tensor methods (by name) are that operation.

    Raises:
        ModelError: One of them is another operation already; the message says by which file.
    """

    def add(kind: type[Operation]) -> type[Operation]:
        for target in targets:
            if target in _OPERATIONS and type(_OPERATIONS[target]) is not kind:
                owner = defined_in(type(_OPERATIONS[target]))
                raise ModelError(f"{shown(target)} is an operation already, by {owner}; derive a layer of it")
        _OPERATIONS.update(dict.fromkeys(targets, kind()))
        return kind

    return add


def operation_of(target: Any) -> Operation | None:
    """The operation of a layer, a function or the name of a tensor method; None where it is not known."""
    if isinstance(target, nn.Module):
        return next((_OPERATIONS[kind] for kind in type(target).__mro__ if kind in _OPERATIONS), None)
    return _OPERATIONS.get(target)


def known() -> list[str]:
    """The names of all operations that are known."""
    return sorted({target if isinstance(target, str) else target.__name__.lower() for target in _OPERATIONS})


class Input(Operation):
    """What a model hears, (batch, mel, time)."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        return (tuple(axis(kind, n) for kind, n in zip((BATCH, MEL, TIME), call.sizes[0], strict=True)),)


class Weight(Operation):
    """A parameter or buffer that forward reads itself; its units are those of what it meets."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        made = [couplings.new(call.path, size) if size > 1 else range(0) for size in call.sizes[0]]
        axes = tuple(axis(UNIT, size, own) for size, own in zip(call.sizes[0], made, strict=True))
        for dim, own in enumerate(axes):
            couplings.place(call.path, dim, own.positions)
        return (axes,)

    def function(self, node: Node) -> Function:
        """See the base class."""
        return lambda: node.target
