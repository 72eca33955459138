"""The attention CRNN of the reference study: convolution, GRU, attention over time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import (
    ADDED_LATER,
    N_CLASSES,
    N_MELS,
    KwsModel,
    ModelOutput,
    ModelSpec,
)
from models.errors import ModelError
from models.factored import FactoredGru
from models.registry import register


def _most_rank(rows: int, columns: int) -> int:
    """The greatest rank whose two factors hold fewer numbers than the matrix."""
    return (rows * columns - 1) // (rows + columns)


def _check_rank(name: str, rank: int, most: int) -> None:
    if not 0 <= rank <= most:
        raise ModelError(
            f"{name}={rank} makes the GRU no smaller; 1 to {most} do, and 0 keeps its matrices whole"
        )


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
        input_rank: Rank of the GRU's matrices that read the layer below, as two factors; 0: whole matrices.
        recurrent_rank: Rank of those that read the state.
        sparsity: Share of a factored GRU's weights that is zero and not stored.
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
    input_rank: int = field(default=0, metadata=ADDED_LATER)
    recurrent_rank: int = field(default=0, metadata=ADDED_LATER)
    sparsity: float = field(default=0.0, metadata=ADDED_LATER)

    def check(self) -> None:
        """See the base class."""
        if min(self.channels, self.hidden, self.layers, *self.kernel, *self.stride) < 1 or self.attention < 0:
            raise ModelError("channels, hidden, layers, kernel and stride must be at least 1")
        if self.kernel[0] > self.n_mels:
            raise ModelError(f"kernel covers {self.kernel[0]} mel bands, the input has {self.n_mels}")
        inputs = [self.channels * self.mel_rows] + [self.hidden] * (self.layers > 1)
        most = min(_most_rank(3 * self.hidden, width) for width in inputs)
        _check_rank("input_rank", self.input_rank, most)
        _check_rank("recurrent_rank", self.recurrent_rank, _most_rank(3 * self.hidden, self.hidden))
        # Where the weights stand takes a bit for each, and each takes 32.
        if self.sparsity and not (self.factored and 1 / 32 < self.sparsity < 1):
            raise ModelError(f"sparsity={self.sparsity:g} needs a factored GRU, and to be in (1/32, 1)")

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

    @property
    def factored(self) -> bool:
        """Whether any of the GRU's matrices are products of two."""
        return bool(self.input_rank or self.recurrent_rank)


class CrnnState(NamedTuple):
    """A stream's memory; every tensor is new in each state, so several streams can share a model.

    Attributes:
        mel: Frames that the next convolution window still needs, shape (B, M, T).
        hidden: GRU state, shape (layers, B, H).
        energies: Attention energies of the last frames, shape (B, T').
        outputs: GRU outputs of the same frames, shape (B, T', H).
        max_buffer_len: How many of those frames are kept; None for all.
        skip: Frames to come that no window needs, where the stride is longer than the kernel.
    """

    mel: Tensor
    hidden: Tensor
    energies: Tensor
    outputs: Tensor
    max_buffer_len: int | None
    skip: int = 0


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
        self.gru = _gru(spec)
        self.attention = nn.Sequential(
            nn.Linear(spec.hidden, spec.attention_width), nn.Tanh(), nn.Linear(spec.attention_width, 1)
        )
        self.classifier = nn.Linear(spec.hidden, spec.n_classes)

    def start_from(self, trained: nn.Module) -> None:
        """See the base class; factors start from the truncated SVD of the trained matrices."""
        same_but_whole = isinstance(trained, Crnn) and trained.spec == _whole_spec(self.spec)
        if not isinstance(self.gru, FactoredGru) or not same_but_whole:
            return super().start_from(trained)
        weights = trained.state_dict()
        gru = {name.removeprefix("gru."): weights.pop(name) for name in list(weights) if name[:4] == "gru."}
        self.gru.load_whole(gru)
        self.load_state_dict(weights, strict=False)
        return None

    def whole(self) -> Crnn:
        """A model with whole GRU matrices that computes the same; itself where it has them already."""
        if not isinstance(self.gru, FactoredGru):
            return self
        weights = {name: tensor for name, tensor in self.state_dict().items() if name[:4] != "gru."}
        weights |= {f"gru.{name}": tensor for name, tensor in self.gru.whole_weights().items()}
        with torch.random.fork_rng(devices=[]):
            model = Crnn(_whole_spec(self.spec))
        model.load_state_dict(weights)
        return model.eval()

    def input_factors(self) -> list[tuple[Tensor, Tensor]]:
        """The two factors of each GRU matrix that reads the layer below; empty where those are whole."""
        return self.gru.input_factors() if isinstance(self.gru, FactoredGru) else []

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
        mel, at = torch.cat([state.mel, chunk], dim=-1), state.skip
        logits: list[Tensor] = []
        while mel.shape[-1] >= at + width:
            frame_logits, state = self._step(mel[..., at : at + width], state)
            logits.append(frame_logits)
            at += step
        empty = chunk.new_zeros(chunk.shape[0], 0, self.spec.n_classes)
        after = state._replace(mel=mel[..., at:].clone(), skip=max(0, at - mel.shape[-1]))
        return torch.stack(logits, 1) if logits else empty, after

    def _step(self, window: Tensor, state: CrnnState) -> tuple[Tensor, CrnnState]:
        """One convolution window (B, M, kernel) -> logits (B, K) after it."""
        output, hidden = self.gru(self._frames(window), state.hidden)
        energy = self.attention(output).squeeze(-1)
        keep = slice(None) if state.max_buffer_len is None else slice(-state.max_buffer_len, None)
        energies = torch.cat([state.energies, energy], 1)[:, keep]
        outputs = torch.cat([state.outputs, output], 1)[:, keep]
        logits = self.classifier(_attend(energies, outputs))
        return logits, state._replace(hidden=hidden, energies=energies, outputs=outputs)


def _gru(spec: CrnnSpec) -> nn.GRU | FactoredGru:
    width, dropout = spec.channels * spec.mel_rows, spec.dropout if spec.layers > 1 else 0.0
    if not spec.factored:
        return nn.GRU(width, spec.hidden, spec.layers, batch_first=True, dropout=dropout)
    return FactoredGru(
        width,
        spec.hidden,
        spec.layers,
        input_rank=spec.input_rank,
        recurrent_rank=spec.recurrent_rank,
        sparsity=spec.sparsity,
        dropout=dropout,
    )


def _whole_spec(spec: CrnnSpec) -> CrnnSpec:
    return replace(spec, input_rank=0, recurrent_rank=0, sparsity=0.0)


def _attend(energies: Tensor, outputs: Tensor) -> Tensor:
    """Outputs (B, T', H) weighted by the softmax of the energies (B, T') over time: (B, H)."""
    return torch.bmm(functional.softmax(energies, dim=1).unsqueeze(1), outputs).squeeze(1)
