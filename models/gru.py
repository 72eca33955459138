"""A GRU over log-mel frames, and a classifier on the last of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models.base import KwsModel, ModelOutput, ModelSpec
from models.errors import ModelError
from models.registry import register


@dataclass(frozen=True)
class GruSpec(ModelSpec):
    """Architecture of a ``Gru``.

    Attributes:
        hidden: Units H of each layer.
        layers: Layers.
        dropout: Between layers, in training.
        n_mels: Mel bands M of the input.
        n_classes: Classes K.
    """

    hidden: int = 64
    layers: int = 1
    dropout: float = 0.1
    n_mels: int = 40
    n_classes: int = 2

    def check(self) -> None:
        """See the base class."""
        if min(self.hidden, self.layers) < 1:
            raise ModelError("hidden and layers must be at least 1")


@register("gru", GruSpec(), student=GruSpec(hidden=12))
class Gru(KwsModel):
    """Log-mel (B, M, T) -> GRU -> Linear on the last frame.

    Source: the GRU of Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", 2017, which has one
    layer of 154 to 400 units behind 10 to 40 MFCC, 79 to 500 KB and 93.5 to 94.7 % on the twelve classes of
    Speech Commands v0.01. This one is of no published size: 64 units.
    """

    spec: GruSpec

    def __init__(self, spec: GruSpec) -> None:
        super().__init__(spec)
        dropout = spec.dropout if spec.layers > 1 else 0.0
        self.gru = nn.GRU(spec.n_mels, spec.hidden, spec.layers, batch_first=True, dropout=dropout)
        self.classifier = nn.Linear(spec.hidden, spec.n_classes)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """Whole clips, shape (B, M, T)."""
        outputs, _ = self.gru(log_mel.transpose(1, 2))
        return ModelOutput(self.classifier(outputs[:, -1]), None)
