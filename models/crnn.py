"""The attention CRNN of the reference study: convolution, GRU, attention over time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
        frames = self.conv(log_mel.unsqueeze(1)).flatten(1, 2).transpose(1, 2)
        outputs, _ = self.gru(frames)
        energies = self.attention(outputs).squeeze(-1)
        weights = functional.softmax(energies, dim=1)
        context = torch.bmm(weights.unsqueeze(1), outputs).squeeze(1)
        return ModelOutput(self.classifier(context), energies)


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
