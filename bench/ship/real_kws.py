"""The real numbers that a program's weights stand for, under the contract of every keyword spotter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.base import KwsModel, ModelOutput
from models.graph.axes import CHANNEL, MEL, TIME, UNIT, Axes, Couplings, axis
from models.graph.ops import Call, Function, Node, Operation, Reach, Results, operation
from models.integer.kws import IntegerSpec
from models.integer.lowering import Matrices
from models.integer.ops import Attend, Gather, Gru, Last, Op, Pool, Program, Window, shapes_of
from models.integer.real import Around, Exact, compute


class RealStep(nn.Module):
    """One operation on real numbers (B, C, rows, T')."""

    def __init__(self, op: Op, around: Around) -> None:
        super().__init__()
        self.op, self.around = op, around

    def forward(self, *given: Tensor) -> Tensor:
        """All frames."""
        return compute(self.op, given, self.around)

    def unpadded(self) -> RealStep:
        """The same without frames of zeros before and behind."""
        op = self.op
        return RealStep(replace(op, before=0, after=0), self.around) if isinstance(op, Window) else self


class RealLayer(RealStep):
    """The same with a state: a GRU layer, by torch's own."""

    def __init__(self, op: Gru, around: Around) -> None:
        super().__init__(op, around)
        ih, hh = around.own[:3], around.own[3:]
        with torch.random.fork_rng(devices=[]):
            self.gru = nn.GRU(ih[0][0].shape[1], op.hidden, batch_first=True)
        values = {
            "weight_ih_l0": torch.cat([weight for weight, _ in ih]),
            "weight_hh_l0": torch.cat([weight for weight, _ in hh]),
            "bias_ih_l0": torch.cat([_bias(weight, bias) for weight, bias in ih]),
            "bias_hh_l0": torch.cat([_bias(weight, bias) for weight, bias in hh]),
        }
        self.gru.load_state_dict(values)

    def forward(self, *given: Tensor) -> Tensor:
        """See the base class."""
        return self.step(given[0], None)[0]

    def step(self, given: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next frames (B, C, rows, T') and the state before them; None: zeros."""
        outputs, after = self.gru(given.flatten(1, 2).transpose(1, 2), state)
        return outputs.transpose(1, 2)[:, :, None], after


def _bias(weight: Tensor, bias: Tensor | None) -> Tensor:
    return weight.new_zeros(len(weight)) if bias is None else bias


@operation(RealStep)
class Stage(Operation):
    """What an operation of a program is to a graph."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class; what no longer moves keeps a place in time, of one frame."""
        sizes, moving = call.sizes[0], call.target.around.gives.moving
        channel, mel = axis(CHANNEL, sizes[1]), axis(MEL, sizes[2])
        axes: Axes = (call.inputs[0].axes[0], channel, mel, axis(TIME if moving else UNIT, sizes[3]))
        return (axes,)

    def reach(self, call: Call) -> Reach | None:
        """See the base class."""
        op = call.target.op
        if isinstance(op, Gather) and not isinstance(op, Last):
            return None
        if not isinstance(op, Window):
            return Reach()
        fill = float("-inf") if isinstance(op, Pool) and op.largest else 0.0
        return Reach(op.span_time, op.stride_time, op.before, op.after, fill)

    def window(self, node: Node) -> Function:
        """See the base class."""
        bare: Function = node.target.unpadded()
        return bare


@operation(RealLayer)
class Recurrent(Stage):
    """A GRU layer."""

    remembers: ClassVar[bool] = True

    def step(self, node: Node) -> Function:
        """See the base class."""
        run: Function = node.target.step
        return run


class RealKws(KwsModel):
    """What an integer model would be if nothing but its weights were rounded.

    Args:
        program: The operations; no GRU among them has factors.
        matrices: Of each operation.
    """

    def __init__(self, program: Program, matrices: Sequence[Matrices]) -> None:
        super().__init__(IntegerSpec(program, 32))
        self.program, shapes = program, shapes_of(program)
        self.steps = nn.ModuleList()
        for at, (op, own) in enumerate(zip(program, matrices, strict=True)):
            around = Around(at, [shapes[one] for one in op.inputs], shapes[at], own, Exact())
            if at:
                self.steps.append(RealLayer(op, around) if isinstance(op, Gru) else RealStep(op, around))

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """See the base class."""
        values, energies = [log_mel.unsqueeze(1)], None
        for op, step in zip(self.program[1:], self.steps, strict=True):
            values.append(step(*(values[one] for one in op.inputs)))
            if isinstance(op, Attend):
                energies = values[op.inputs[0]].flatten(1)
        return ModelOutput(values[-1].flatten(1), energies)
