"""Weights stored in half precision: bench run --plugin examples/compressor_half.py --chain hf+kd."""

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from compressors.base import Compressor, Phase
from compressors.registry import register
from models.base import KwsModel, ModelOutput


class HalfStored(KwsModel):
    """Keeps the weights of a model in 16 bits and computes in 32."""

    def __init__(self, model: KwsModel) -> None:
        super().__init__(model.spec)
        self.stored = deepcopy(model).half()

    def running(self) -> KwsModel:
        return deepcopy(self.stored).float()

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return self.running()(log_mel)


@register
@dataclass(frozen=True)
class HalfPrecision(Compressor):
    token: ClassVar[str] = "hf"
    summary: ClassVar[str] = "example: weights stored in half precision"
    phase: ClassVar[Phase] = Phase.CONVERT

    def convert(self, model: KwsModel) -> KwsModel:
        return HalfStored(model).eval()
