"""The operations that move along an axis or have weights: convolutions, pools, linear layers, GRUs, norms."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar

from torch import nn
from torch.nn import functional

from models.errors import ModelError
from models.factored import FactoredGru
from models.graph.axes import BATCH, CHANNEL, TIME, UNIT, Axes, Axis, Couplings, Positions, axis, place_of
from models.graph.ops import Call, Function, Node, Operation, Reach, Results, operation, operation_of
from models.thin import SparseLinear


def _pin(axes: Axes, couplings: Couplings) -> None:
    couplings.pin(unit for own in axes for units in own.units for unit in units)


def entry(value: Any, at: int) -> int:
    """A layer's setting along one of its axes: one number for all, or one for each."""
    return int(value[at] if isinstance(value, (tuple, list)) else value)


class Sliding(Operation):
    """A layer whose window slides along the last axes."""

    def _slid(self, call: Call, couplings: Couplings) -> Axes:
        """The axes that it slides along, in their new lengths."""
        spatial = call.inputs[0].axes[2:]
        _pin(spatial, couplings)
        return tuple(own.resized(size) for own, size in zip(spatial, call.sizes[0][2:], strict=True))

    def _padding(self, layer: Any, at: int) -> tuple[int, int]:
        own = entry(layer.padding, at)
        return own, own

    def reach(self, call: Call) -> Reach | None:
        """See the base class."""
        place, layer = place_of(call.inputs[0].axes, TIME), call.target
        if place is None:
            return Reach()
        if place < 2:
            raise ModelError(
                f"{call.path}: it reads time as channels, and a stream has no fixed number of them"
            )
        at = place - 2
        dilation = entry(getattr(layer, "dilation", 1), at)
        width = (entry(layer.kernel_size, at) - 1) * dilation + 1
        before, after = self._padding(layer, at)
        if before >= width or getattr(layer, "ceil_mode", False):
            raise ModelError(f"{call.path}: windows of padding alone cannot be streamed")
        return Reach(width, entry(layer.stride, at), before, after, self.fill(layer))

    def fill(self, layer: Any) -> float:
        """What it pads with."""
        return 0.0

    def window(self, node: Node) -> Function:
        """See the base class: a copy that shares the weights and does not pad in time."""
        reach, place = self.reach(node), place_of(node.inputs[0].axes, TIME)
        if reach is None or place is None or not (reach.before or reach.after):
            return node.function()
        return replace(node, target=self.unpadded(node.target, place - 2)).function()

    def unpadded(self, layer: Any, at: int) -> Any:
        """A layer that shares the weights and does not pad along one of its axes."""
        bare, rank = copy(layer), 2 if "2d" in type(layer).__name__ else 1
        bare.padding = tuple(0 if dim == at else entry(layer.padding, dim) for dim in range(rank))
        return bare


@operation(nn.Conv1d, nn.Conv2d)
class Convolution(Sliding):
    """Along mel and time; where each input channel has a filter of its own the result follows the input."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        layer, (batch, before, *_) = call.target, call.inputs[0].axes
        weight, bias = f"{call.path}.weight", f"{call.path}.bias"
        if layer.groups == 1:
            couplings.place(weight, 1, before.positions)
            after = axis(CHANNEL, layer.out_channels, couplings.new(call.path, layer.out_channels))
        elif layer.groups == layer.in_channels:
            each = layer.out_channels // layer.in_channels
            units = tuple(own for own in before.units for _ in range(each))
            after = Axis(axis(CHANNEL, layer.out_channels).parts if each > 1 else before.parts, units)
        else:
            _pin((before,), couplings)
            after = axis(CHANNEL, layer.out_channels)
        for name in (weight, bias)[: 1 + (layer.bias is not None)]:
            couplings.place(name, 0, after.positions)
        return ((batch, after, *self._slid(call, couplings)),)

    def _padding(self, layer: Any, at: int) -> tuple[int, int]:
        # Torch's own list, the last axis first; it also knows what "same" comes to.
        both = layer._reversed_padding_repeated_twice[::-1]
        after, before = both[2 * at : 2 * at + 2]
        if before + after and layer.padding_mode != "zeros":
            raise ModelError(f"padding_mode={layer.padding_mode!r} in time cannot be streamed; zeros can")
        return before, after

    def unpadded(self, layer: Any, at: int) -> Any:
        """See the base class."""
        bare = copy(layer)
        sides = [self._padding(layer, dim) if dim != at else (0, 0) for dim in range(len(layer.kernel_size))]
        if any(before != after for before, after in sides):
            raise ModelError("a padding that differs between the two ends of mel cannot be streamed")
        bare.padding = tuple(before for before, _ in sides)
        bare._reversed_padding_repeated_twice = [size for own in reversed(sides) for size in own]
        return bare


@operation(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
class Pool(Sliding):
    """The largest or the mean of each window."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        return ((*call.inputs[0].axes[:2], *self._slid(call, couplings)),)

    def fill(self, layer: Any) -> float:
        """See the base class."""
        return float("-inf") if isinstance(layer, (nn.MaxPool1d, nn.MaxPool2d)) else 0.0


