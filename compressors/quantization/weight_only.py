"""The float fallback: rounded weights for models whose arithmetic has no integer form."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from models.base import KwsModel, ModelOutput
from models.errors import ChainError
from models.integer.formats import LEAST_SCALE

ROUNDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.GRU)


def refuse_layers(token: str, model: KwsModel, reason: str, fallback: bool) -> None:
    """Refuses a model that would stay in float, in part or as a whole, unless that is asked for.

    Raises:
        ChainError: Why it has no integer form, and what would round its weights alone.
    """
    if fallback and any(isinstance(module, ROUNDED) for module in model.modules()):
        return
    hint = "no layer is left to round" if fallback else "fallback=true rounds its weights alone"
    raise ChainError(f"{token}: in {type(model).__name__}, {reason}; {hint}")


class RoundedWeights(KwsModel):
    """Keeps weight matrices as integers with a half-precision scale a row, and computes in float.

    Args:
        model: A float model.
        bits: Width of a weight; each is kept in a whole byte.
    """

    def __init__(self, model: KwsModel, bits: int) -> None:
        super().__init__(model.spec)
        top, kept = 2 ** (bits - 1) - 1, deepcopy(model).requires_grad_(False)
        self._names = [
            f"{prefix}.{name}"
            for prefix, module in kept.named_modules()
            if isinstance(module, ROUNDED)
            for name, parameter in module.named_parameters(recurse=False)
            if parameter.dim() > 1
        ]
        for name in self._names:
            weight = kept.get_parameter(name)
            scale = (weight.flatten(1).abs().amax(1) / top).clamp_min(LEAST_SCALE).half()
            wide = scale.float().view(-1, *[1] * (weight.dim() - 1))
            key = name.replace(".", "_")
            self.register_buffer(f"{key}_whole", (weight / wide).round().clamp(-top, top).to(torch.int8))
            self.register_buffer(f"{key}_scale", scale)
            weight.data = torch.zeros(0)
        self._kept = [kept]  # in a list: its own weights are saved here by name, the rounded ones once
        for name, parameter in kept.named_parameters():
            if parameter.numel():
                self.register_buffer(name.replace(".", "_"), parameter.data)

    def running(self) -> KwsModel:
        """See the base class."""
        model = deepcopy(self._kept[0])
        for name in self._names:
            key = name.replace(".", "_")
            whole, scale = self.get_buffer(f"{key}_whole"), self.get_buffer(f"{key}_scale").float()
            model.get_parameter(name).data = whole * scale.view(-1, *[1] * (whole.dim() - 1))
        return model.eval()

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """See the base class."""
        output: ModelOutput = self.running()(log_mel)
        return output
