"""What a model's forward computes, read off by torch.fx."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

# They register what they hold.
import models.graph.layers
import models.graph.plain
from models.base import ModelOutput, device_of, example_input, mels_of
from models.errors import KwsError, ModelError
from models.graph.axes import CLASS, Couplings, axis
from models.graph.ops import Call, Input, Node, Operation, Weight, known, operation_of

# Lengths of the example that nothing else has: a prime of frames, long enough for any kernel.
EXAMPLE_BATCH, EXAMPLE_FRAMES = 3, 211
# In place or not is the same function.
_PLAIN = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


@dataclass(frozen=True, eq=False)
class Graph:
    """A description of a forward, read-only; the model itself is what computes.

    Attributes:
        nodes: All calls in the order in which they run, the input first.
        logits: What the model says.
        energies: Its attention energies; None without attention.
        couplings: Which units go together, and where they stand.
    """

    nodes: tuple[Node, ...]
    logits: Node
    energies: Node | None
    couplings: Couplings

    def readers(self, node: Node) -> tuple[Node, ...]:
        """The calls that a result goes into."""
        return tuple(other for other in self.nodes if node in other.inputs)


def graph_of(model: nn.Module, frames: int = EXAMPLE_FRAMES) -> Graph:
    """What a model's forward computes on log-mel (B, M, T).

    Layers that an operation is known for are kept whole; others are looked into. A branch on a shape is
    taken as a long clip takes it.

    Args:
        model: It is left as it is.
        frames: Frames T of the example whose sizes the graph holds.

    Raises:
        ModelError: An operation is not known, or the forward depends on the values that it computes.
    """
    try:
        return _graph_of(model, frames)
    except KwsError:
        raise
    except RuntimeError as error:
        reason, name = " ".join(str(error).split())[:100], type(model).__name__
        raise ModelError(
            f"{name} hears no clip of {frames} frames ({reason}); give smaller kernels"
        ) from error
    except Exception as error:  # whatever a plugin's forward raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"the forward of {type(model).__name__} cannot be read: {reason}") from error


def _graph_of(model: nn.Module, frames: int) -> Graph:
    with _evaluating(model):
        tracer, found = _traced(model, EXAMPLE_BATCH, frames)
        couplings = Couplings()
        nodes: dict[fx.Node, Node] = {}
        for call in found.nodes:
            if call.op == "output":
                output = call.args[0]
            elif call.target is not ModelOutput:
                nodes[call] = _read(model, call, nodes, tracer.value(call), couplings)
        _refuse_lengths(found, _traced(model, EXAMPLE_BATCH + 1, frames + 16)[1])
    if not isinstance(output, fx.Node) or output.target is not ModelOutput:
        raise ModelError(f"the forward of {type(model).__name__} must return a ModelOutput")
    parts: Any = output.args
    said, energies = nodes[parts[0]], nodes.get(parts[1])
    couplings.pin(unit for own in said.axes for units in own.units for unit in units)
    logits = replace(said, results=((*said.axes[:-1], axis(CLASS, said.axes[-1].size)),))
    ordered = tuple(logits if node is said else node for node in nodes.values())
    return Graph(ordered, logits, energies, couplings)


def _traced(model: nn.Module, clips: int, frames: int) -> tuple[_Tracer, fx.Graph]:
    """What a forward calls on so many clips of so many frames."""
    tracer = _Tracer(example_input(clips, frames, mels_of(model)).to(device_of(model)))
    return tracer, tracer.trace(model)


def _refuse_lengths(calls: fx.Graph, longer: fx.Graph) -> None:
    """Refuses a forward whose arguments change with the number of clips or frames; shapes may."""
    for one, other in zip(calls.nodes, longer.nodes, strict=False):
        same = (one.target, str((one.args, one.kwargs))) == (other.target, str((other.args, other.kwargs)))
        if not same and not isinstance(operation_of(one.target), models.graph.plain.Reshape):
            raise ModelError(f"{one.name}: it computes with the number of clips or of frames; use mean")


def _read(
    model: nn.Module, call: fx.Node, nodes: Mapping[fx.Node, Node], value: Any, couplings: Couplings
) -> Node:
    """One call of torch.fx as a node."""
    known_as: Any = call.target
    target: Any = call.target
    if call.op == "placeholder":
        found: Operation | None = Input()
    elif call.op == "get_attr":
        found, target = Weight(), value
    else:
        if call.op == "call_module":
            known_as = target = model.get_submodule(str(call.target))
        elif call.op == "call_method":
            target = getattr(Tensor, str(call.target))
        else:
            known_as = target = _PLAIN.get(target, target)
        found = operation_of(known_as)
    path = str(call.target) if call.op in ("call_module", "get_attr") else ""
    if found is None:
        raise _unknown(model, path, known_as)
    several = value if isinstance(value, tuple) else (value,)
    sizes = tuple(tuple(each.shape) for each in several)
    with_nodes: Any = fx.node.map_arg
    args, kwargs = with_nodes((call.args, call.kwargs), nodes.__getitem__)
    if call.op == "placeholder":
        args = ()
    made = Call(call.name, target, path, tuple(args), dict(kwargs), sizes)
    return Node(**vars(made), operation=found, results=found.results(made, couplings))


def _unknown(model: nn.Module, path: str, target: Any) -> ModelError:
    name = type(target).__name__ if isinstance(target, nn.Module) else getattr(target, "__name__", target)
    where = f" ({path})" if path else ""
    return ModelError(
        f"{type(model).__name__} uses {name}{where}, an operation that is not known; known are: "
        f"{', '.join(known())}; a plugin adds one with models.graph.ops.operation"
    )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode for a while, without gradients; each part goes back to the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


class _Seen(fx.Proxy):
    """Stands for a tensor whose shape is known, so that a forward can ask for it."""

    tracer: _Tracer

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.tracer.value(self.node).shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        return len(self.shape)

    def size(self, dim: int | None = None) -> torch.Size | int:
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.tracer.value(self.node))

    def __iter__(self) -> Iterator[Any]:
        return iter([operator.getitem(self, at) for at in range(len(self))])


class _Tracer(fx.Tracer):
    """Follows a forward with an example beside it, whose shapes are those that the forward sees."""

    def __init__(self, heard: Tensor) -> None:
        super().__init__()
        self._heard = heard
        self._values: dict[fx.Node, Any] = {}
        self._computing = False

    def value(self, node: fx.Node) -> Any:
        """What a call gives for the example."""
        if node not in self._values:
            self._values[node] = self._compute(node)
        return self._values[node]

    def _compute(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._heard
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.value)
        self._computing = True
        try:
            if node.op == "get_attr":
                return operator.attrgetter(str(node.target))(self.root)
            if node.op == "call_module":
                return self.root.get_submodule(str(node.target))(*args, **kwargs)
            function: Any = node.target
            if node.op == "call_method":
                function = getattr(Tensor, str(node.target))
            return function(*args, **kwargs)
        finally:
            self._computing = False

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """See the base class."""
        return _Seen(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """See the base class: all that an operation is known for, and torch's own."""
        return operation_of(m) is not None or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """See the base class."""
        return forward(*args, **kwargs) if self._computing else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """See the base class."""
        return attr_val if self._computing else super().getattr(attr, attr_val, parameter_proxy_cache)