@operation(functional.pad)
class Pad(Operation):
    """Zeros put before and behind."""

    def _sides(self, call: Call) -> dict[int, tuple[int, int]]:
        sides, rank = call.argument(1, "pad"), len(call.sizes[0])
        if call.argument(2, "mode", "constant") != "constant" or call.argument(3, "value"):
            raise ModelError(f"{call.name}: only zeros can be put before and behind")
        return {rank - 1 - at // 2: (sides[at], sides[at + 1]) for at in range(0, len(sides), 2)}

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        axes, sides = call.inputs[0].axes, self._sides(call)
        changed = {dim for dim, both in sides.items() if any(both)}
        _pin(tuple(axes[dim] for dim in changed), couplings)
        sizes = call.sizes[0]
        return (tuple(own.resized(sizes[dim]) if dim in changed else own for dim, own in enumerate(axes)),)

    def reach(self, call: Call) -> Reach | None:
        """See the base class."""
        place = place_of(call.inputs[0].axes, TIME)
        before, after = self._sides(call).get(-1 if place is None else place, (0, 0))
        if min(before, after) < 0:
            raise ModelError(f"{call.name}: frames that are cut off cannot be streamed")
        return Reach(1, 1, before, after)

    def window(self, node: Node) -> Function:
        """See the base class."""
        sides = self._sides(node) | {place_of(node.axes, TIME): (0, 0)}
        flat = [size for dim in sorted(self._sides(node), reverse=True) for size in sides[dim]]
        return lambda x: functional.pad(x, flat)


@operation(nn.Linear)
class Linear(Operation):
    """Reads the last axis."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        *kept, read = call.inputs[0].axes
        if read.is_open:
            raise ModelError(f"{call.path}: it reads a fixed number of frames, and a stream has no end")
        size = call.sizes[0][-1]
        units = couplings.new(call.path, size)
        couplings.place(f"{call.path}.weight", 1, read.positions)
        for name in ("weight", "bias"):
            couplings.place(f"{call.path}.{name}", 0, tuple((unit,) for unit in units))
        return ((*kept, axis(UNIT, size, units)),)


@operation(nn.BatchNorm1d, nn.BatchNorm2d)
class BatchNorm(Operation):
    """Each channel by its own statistics."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        axes = call.inputs[0].axes
        for name in ("weight", "bias", "running_mean", "running_var"):
            couplings.place(f"{call.path}.{name}", 0, axes[1].positions)
        return (axes,)

    def reach(self, call: Call) -> Reach | None:
        """See the base class; without running statistics it takes those of what it is given."""
        return None if call.target.running_mean is None else Reach()

    def mixes(self, target: Any) -> bool:
        """See the base class."""
        return target.running_mean is None


@operation(nn.GRU)
class Gru(Operation):
    """Layers with a state; gives the outputs of the last one and the states of all."""

    remembers: ClassVar[bool] = True

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        layer = call.target
        if len(call.args) > 1 or call.kwargs or getattr(layer, "bidirectional", False):
            raise ModelError(f"{call.path}: a GRU that starts from a state, or hears both ways, is not known")
        *kept, read = call.inputs[0].axes
        hidden, layers = call.sizes[0][-1], call.sizes[1][0]
        before = read.positions
        for number in range(layers):
            units = couplings.new(f"{call.path}.{number}", hidden)
            mine = tuple((unit,) for unit in units)
            for name, dim, positions in self.places(layer, number, before, mine):
                couplings.place(f"{call.path}.{name}", dim, positions)
            if not self.can_shrink(layer):
                couplings.pin((*units, *(unit for own in before for unit in own)))
            before = mine
        state = (axis(UNIT, layers), axis(BATCH, call.sizes[1][1]), axis(UNIT, hidden, units))
        return ((*kept, axis(UNIT, hidden, units)), state)

    def can_shrink(self, layer: Any) -> bool:
        """Whether its units stand in rows and columns."""
        return True

    def places(
        self, layer: Any, number: int, before: Positions, mine: Positions
    ) -> list[tuple[str, int, Positions]]:
        """Where the units that come in, and a layer's own, stand: three gates, and a column each."""
        names = [f"{name}_l{number}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        own = [(name, 0, mine * 3) for name in names]
        return [*own, (names[0], 1, before), (names[1], 1, mine)]

    def step(self, node: Node) -> Function:
        """See the base class."""
        layer = node.target

        def run(x: Any, memory: Any) -> tuple[Any, Any]:
            found = layer(x, memory)
            return found, found[1]

        return run

    def steps(self, node: Node, read: Collection[int]) -> Function | None:
        """See the base class; the states of all layers after each frame are known where there is one."""
        layer, time = node.target, place_of(node.axes, TIME)
        if 1 in read and layer.num_layers > 1:
            return None

        def run(x: Any, memory: Any) -> tuple[Any, Any]:
            outputs, last = layer(x, memory)
            return (outputs, outputs.movedim(time, 0).flatten(0, 1)[None]), last

        return run


@operation(FactoredGru)
class FactoredGruLayers(Gru):
    """The same with products of two matrices, whose inner axis belongs to nobody."""

    def can_shrink(self, layer: Any) -> bool:
        """See the base class."""
        return not any(isinstance(module, SparseLinear) for module in layer.modules())

    def mixes(self, target: Any) -> bool:
        """See the base class: what its matrices were converted to."""
        inner = [(part, operation_of(part)) for part in target.modules() if part is not target]
        return any(known is not None and known.mixes(part) for part, known in inner)

    def places(
        self, layer: Any, number: int, before: Positions, mine: Positions
    ) -> list[tuple[str, int, Positions]]:
        """See the base class."""
        found = []
        for side, read in (("input", before), ("recurrent", mine)):
            matrix = getattr(layer, side)[number]
            inner = isinstance(matrix, nn.Sequential)
            path = f"{side}.{number}"
            up, down = (f"{path}.1", f"{path}.0") if inner else (path, path)
            found += [(f"{up}.weight", 0, mine * 3), (f"{up}.bias", 0, mine * 3), (f"{down}.weight", 1, read)]
        return found
