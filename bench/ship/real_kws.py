"""The real numbers that a program's weights stand for, under the contract of every keyword spotter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from models.base import KwsModel, ModelOutput
from models.graph.ops import operation
from models.integer.kws import IntegerSpec, Recurrent, Step
from models.integer.lowering import Matrices
from models.integer.ops import Attend, Gru, Op, Program, Window, shapes_of
from models.integer.real import Around, Exact, compute


class RealStep(Step):
    """One operation on real numbers."""

    def __init__(self, op: Op, around: Around) -> None:
        super().__init__(op, moving=around.gives.moving, zero=0.0, least=float("-inf"))
        self.around = around

    def forward(self, *given: Tensor) -> Tensor:
        """All frames."""
        return compute(self.op, given, self.around)

    def unpadded(self) -> RealStep:
        """See the base class."""
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


operation(RealLayer)(Recurrent)


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
