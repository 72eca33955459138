"""The depthwise separable network of MLPerf Tiny."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from models.base import KwsModel, ModelOutput, ModelSpec
from models.errors import ModelError
from models.registry import register

# TensorFlow's "same" for a window of ten frames and a step of two: as many frames come out as steps begin.
BEFORE, AFTER = 4, 5


@dataclass(frozen=True)
class DsCnnSpec(ModelSpec):
    """Architecture of a ``DsCnn``.

    Attributes:
        channels: Channels C of all convolutions.
        blocks: Depthwise separable blocks behind the first convolution.
        pool: Mel bands and frames of which the mean is taken first.
        stride: Step of the first convolution on what that gives; its window is 4 bands by 10 frames.
        n_mels: Mel bands M of the input.
        n_classes: Classes K.
    """

    channels: int = 64
    blocks: int = 4
    pool: tuple[int, int] = (4, 2)
    stride: tuple[int, int] = (2, 2)
    n_mels: int = 40
    n_classes: int = 2

    def check(self) -> None:
        """See the base class."""
        if min(self.channels, *self.pool, *self.stride) < 1 or self.blocks < 0:
            raise ModelError("channels, pool and stride must be at least 1, and blocks at least 0")
        if self.n_mels < 2 * self.pool[0]:
            raise ModelError(f"pool={self.pool[0]} bands leave too few of {self.n_mels}; 2 at least")


class Separable(nn.Module):
    """A filter for each channel, then a mixture of the channels, each with a norm of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.depth_norm = nn.BatchNorm2d(channels)
        self.point = nn.Conv2d(channels, channels, 1)
        self.point_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, M', T') in and out."""
        x = functional.relu(self.depth_norm(self.depth(x)))
        return functional.relu(self.point_norm(self.point(x)))


@register("ds-cnn", DsCnnSpec(), student=DsCnnSpec(channels=16, blocks=3))
class DsCnn(KwsModel):
    """Log-mel (B, M, T) -> mean -> Conv2d -> depthwise separable blocks -> mean over mel and time -> Linear.

    Source: the keyword spotter of MLPerf Tiny (mlcommons/tiny, keras_model.py), a form of the DS-CNN of Zhang
    et al., "Hello Edge", 2017: with twelve classes 23,756 parameters, 2,656,768 MACs on 49 frames of 20 ms,
    and about 92 % on Speech Commands v0.02. It hears 10 MFCC; here the means of 4 mel bands by 2 frames of
    10 ms are as many numbers, of which a second is as many MACs. The reference pools 24 by 5 places and so
    drops the last row of its clip; here the mean is over all there are, which a stream has too.
    """

    spec: DsCnnSpec

    def __init__(self, spec: DsCnnSpec) -> None:
        super().__init__(spec)
        self.pool = nn.AvgPool2d(spec.pool)
        self.conv = nn.Conv2d(1, spec.channels, (4, 10), spec.stride, (1, 0))
        self.norm = nn.BatchNorm2d(spec.channels)
        self.dropout = nn.Dropout(0.2)
        self.blocks = nn.Sequential(*(Separable(spec.channels) for _ in range(spec.blocks)))
        self.last_dropout = nn.Dropout(0.4)
        self.classifier = nn.Linear(spec.channels, spec.n_classes)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """Whole clips, shape (B, M, T)."""
        x = self.conv(functional.pad(self.pool(log_mel.unsqueeze(1)), (BEFORE, AFTER)))
        x = self.blocks(self.dropout(functional.relu(self.norm(x))))
        return ModelOutput(self.classifier(self.last_dropout(x).mean((2, 3))), None)
