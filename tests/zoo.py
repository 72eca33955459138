"""Models for tests: every registered family, the examples, and some that hold what families are made of."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import registry
from models.base import KwsModel, ModelOutput, ModelSpec
from models.crnn import CrnnSpec
from models.factored import built


@dataclass(frozen=True)
class ResidualSpec(ModelSpec):
    widths: tuple[int, ...] = (6, 8, 5)


class Residual(KwsModel):
    """Mel bands as channels; a shortcut with a convolution, one without, norms, padding in time."""

    def __init__(self, spec: ResidualSpec) -> None:
        super().__init__(spec)
        one, two, inner = spec.widths
        self.first = nn.Conv1d(40, one, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in (one, inner, two, two, two))
        self.main = nn.ModuleList(
            [
                nn.Conv1d(one, inner, 9, stride=2, padding=4, bias=False),
                nn.Conv1d(inner, two, 9, padding=4, bias=False),
            ]
        )
        self.shortcut = nn.Conv1d(one, two, 1, stride=2, bias=False)
        self.last = nn.Conv1d(two, two, 3, padding="same", dilation=2)
        self.classifier = nn.Linear(two, 2)

    def frames(self, log_mel: Tensor) -> Tensor:
        x = functional.relu(self.norms[0](self.first(log_mel)))
        y = functional.relu6(self.norms[1](self.main[0](x)))
        y = self.norms[2](self.main[1](y))
        y += functional.relu(self.norms[3](self.shortcut(x)))
        return functional.silu(self.norms[4](self.last(y))) + y

    def decide(self, frames: Tensor) -> Tensor:
        return self.classifier(frames.mean(-1))

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.decide(self.frames(log_mel)), None)


@dataclass(frozen=True)
class DepthwiseSpec(ModelSpec):
    channels: int = 8
    wide: int = 6


class Depthwise(KwsModel):
    """Depthwise and pointwise on (mel, time) as an image, pools, a gate over time, a flatten."""

    def __init__(self, spec: DepthwiseSpec) -> None:
        super().__init__(spec)
        wide = spec.channels
        self.stem = nn.Sequential(
            nn.Conv2d(1, wide, (10, 4), (2, 2), (4, 1)), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)
        )
        self.depth = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.twice = nn.Conv2d(wide, 2 * wide, (3, 1), groups=wide)
        self.norm = nn.BatchNorm2d(2 * wide)
        self.point = nn.Conv2d(2 * wide, spec.wide, 1)
        self.pool = nn.MaxPool2d((2, 3), (2, 2), (0, 1))
        self.gate = nn.Conv2d(spec.wide, spec.wide, 1)
        self.classifier = nn.Linear(spec.wide * 8, 2)

    def frames(self, log_mel: Tensor) -> Tensor:
        x = self.stem(log_mel.unsqueeze(1))
        x = torch.sigmoid(self.norm(self.twice(self.depth(x))))
        return self.pool(self.point(x))

    def decide(self, frames: Tensor) -> Tensor:
        x = frames * torch.sigmoid(self.gate(frames.mean((2, 3), keepdim=True)))
        return self.classifier(x[:, :, 1:].mean(3).flatten(1))

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.decide(self.frames(log_mel)), None)


@dataclass(frozen=True)
class CausalSpec(ModelSpec):
    width: int = 6
    side: int = 4
    hidden: int = 5


class Causal(KwsModel):
    """Causal dilated convolutions, a concatenation, a scale of its own, a GRU, attention written out."""

    def __init__(self, spec: CausalSpec) -> None:
        super().__init__(spec)
        both = spec.width + spec.side
        self.scale = nn.Parameter(torch.rand(spec.width, 1) + 0.5)
        self.left = nn.Conv1d(40, spec.width, 3, dilation=2)
        self.right = nn.Conv1d(40, spec.side, 5, padding=2)
        self.mix = nn.Conv1d(both, both, 1)
        self.norm = nn.BatchNorm1d(both)
        self.gru = nn.GRU(both, spec.hidden, batch_first=True)
        self.energy = nn.Linear(spec.hidden, 1)
        self.classifier = nn.Linear(2 * spec.hidden, 2)

    def frames(self, log_mel: Tensor) -> Tensor:
        return self._heard(log_mel)[0]

    def decide(self, frames: Tensor) -> Tensor:
        return self._decided(frames, frames[:, -1])

    def _decided(self, outputs: Tensor, state: Tensor) -> Tensor:
        weighted = (torch.softmax(self.energy(outputs), 1) * outputs).sum(1)
        return self.classifier(torch.cat([weighted, state], -1))

    def _heard(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        left = self.left(functional.pad(log_mel, (4, 0))) * self.scale
        x = torch.cat([left, self.right(log_mel)], dim=1)
        x = torch.tanh(self.norm(self.mix(x) + x))
        batch, channels, frames = x.shape
        return self.gru(x.permute(0, 2, 1).reshape(batch, frames, channels))

    def forward(self, log_mel: Tensor) -> ModelOutput:
        outputs, state = self._heard(log_mel)
        return ModelOutput(self._decided(outputs, state[-1]), self.energy(outputs).squeeze(-1))


@dataclass(frozen=True)
class SplitSpec(ModelSpec):
    channels: int = 6


class Split(KwsModel):
    """A norm of its own for each fifth of the mel axis, a mean over mel that is added back, no padding."""

    def __init__(self, spec: SplitSpec) -> None:
        super().__init__(spec)
        self.first = nn.Conv2d(1, spec.channels, (1, 3), (2, 1))
        self.norm = nn.BatchNorm2d(5 * spec.channels)
        self.along = nn.Conv2d(spec.channels, spec.channels, (1, 3), groups=spec.channels, dilation=(1, 2))
        self.last = nn.Conv2d(spec.channels, 2, 1)

    def frames(self, log_mel: Tensor) -> Tensor:
        x = self.first(log_mel[:, None])
        batch, channels, mels, frames = x.shape
        x = self.norm(x.view(batch, channels * 5, mels // 5, frames)).view(batch, channels, mels, frames)
        x = self.along(x)
        return functional.relu(x + x.mean(2, keepdim=True))

    def decide(self, frames: Tensor) -> Tensor:
        return self.last(frames.mean((2, 3), keepdim=True)).flatten(1)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.decide(self.frames(log_mel)), None)


for example in ("model_matchbox", "operation_prelu"):
    importlib.import_module(f"examples.{example}")

OWN: dict[type[ModelSpec], Callable[..., KwsModel]] = {
    ResidualSpec: Residual,
    DepthwiseSpec: Depthwise,
    CausalSpec: Causal,
    SplitSpec: Split,
}
# Wide enough that the factors of what is cut to a third are still smaller than the matrices.
FACTORED: list[ModelSpec] = [
    CrnnSpec(channels=2, hidden=16, input_rank=2, recurrent_rank=2),
    ResidualSpec((18, 24, 15), layer_ranks=(2, 0)),
    DepthwiseSpec(16, 24, layer_ranks=(3, 2, 0)),
    CausalSpec(12, 9, 15, input_rank=2, recurrent_rank=2, layer_ranks=(2, 0, 0)),
]
SPECS: list[ModelSpec] = [
    *(registry.family(name).default for name in registry.names()),
    CrnnSpec(channels=3, hidden=7, attention=5, layers=3),
    *(spec() for spec in OWN),
    *FACTORED,
]


def model_of(spec: ModelSpec, seed: int = 0) -> KwsModel:
    """A model with norms that have seen something, in evaluation mode."""
    torch.manual_seed(seed)
    model = built(OWN[type(spec)], spec) if type(spec) in OWN else registry.build(spec)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return model.eval()


def name_of(spec: ModelSpec) -> str:
    """A short name for a test."""
    changed = [field.name for field in fields(spec) if getattr(spec, field.name) != field.default]
    return "-".join([type(spec).__name__.removesuffix("Spec").lower(), *changed])
