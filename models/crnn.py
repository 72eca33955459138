"""The attention CRNN of the reference study: convolution, GRU, attention over time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import KwsModel, ModelOutput, ModelSpec
from models.errors import ModelError
from models.registry import register


@dataclass(frozen=True)
class CrnnSpec(ModelSpec):
    """Architecture of a ``Crnn``; the defaults are the uncompressed base.

    Attributes:
        channels: Channels C of the convolution.
        kernel: Its extent on (mel, time).
        stride: Its step on (mel, time).
        hidden: Width H of the GRU and, unless ``attention`` says otherwise, of the attention.
        attention: Width of the attention's inner layer; 0 means ``hidden``.
        layers: GRU layers.
        dropout: Between GRU layers, in training.
        n_mels: Mel bands M of the input.
        n_classes: Classes K.
    """

    channels: int = 8
    kernel: tuple[int, int] = (5, 20)
    stride: tuple[int, int] = (2, 8)
    hidden: int = 64
    attention: int = 0
    layers: int = 2
    dropout: float = 0.1
    n_mels: int = 40
    n_classes: int = 2

    def check(self) -> None:
        """See the base class."""
        if min(self.channels, self.hidden, self.layers, *self.kernel, *self.stride) < 1 or self.attention < 0:
            raise ModelError("channels, hidden, layers, kernel and stride must be at least 1")
        if self.kernel[0] > self.n_mels:
            raise ModelError(f"kernel covers {self.kernel[0]} mel bands, the input has {self.n_mels}")

    @property
    def attention_width(self) -> int:
        """Width of the attention's inner layer."""
        return self.attention or self.hidden

    @property
    def mel_rows(self) -> int:
        """Rows that the convolution leaves of the mel axis."""
        return (self.n_mels - self.kernel[0]) // self.stride[0] + 1


@register(
    "crnn",
    CrnnSpec(),
    student=CrnnSpec(channels=4, kernel=(15, 5), hidden=21),
    aligned=CrnnSpec(channels=2, kernel=(5, 20), hidden=10),
)
class Crnn(KwsModel):
    """Log-mel (B, M, T) -> Conv2d -> GRU -> attention over time -> Linear.

    Source: the attention CRNN for keyword spotting of Shan et al., "Attention-based End-to-End Models
    for Small-Footprint Keyword Spotting", 2018, in the dimensions of the reference study.
    """

    spec: CrnnSpec

    def __init__(self, spec: CrnnSpec) -> None:
        super().__init__(spec)
        self.conv = nn.Conv2d(1, spec.channels, spec.kernel, spec.stride)
        width, dropout = spec.channels * spec.mel_rows, spec.dropout if spec.layers > 1 else 0.0
        self.gru = nn.GRU(width, spec.hidden, spec.layers, batch_first=True, dropout=dropout)
        self.attention = nn.Sequential(
            nn.Linear(spec.hidden, spec.attention_width), nn.Tanh(), nn.Linear(spec.attention_width, 1)
        )
        self.classifier = nn.Linear(spec.hidden, spec.n_classes)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """Whole clips, shape (B, M, T), at least as long as the kernel.

        Raises:
            ModelError: The clips are shorter than the kernel of the convolution.
        """
        if log_mel.shape[-1] < self.spec.kernel[1]:
            raise ModelError(f"clips of {log_mel.shape[-1]} frames; the model needs {self.spec.kernel[1]}")
        frames = self.conv(log_mel.unsqueeze(1)).flatten(1, 2).transpose(1, 2)
        outputs, _ = self.gru(frames)
        energies = self.attention(outputs).squeeze(-1)
        weights = functional.softmax(energies, dim=1)
        context = torch.bmm(weights.unsqueeze(1), outputs).squeeze(1)
        return ModelOutput(self.classifier(context), energies)
