"""The families of the field: their published sizes, MACs by hand, and what a stream says inside them."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.cost import count_macs
from models import registry
from models.base import KwsModel, ModelSpec, count_params
from models.bc_resnet import BcResNetSpec
from models.ds_cnn import DsCnnSpec
from models.errors import ModelError
from models.graph.layers import Convolution, Linear
from models.graph.macs import macs_by_node
from models.graph.stream import flows_of
from models.graph.trace import graph_of
from models.gru import GruSpec
from models.tc_resnet import TcResNetSpec
from tests.zoo import model_of, name_of

# Parameters with twelve classes, as published.
PUBLISHED = {
    DsCnnSpec(n_classes=12): 23_756,
    TcResNetSpec(n_classes=12): 65_168,
    TcResNetSpec((24, 36, 48, 72), n_classes=12): 144_264,
    **{
        BcResNetSpec(width=width, n_classes=12): params
        for width, params in {
            0.625: 4_585,
            1.0: 9_232,
            1.5: 17_154,
            2.0: 27_284,
            3.0: 54_168,
            6.0: 187_812,
            8.0: 321_068,
        }.items()
    },
}
# By hand, two seconds and two classes: products and biases of each layer, and two for each number of a norm.
BY_HAND = {
    # 3 matrices of 64 by 40 and of 64 by 64, 6 biases and 7 steps a unit.
    GruSpec(): 200 * (3 * 64 * (40 + 64) + (6 + 7) * 64) + 65 * 2,
    # The mean over 40 by 200; then maps of 5 by 50. A norm each behind 9 convolutions.
    DsCnnSpec(): 40 * 200 + 5 * 50 * 64 * (41 + 4 * (10 + 65) + 9 * 2) + 65 * 2,
    TcResNetSpec(): (
        200 * 16 * (3 * 40 + 2)
        + 100 * 24 * (9 * 16 + 9 * 24 + 16 + 3 * 2)
        + 50 * 32 * (9 * 24 + 9 * 32 + 24 + 3 * 2)
        + 25 * 48 * (9 * 32 + 9 * 48 + 32 + 3 * 2)
        + 48 * 2
    ),
    # A block: 3 + 2 for each number along mel; 3 + 2 and a mixture for each of the mean over mel. The first
    # of a stage: a mixture and a norm before, in the rows that came in.
    BcResNetSpec(): 200
    * (
        20 * 16 * (25 + 2)
        + (20 * 8 * (16 + 2) + 2 * (20 * 8 * 5 + 8 * (5 + 8)))
        + (20 * 12 * (8 + 2) + 2 * (10 * 12 * 5 + 12 * (5 + 12)))
        + (10 * 16 * (12 + 2) + 4 * (5 * 16 * 5 + 16 * (5 + 16)))
        + (5 * 20 * (16 + 2) + 4 * (5 * 20 * 5 + 20 * (5 + 20)))
        + 20 * 25
        + 32 * (20 + 2)
    )
    + 2 * 33,
}
FAMILIES = [registry.family(name) for name in ("bc-resnet", "ds-cnn", "gru", "tc-resnet8")]


@pytest.mark.parametrize("spec", PUBLISHED, ids=str)
def test_parameters_are_the_published_ones(spec: ModelSpec) -> None:
    assert count_params(registry.build(spec)) == PUBLISHED[spec]


@pytest.mark.parametrize("spec", BY_HAND, ids=name_of)
def test_macs_are_those_counted_by_hand(spec: ModelSpec) -> None:
    assert count_macs(model_of(spec)) == BY_HAND[spec]


@pytest.mark.parametrize(
    ("spec", "macs"), [(DsCnnSpec(n_classes=12), 2_656_768), (TcResNetSpec(n_classes=12), 1_522_560)]
)
def test_products_are_the_published_ones(spec: ModelSpec, macs: int) -> None:
    """Those of matrices alone, on the published input: 98 frames of 40, or as many numbers as 49 of 10."""
    found = 0
    for node, own in macs_by_node(graph_of(model_of(spec), 98)).items():
        if isinstance(node.operation, (Convolution, Linear)):
            weight, bias = node.target.weight, node.target.bias
            found += own * weight[0].numel() // (weight[0].numel() + (bias is not None))
    assert found == macs


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_student_is_a_tenth_and_hears_as_often(family: registry.Family) -> None:
    assert family.student is not None
    base, student = model_of(family.default), model_of(family.student)
    assert count_params(student) <= count_params(base) / 10
    steps = [_step(model) for model in (base, student)]
    assert steps[0] == steps[1]
    assert family.aligned == family.student


def _step(model: KwsModel) -> int:
    graph = graph_of(model)
    return flows_of(graph)[graph.logits].step


def test_ds_cnn_is_the_published_row_of_layers() -> None:
    model, layers = model_of(DsCnnSpec()), [nn.AvgPool2d((4, 2)), nn.ZeroPad2d((4, 5, 1, 1))]
    layers += [nn.Conv2d(1, 64, (4, 10), 2), nn.BatchNorm2d(64), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.BatchNorm2d(64), nn.ReLU()]
        layers += [nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64), nn.ReLU()]
    row = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2)).eval()
    row.load_state_dict(dict(zip(row.state_dict(), model.state_dict().values(), strict=True)))
    log_mel = torch.randn(2, 40, 101)
    with torch.no_grad():
        torch.testing.assert_close(model(log_mel).logits, row(log_mel[:, None]))


def test_the_shortcut_of_tc_resnet_is_rectified_too() -> None:
    """With a main way that says 1, nothing is below 1."""
    block: Any = model_of(TcResNetSpec()).get_submodule("blocks.0")
    block.second_norm.weight.data.zero_()
    block.second_norm.bias.data.fill_(1)
    with torch.no_grad():
        found = block(torch.randn(2, 16, 50))
    assert found.min() == 1
    assert found.max() > 2


@pytest.mark.parametrize("at", [0, 1])
def test_a_block_of_bc_resnet_is_the_published_sum(at: int) -> None:
    """f2(x), f1 of its mean over mel, and x but for the first of a stage; norms by their definition."""
    block: Any = model_of(BcResNetSpec()).get_submodule(f"stages.{at}")
    block.mel_norm.bias.data.fill_(50)  # so that nothing is cut off at the end
    x = torch.randn(2, 8 if at else 16, 20, 30)

    def normed(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        spread = (norm.running_var + norm.eps).sqrt()
        scale = [each[:, None, None] for each in (norm.running_mean, spread, norm.weight, norm.bias)]
        return (x - scale[0]) / scale[1] * scale[2] + scale[3]

    with torch.no_grad():
        inner = x if at else normed(block.change[0](x), block.change[1]).clamp(min=0)
        rows = block.along_mel(inner)
        norm = block.mel_norm
        for channel, fifth in itertools.product(range(8), range(5)):
            own, to = 5 * channel + fifth, slice(4 * fifth, 4 * fifth + 4)
            spread = (norm.running_var[own] + norm.eps).sqrt()
            rows[:, channel, to] = (rows[:, channel, to] - norm.running_mean[own]) / spread
            rows[:, channel, to] = rows[:, channel, to] * norm.weight[own] + norm.bias[own]
        mean = normed(block.along_time(rows.mean(2, keepdim=True)), block.time_norm)
        expected = rows + block.mix(mean * mean.sigmoid()) + (x if at else 0)
        torch.testing.assert_close(block(x), expected, atol=1e-4, rtol=1e-5)


# Where the frames come out that a decision is the mean over, and what is decided of them.
INNER: dict[ModelSpec, tuple[str, Callable[[Any, Tensor], Tensor]]] = {
    DsCnnSpec(): ("blocks", lambda model, x: model.classifier(x.mean((2, 3)))),
    TcResNetSpec(): ("blocks", lambda model, x: model.classifier(x.mean(-1))),
    BcResNetSpec(): ("last", lambda model, x: model.classifier(x.relu().mean((2, 3), True)).flatten(1)),
}


@pytest.mark.parametrize("spec", INNER, ids=name_of)
@pytest.mark.parametrize("buffer", [3, None])
def test_a_stream_says_what_the_clips_frames_say(spec: ModelSpec, buffer: int | None) -> None:
    """The inner frames of a whole clip; those that hear beyond its end have not come."""
    model, audio = model_of(spec), torch.randn(2, 40, 140)
    path, decide = INNER[spec]
    heard: list[Tensor] = []
    model.get_submodule(path).register_forward_hook(lambda _, inputs, output: heard.append(output))
    with torch.no_grad():
        model(audio)
        streamed, _ = model.stream(audio, model.init_state(2, buffer))
    frames = heard[0]
    assert 0 < streamed.shape[1] < frames.shape[-1]
    for at in range(streamed.shape[1]):
        start = 0 if buffer is None else max(0, at + 1 - buffer)
        with torch.no_grad():
            expected = decide(model, frames[..., start : at + 1])
        torch.testing.assert_close(streamed[:, at], expected, atol=1e-4, rtol=1e-5)


def test_a_width_and_its_channels_are_the_same_model() -> None:
    """As the published code has it: 2, 1, 1.5, 2, 2.5 and 4 times the base, which is 8 tau."""
    spec = BcResNetSpec(width=1.5)
    written = BcResNetSpec(channels=(24, 12, 18, 24, 30, 48))
    assert spec.written_out() == written
    assert written.written_out() is written
    shapes = [
        {name: tensor.shape for name, tensor in registry.build(each).state_dict().items()}
        for each in (spec, written)
    ]
    assert shapes[0] == shapes[1]


def test_stages_of_one_width_are_stages_nevertheless() -> None:
    """A cut may leave two stages equally wide; each keeps the layers that it had."""
    model = registry.build(BcResNetSpec(channels=(4,) * 6, blocks=(1, 2, 1, 1)))
    changed = [name for name, _ in model.named_modules() if name.endswith("change")]
    assert changed == [f"stages.{first}.change" for first in (0, 1, 3, 4)]


@pytest.mark.parametrize(
    ("kind", "wrong", "says"),
    [
        (GruSpec, {"hidden": 0}, "hidden and layers must be at least 1"),
        (DsCnnSpec, {"channels": 0}, "channels, pool and stride must be at least 1"),
        (DsCnnSpec, {"pool": (30, 1)}, "pool=30 bands leave too few of 40; 2 at least"),
        (TcResNetSpec, {"widths": ()}, "widths must be at least 1, one for the first"),
        (TcResNetSpec, {"kernel": 8}, "kernel=8 must be odd"),
        (BcResNetSpec, {"width": 0.1}, "width must be from 0.125 to 64"),
        (BcResNetSpec, {"width": 2.0, "channels": (4,) * 6}, "and 1 where channels are given"),
        (BcResNetSpec, {"channels": (4, 4)}, "blocks must be four numbers and channels six or none"),
        (BcResNetSpec, {"blocks": (1, 0, 1, 1)}, "each at least 1"),
        (BcResNetSpec, {"n_mels": 20}, "n_mels=20 must be a multiple of 40"),
    ],
)
def test_what_cannot_be_built_is_refused(kind: type[ModelSpec], wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        kind(**wrong)
