"""BC-ResNet: a mean over mel, filtered along time, is broadcast back over mel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from torch import Tensor, nn
from torch.nn import functional

from models.base import KwsModel, ModelOutput, ModelSpec
from models.errors import ModelError
from models.registry import register

# Parts of the mel axis that have norms of their own, and the steps on it of the stages.
SUB_BANDS = 5
MEL_STEPS = (1, 2, 2, 1)


@dataclass(frozen=True)
class BcResNetSpec(ModelSpec):
    """Architecture of a ``BcResNet``.

    Attributes:
        width: The factor tau of the published models: .625, 1, 1.5, 2, 3, 6 or 8.
        channels: Channels C of the first convolution, each stage and the last one; empty: by ``width``.
        blocks: Blocks of each stage.
        n_mels: Mel bands M of the input.
        n_classes: Classes K.
    """

    width: float = 1.0
    channels: tuple[int, ...] = ()
    blocks: tuple[int, ...] = (2, 2, 4, 4)
    n_mels: int = 40
    n_classes: int = 2

    def check(self) -> None:
        """See the base class."""
        if not 1 / 8 <= self.width <= 64 or (self.channels and self.width != 1):
            raise ModelError("width must be from 0.125 to 64, and 1 where channels are given")
        sizes = (len(self.blocks), len(self.channels or range(6)))
        if sizes != (4, 6) or min(self.blocks + self.channels) < 1:
            raise ModelError("blocks must be four numbers and channels six or none, each at least 1")
        if self.n_mels < 1 or self.n_mels % (8 * SUB_BANDS):
            raise ModelError(f"n_mels={self.n_mels} must be a multiple of {8 * SUB_BANDS}")

    def written_out(self) -> Self:
        """See the base class."""
        base = int(8 * self.width)
        widths = (2 * base, base, int(1.5 * base), 2 * base, int(2.5 * base), 4 * base)
        return self if self.channels else replace(self, width=1.0, channels=widths)


class Block(nn.Module):
    """Along mel, then the mean over mel along time; the first of a stage changes the width ``before``."""

    def __init__(self, before: int | None, width: int, mel_step: int, dilation: int) -> None:
        super().__init__()
        self.change = None if before is None else _point(before, width)
        self.along_mel = nn.Conv2d(width, width, (3, 1), (mel_step, 1), (1, 0), groups=width, bias=False)
        self.mel_norm = nn.BatchNorm2d(width * SUB_BANDS)
        pad, apart = (0, dilation), (1, dilation)
        self.along_time = nn.Conv2d(width, width, (1, 3), 1, pad, apart, width, bias=False)
        self.time_norm = nn.BatchNorm2d(width)
        self.mix = nn.Conv2d(width, width, 1, bias=False)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, M', T) to (B, C', M'', T)."""
        y = self.along_mel(x if self.change is None else functional.relu(self.change(x)))
        batch, _, mels, frames = y.shape
        y = self.mel_norm(y.view(batch, -1, mels // SUB_BANDS, frames)).view(y.shape)
        mean = functional.silu(self.time_norm(self.along_time(y.mean(2, keepdim=True))))
        y = y + self.dropout(self.mix(mean))
        return functional.relu(y if self.change is not None else y + x)


def _point(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width))


@register("bc-resnet", BcResNetSpec(), student=BcResNetSpec(width=0.25, blocks=(1, 1, 1, 2)))
class BcResNet(KwsModel):
    """Log-mel (B, M, T) -> Conv2d -> four stages of blocks -> Conv2d over mel -> mean over time -> Conv2d.

    Source: Kim et al., "Broadcasted Residual Learning for Efficient Keyword Spotting", 2021, as its code has
    it (Qualcomm-AI-research/bcresnet). Parameters with twelve classes, and accuracy on Speech Commands
    v0.01 and v0.02: .625 has 4,585 and 95.2, 95.4 %; 1 has 9,232 and 96.6, 96.9 %; 8 has 321,068 and 98.0,
    98.7 %. A second is 3.6 million MACs of BC-ResNet-1 as published, 2.48 million of them its convolutions'.
    """

    spec: BcResNetSpec

    def __init__(self, spec: BcResNetSpec) -> None:
        super().__init__(spec)
        first, *widths, last = spec.written_out().channels
        self.conv = nn.Conv2d(1, first, 5, (2, 1), 2, bias=False)
        self.norm = nn.BatchNorm2d(first)
        blocks: list[Block] = []
        for at, (before, width) in enumerate(pairwise([first, *widths])):
            blocks.append(Block(before, width, MEL_STEPS[at], 2**at))
            blocks += [Block(None, width, 1, 2**at) for _ in range(1, spec.blocks[at])]
        self.stages = nn.Sequential(*blocks)
        self.over_mel = nn.Conv2d(width, width, 5, padding=(0, 2), groups=width, bias=False)
        self.last = _point(width, last)
        self.classifier = nn.Conv2d(last, spec.n_classes, 1)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """Whole clips, shape (B, M, T)."""
        x = functional.relu(self.norm(self.conv(log_mel.unsqueeze(1))))
        x = functional.relu(self.last(self.over_mel(self.stages(x))))
        return ModelOutput(self.classifier(x.mean((2, 3), keepdim=True)).flatten(1), None)
