"""TC-ResNet8: mel bands are channels, and convolutions run along time alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from models.base import KwsModel, ModelOutput, ModelSpec
from models.errors import ModelError
from models.registry import register


@dataclass(frozen=True)
class TcResNetSpec(ModelSpec):
    """Architecture of a ``TcResNet``.

    Attributes:
        widths: Channels C of the first convolution, and of each block. Those of TC-ResNet8-1.5 are
            (24, 36, 48, 72).
        kernel: Frames of a block's convolutions, odd.
        dropout: Before the classifier, in training.
        n_mels: Mel bands M of the input.
        n_classes: Classes K.
    """

    widths: tuple[int, ...] = (16, 24, 32, 48)
    kernel: int = 9
    dropout: float = 0.5
    n_mels: int = 40
    n_classes: int = 2

    def check(self) -> None:
        """See the base class."""
        if min(self.widths, default=0) < 1:
            raise ModelError(
                "widths must be at least 1, one for the first convolution and one for each block"
            )
        if self.kernel % 2 == 0 or self.kernel < 1:
            raise ModelError(f"kernel={self.kernel} must be odd, so that a block's two ways stay in step")


class Block(nn.Module):
    """Two convolutions, of which the first goes on by two frames, beside a shortcut that does the same."""

    def __init__(self, before: int, width: int, kernel: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(before, width, kernel, 2, kernel // 2, bias=False)
        self.first_norm = nn.BatchNorm1d(width)
        self.second = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.second_norm = nn.BatchNorm1d(width)
        self.shortcut = nn.Conv1d(before, width, 1, 2, bias=False)
        self.shortcut_norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, T) to (B, C', T / 2), rounded up."""
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return functional.relu(y + functional.relu(self.shortcut_norm(self.shortcut(x))))


@register("tc-resnet8", TcResNetSpec(), student=TcResNetSpec((5, 7, 10, 14)))
class TcResNet(KwsModel):
    """Log-mel (B, M, T) -> Conv1d -> blocks, each at half the rate -> mean over time -> Linear.

    Source: Choi et al., "Temporal Convolution for Real-time Keyword Spotting on Mobile Devices", 2019, as
    its code has it (hyperconnect/TC-ResNet): 65,168 parameters with twelve classes, 1,522,560 MACs on 98
    frames of 40 MFCC, and 96.1 % on Speech Commands v0.01; with one and a half times the widths 144,264,
    3.28 million and 96.2 %. Here it hears log-mel frames, and a window stands in the middle of its frame,
    where TensorFlow's "same" puts it half a step later.
    """

    spec: TcResNetSpec

    def __init__(self, spec: TcResNetSpec) -> None:
        super().__init__(spec)
        self.conv = nn.Conv1d(spec.n_mels, spec.widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(spec.widths[0])
        self.blocks = nn.Sequential(*(Block(*pair, spec.kernel) for pair in pairwise(spec.widths)))
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.widths[-1], spec.n_classes, bias=False)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """Whole clips, shape (B, M, T)."""
        x = self.blocks(functional.relu(self.norm(self.conv(log_mel))))
        return ModelOutput(self.classifier(self.dropout(x.mean(-1))), None)
