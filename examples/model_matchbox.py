"""A module of your own: bench run --plugin examples/model_matchbox.py --model matchbox --chain sq+sp."""

from dataclasses import dataclass

from torch import Tensor, nn

from models.base import ModelSpec
from models.registry import register


@dataclass(frozen=True)
class MatchboxSpec(ModelSpec):
    widths: tuple[int, ...] = (64, 32, 32, 32, 64)
    n_mels: int = 40
    n_classes: int = 2


def separable(before: int, width: int, kernel: int = 29, stride: int = 1) -> nn.Sequential:
    depth = nn.Conv1d(before, before, kernel, stride, kernel // 2, groups=before, bias=False)
    return nn.Sequential(depth, nn.Conv1d(before, width, 1, bias=False), nn.BatchNorm1d(width))


@register("matchbox", MatchboxSpec())
class Matchbox(nn.Module):
    """After Majumdar and Ginsburg, "MatchboxNet: 1D Time-Channel Separable Convolutional Network", 2020."""

    def __init__(self, spec: MatchboxSpec) -> None:
        super().__init__()
        self.first = separable(spec.n_mels, spec.widths[0], 11, 2)
        pairs = list(zip(spec.widths, spec.widths[1:-1], (13, 15, 17), strict=False))
        self.blocks = nn.ModuleList(separable(*pair) for pair in pairs)
        self.shortcuts = nn.ModuleList(separable(*pair[:2], 1) for pair in pairs)
        self.last, self.classifier = separable(*spec.widths[-2:]), nn.Linear(spec.widths[-1], spec.n_classes)

    def forward(self, log_mel: Tensor) -> Tensor:
        x = self.first(log_mel).relu()
        for block, shortcut in zip(self.blocks, self.shortcuts, strict=True):
            x = (block(x) + shortcut(x)).relu()
        return self.classifier(self.last(x).relu().mean(-1))
