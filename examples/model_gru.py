"""A GRU without attention: bench run --plugin examples/model_gru.py --model gru --chain dq."""

from dataclasses import dataclass

from torch import Tensor, nn

from models.base import N_CLASSES, N_MELS, KwsModel, ModelOutput, ModelSpec
from models.registry import register


@dataclass(frozen=True)
class GruSpec(ModelSpec):
    hidden: int = 24


@register("gru", GruSpec())
class Gru(KwsModel):
    """Says after every frame what it has heard so far."""

    spec: GruSpec

    def __init__(self, spec: GruSpec) -> None:
        super().__init__(spec)
        self.gru = nn.GRU(N_MELS, spec.hidden, batch_first=True)
        self.classifier = nn.Linear(spec.hidden, N_CLASSES)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        outputs, _ = self.gru(log_mel.transpose(1, 2))
        return ModelOutput(self.classifier(outputs[:, -1]), energies=None)
