"""A model that rounds in float as its integer form does in integers, and learns through it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import KwsModel, ModelOutput
from models.graph.fold import folded, unfolded
from models.integer.formats import LEAST_SCALE
from models.integer.lowering import Lowered
from models.integer.model import PRE, Format, formats_of, state_format
from models.integer.ops import Gives, Rounding
from models.integer.real import Exact, run

# Bits of each matrix of each operation.
Widths = tuple[tuple[int, ...], ...]


def fake_rows(weight: Tensor, bits: int) -> Tensor:
    """Each row rounded to its own scale in half precision; gradients pass as if it were not.

    Args:
        weight: Shape (out, ...).
        bits: Width of an integer.
    """
    top = 2 ** (bits - 1) - 1
    scale = (weight.detach().flatten(1).abs().amax(1) / top).clamp_min(LEAST_SCALE).half().float()
    zero = torch.zeros_like(scale, dtype=torch.int32)
    rounded: Tensor = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -top, top)
    return rounded


def fake_fixed(values: Tensor, form: Format) -> Tensor:
    """Rounded to multiples of a step and limited to signed integers; gradients pass within the limits."""
    low = -(2 ** (form.bits - 1))
    rounded: Tensor = torch.fake_quantize_per_tensor_affine(values, form.step, form.zero, low, -low - 1)
    return rounded


class Fake(Exact):
    """Rounds where the integer model rounds.

    Args:
        lowered: The program.
        widths: Bits of its matrices.
        activations: Bits of what its operations hand to each other.
        steps: One unit of the results that have a step of their own.
    """

    exact = False

    def __init__(
        self, lowered: Lowered, widths: Widths, activations: int, steps: Mapping[int, float]
    ) -> None:
        self._lowered, self._widths, self._state = lowered, widths, state_format(activations)
        self._inner = {at: Format(step, activations) for at, step in steps.items()}
        self._formats = formats_of(lowered.program, activations, steps)
        self.training = False

    def heard(self, log_mel: Tensor) -> Tensor:
        """See the base class."""
        return fake_fixed(log_mel, self._formats[0])

    def weight(self, at: int, number: int, weight: Tensor) -> Tensor:
        """See the base class."""
        return fake_rows(weight, self._widths[at][number])

    def result(self, at: int, values: Tensor) -> Tensor:
        """See the base class; what is 16 bits and more wide is left as it is."""
        op = self._lowered.program[at]
        if isinstance(op, Rounding) and op.gives is Gives.STEP:
            values = fake_fixed(values, self._formats[at])
        dropout = self._lowered.dropouts.get(at)
        if dropout is None or not self.training:
            return values
        left_out = functional.dropout2d if dropout.channels else functional.dropout
        return left_out(values, dropout.share)

    def inner(self, at: int, values: Tensor) -> Tensor:
        """See the base class."""
        return fake_fixed(values, self._inner[at])

    def pre(self, values: Tensor) -> Tensor:
        """See the base class."""
        return fake_fixed(values, PRE)

    def state(self, values: Tensor) -> Tensor:
        """See the base class."""
        return fake_fixed(values, self._state)


class RoundingModel(KwsModel):
    """A model in training for its integer form: its weights, norms folded, rounded in use.

    Attributes:
        plain: The folded model, whose weights are trained.
        lowered: Its program.
        widths: Bits of its matrices.
        activations: Bits of what its operations hand to each other.
        steps: One unit of the results that have a step of their own; halves, as the file stores them.
    """

    def __init__(
        self, model: KwsModel, lowered: Lowered, widths: Widths, activations: int, steps: Mapping[int, float]
    ) -> None:
        super().__init__(model.spec)
        self._model = [model]  # in a list: its weights are not trained
        self.plain, self.lowered = folded(model), lowered
        self.widths, self.activations, self.steps = widths, activations, dict(steps)
        self._fake = Fake(lowered, widths, activations, steps)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """Whole clips, as the integer model hears them."""
        self._fake.training = self.training
        matrices = self.lowered.matrices(self.plain)
        return ModelOutput(*run(self.lowered.program, matrices, log_mel, self._fake))

    def float_form(self) -> KwsModel:
        """The same weights, not rounded, in ordinary layers; what was not trained is as it was."""
        (model,) = self._model
        before, after = folded(model).state_dict(), self.plain.state_dict()
        if all(torch.equal(tensor, after[name]) for name, tensor in before.items()):
            return model
        found: nn.Module = unfolded(model, self.plain)
        assert isinstance(found, KwsModel)
        return found.train(self.training)
