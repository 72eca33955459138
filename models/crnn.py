"""The attention CRNN of the reference study: convolution, GRU, attention over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import N_CLASSES, N_MELS, KwsModel, Member, ModelOutput, ModelSpec, WidthGroup
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
    n_mels: int = N_MELS
    n_classes: int = N_CLASSES

    def check(self) -> None:
        """See the base class."""
        if min(self.channels, self.hidden, self.layers, *self.kernel, *self.stride) < 1 or self.attention < 0:
            raise ModelError("channels, hidden, layers, kernel and stride must be at least 1")
        if self.kernel[0] > self.n_mels:
            raise ModelError(f"kernel covers {self.kernel[0]} mel bands, the input has {self.n_mels}")

    def attention_frames(self, mel_frames: int) -> int:
        """See the base class: the windows of the convolution that fit."""
        return (mel_frames - self.kernel[1]) // self.stride[1] + 1

    @property
    def attention_width(self) -> int:
        """Width of the attention's inner layer."""
        return self.attention or self.hidden

    @property
    def mel_rows(self) -> int:
        """Rows that the convolution leaves of the mel axis."""
        return (self.n_mels - self.kernel[0]) // self.stride[0] + 1


class CrnnState(NamedTuple):
    """A stream's memory; every tensor is new in each state, so several streams can share a model.

    Attributes:
        mel: Frames that the next convolution window still needs, shape (B, M, T).
        hidden: GRU state, shape (layers, B, H).
        energies: Attention energies of the last frames, shape (B, T').
        outputs: GRU outputs of the same frames, shape (B, T', H).
        max_buffer_len: How many of those frames are kept; None for all.
    """

    mel: Tensor
    hidden: Tensor
    energies: Tensor
    outputs: Tensor
    max_buffer_len: int | None


@register("crnn", CrnnSpec())
class Crnn(KwsModel):
    """Log-mel (B, M, T) -> Conv2d -> GRU -> attention over time -> Linear.

    Source: the attention CRNN for keyword spotting of Shan et al., "Attention-based End-to-End Models
    for Small-Footprint Keyword Spotting", 2018, in the dimensions of the reference study.
    """

    spec: CrnnSpec

    def __init__(self, spec: CrnnSpec) -> None:
        super().__init__(spec)
        self.conv = nn.Conv2d(1, spec.channels, spec.kernel, spec.stride)
        self.gru = nn.GRU(
            spec.channels * spec.mel_rows,
            spec.hidden,
            spec.layers,
            batch_first=True,
            dropout=spec.dropout if spec.layers > 1 else 0.0,
        )
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
        outputs, _ = self.gru(self._frames(log_mel))
        energies = self.attention(outputs).squeeze(-1)
        return ModelOutput(self.classifier(_attend(energies, outputs)), energies)

    def _frames(self, log_mel: Tensor) -> Tensor:
        """Convolution, flattened to (channel, mel) per frame: (B, M, T) -> (B, T', C * M')."""
        features: Tensor = self.conv(log_mel.unsqueeze(1))
        return features.flatten(1, 2).transpose(1, 2)

    def init_state(self, batch: int, max_buffer_len: int | None = 24) -> CrnnState:
        """See the base class."""
        if max_buffer_len is not None and max_buffer_len < 1:
            raise ModelError(f"a buffer of {max_buffer_len} frames holds nothing; it must be at least 1")
        spec = self.spec
        return CrnnState(
            mel=torch.zeros(batch, spec.n_mels, 0),
            hidden=torch.zeros(spec.layers, batch, spec.hidden),
            energies=torch.zeros(batch, 0),
            outputs=torch.zeros(batch, 0, spec.hidden),
            max_buffer_len=max_buffer_len,
        )

    def stream(self, chunk: Tensor, state: CrnnState) -> tuple[Tensor, CrnnState]:
        """See the base class. Frames go one by one, so that dynamic quantization, whose scales depend
        on all that a call sees, gives the same however the audio is cut.
        """
        width, step = self.spec.kernel[1], self.spec.stride[1]
        mel = torch.cat([state.mel, chunk], dim=-1)
        logits: list[Tensor] = []
        while mel.shape[-1] >= width:
            frame_logits, state = self._step(mel[..., :width], state)
            logits.append(frame_logits)
            mel = mel[..., step:]
        empty = chunk.new_zeros(chunk.shape[0], 0, self.spec.n_classes)
        return torch.stack(logits, 1) if logits else empty, state._replace(mel=mel.clone())

    def _step(self, window: Tensor, state: CrnnState) -> tuple[Tensor, CrnnState]:
        """One convolution window (B, M, kernel) -> logits (B, K) after it."""
        output, hidden = self.gru(self._frames(window), state.hidden)
        energy = self.attention(output).squeeze(-1)
        keep = slice(None) if state.max_buffer_len is None else slice(-state.max_buffer_len, None)
        energies = torch.cat([state.energies, energy], 1)[:, keep]
        outputs = torch.cat([state.outputs, output], 1)[:, keep]
        logits = self.classifier(_attend(energies, outputs))
        return logits, state._replace(hidden=hidden, energies=energies, outputs=outputs)

    def width_groups(self) -> tuple[WidthGroup, ...]:
        """Convolution channels, units of each GRU layer, units of the attention's inner layer."""
        spec = self.spec
        readers = [Member("attention.0.weight", 1), Member("classifier.weight", 1)]
        gru = [
            WidthGroup(f"gru.{layer}", "hidden", spec.hidden, (*_gru_members(layer), *following))
            for layer, following in enumerate(
                [[Member(f"gru.weight_ih_l{n}", 1)] for n in range(1, spec.layers)] + [readers]
            )
        ]
        conv = (
            Member("conv.weight", 0),
            Member("conv.bias", 0),
            Member("gru.weight_ih_l0", 1, block=spec.mel_rows),
        )
        inner = (
            Member("attention.0.weight", 0),
            Member("attention.0.bias", 0),
            Member("attention.2.weight", 1),
        )
        return (
            WidthGroup("conv", "channels", spec.channels, conv),
            *gru,
            WidthGroup("attention", "attention", spec.attention_width, inner),
        )


def _gru_members(layer: int) -> tuple[Member, ...]:
    """A GRU unit's own parameters: its row in the three gates (r, z, n), its column in the recurrence."""
    rows = tuple(
        Member(f"gru.{name}_l{layer}", 0, repeats=3)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return (*rows, Member(f"gru.weight_hh_l{layer}", 1))


def _attend(energies: Tensor, outputs: Tensor) -> Tensor:
    """Outputs (B, T', H) weighted by the softmax of the energies (B, T') over time: (B, H)."""
    return torch.bmm(functional.softmax(energies, dim=1).unsqueeze(1), outputs).squeeze(1)
