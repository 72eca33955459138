"""A module of your own: bench run --plugin examples/model_matchbox.py --model matchbox --chain sq+sp."""

from dataclasses import dataclass

from torch import Tensor, nn

from models.base import N_CLASSES, N_MELS, ModelSpec
from models.registry import register


@dataclass(frozen=True)
class MatchboxSpec(ModelSpec):
    widths: tuple[int, ...] = (64, 32, 32, 32, 64)


def separable(before: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    depth = nn.Conv1d(before, before, kernel, stride, kernel // 2, groups=before, bias=False)
    return nn.Sequential(depth, nn.Conv1d(before, width, 1, bias=False), nn.BatchNorm1d(width))


@register("matchbox", MatchboxSpec())
class Matchbox(nn.Module):
    """After Majumdar and Ginsburg, "MatchboxNet: 1D Time-Channel Separable Convolutional Network", 2020."""

    def __init__(self, spec: MatchboxSpec) -> None:
        super().__init__()
        *widths, last = spec.widths
        self.first = separable(N_MELS, widths[0], 11, 2)
        pairs = list(zip(widths, widths[1:], (13, 15, 17), strict=False))
        self.blocks = nn.ModuleList(separable(*pair) for pair in pairs)
        self.shortcuts = nn.ModuleList(separable(*pair[:2], 1) for pair in pairs)
        self.last = separable(widths[-1], last, 29)
        self.classifier = nn.Linear(last, N_CLASSES)

    def forward(self, log_mel: Tensor) -> Tensor:
        x = self.first(log_mel).relu()
        for block, shortcut in zip(self.blocks, self.shortcuts, strict=True):
            x = (block(x) + shortcut(x)).relu()
        return self.classifier(self.last(x).relu().mean(-1))
