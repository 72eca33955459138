from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from models import registry
from models.base import KwsModel, ModelOutput, ModelSpec
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.graph.frames import frames_of
from models.gru import GruSpec
from models.registry import build
from tests.zoo import (
    SPECS,
    CausalSpec,
    DepthwiseSpec,
    ResidualSpec,
    SplitSpec,
    model_of,
    name_of,
)

# By hand: the last layer that the forward reads before it gives time up, and its frames of 101.
LAST = {
    CrnnSpec(): ("gru", 11),
    CrnnSpec(channels=4, kernel=(15, 5), hidden=21): ("gru", 13),
    GruSpec(): ("gru", 101),
    ResidualSpec(): ("norms.4", 51),
    DepthwiseSpec(): ("pool", 25),
    CausalSpec(): ("gru", 101),
    SplitSpec(): ("along", 95),
}


pytestmark = pytest.mark.usefixtures("zoo_registered")


@pytest.mark.parametrize("spec", LAST, ids=name_of)
def test_the_last_layer_over_time(spec: ModelSpec) -> None:
    found = frames_of(spec)
    assert found.last is not None
    assert (found.last, found.layers[found.last].frames) == LAST[spec]


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_frames_are_those_that_a_clip_leaves(spec: ModelSpec) -> None:
    """Of every layer, as hooks see it, and of the energies, as the forward gives them."""
    model, found, seen = model_of(spec), frames_of(spec), {}
    for path in found.layers:
        model.get_submodule(path).register_forward_hook(
            lambda _layer, _inputs, output, path=path: seen.__setitem__(path, output)
        )
    with torch.no_grad():
        energies = model(torch.randn(2, 40, 101)).energies
    assert found.energies == (None if energies is None else energies.shape[1])
    assert seen.keys() == found.layers.keys()
    for path, layer in found.layers.items():
        output = seen[path][0] if isinstance(seen[path], tuple) else seen[path]
        frames = layer.frames_of(output)
        assert frames.shape == (2, layer.frames, output.numel() // (2 * layer.frames))
        assert torch.equal(frames[1, 3].flatten(), output.select(layer.time, 3)[1].flatten())


def test_a_look_leaves_the_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    frames_of(CrnnSpec(hidden=5))
    assert torch.equal(torch.rand(2), expected)


@dataclass(frozen=True)
class LongSpec(ModelSpec):
    frames: int = 150


class Long(KwsModel):
    def __init__(self, spec: LongSpec) -> None:
        super().__init__(spec)
        self.conv, self.out = nn.Conv1d(40, 3, spec.frames), nn.Linear(40, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.out(log_mel.mean(-1)) + self.conv(log_mel).mean(-1)[:, :2], None)


@dataclass(frozen=True)
class GatedSpec(ModelSpec):
    width: int = 4


class Gated(KwsModel):
    """Gives time up twice, for a gate and in the end; a shortcut that runs last, and a dropout."""

    def __init__(self, spec: GatedSpec) -> None:
        super().__init__(spec)
        self.first, self.second = nn.Conv1d(40, spec.width, 3), nn.Conv1d(spec.width, 2, 1)
        self.norm, self.shortcut, self.dropout = nn.BatchNorm1d(2), nn.Conv1d(spec.width, 2, 1), nn.Dropout()

    def forward(self, log_mel: Tensor) -> ModelOutput:
        frames = self.first(log_mel)
        heard = self.norm(self.second(frames * frames.mean(-1, keepdim=True).sigmoid()))
        return ModelOutput(self.dropout(self.shortcut(frames) + heard).mean(-1), None)


def test_the_last_layer_is_no_shortcut_no_noise_and_nothing_before_an_earlier_reduction() -> None:
    registry.register("gated", GatedSpec())(Gated)
    assert frames_of(GatedSpec()).last == "norm"
    assert list(frames_of(GatedSpec()).layers) == ["first", "second", "norm", "shortcut"]


def test_what_hears_no_clip_is_refused() -> None:
    registry.register("long", LongSpec())(Long)
    with pytest.raises(ModelError, match="Long hears no clip of 101 frames") as refused:
        frames_of(LongSpec())
    assert "\n" not in str(refused.value)
    assert build(LongSpec())(torch.zeros(1, 40, 150)).logits.shape == (1, 2)
