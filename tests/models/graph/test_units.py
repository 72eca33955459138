from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from compressors.structured_prune import StructuredPrune
from compressors.surgery import narrow, zero_units
from examples.model_matchbox import MatchboxSpec
from examples.operation_prelu import PreluSpec
from models.base import KwsModel, ModelOutput, ModelSpec, count_params
from models.bc_resnet import BcResNetSpec
from models.crnn import CrnnSpec
from models.ds_cnn import DsCnnSpec
from models.errors import ModelError
from models.factored import built
from models.graph.units import width_groups
from models.gru import GruSpec
from models.registry import build
from models.tc_resnet import TcResNetSpec
from tests.zoo import SPECS, CausalSpec, DepthwiseSpec, ResidualSpec, SplitSpec, model_of, name_of

# By hand: which layers make up each group, its field and its width.
GROUPS = {
    CrnnSpec(): [
        ("conv", "channels", 8),
        ("gru.0", "hidden", 64),
        ("gru.1", "hidden", 64),
        ("attention.0", "attention", 64),
    ],
    ResidualSpec(): [("first", "widths[0]", 6), ("main.0", "widths[2]", 5), ("main.1", "widths[1]", 8)],
    DepthwiseSpec(): [("stem.0", "channels", 8), ("point", "wide", 6)],
    CausalSpec(): [("left", "width", 6), ("right", "side", 4), ("gru.0", "hidden", 5)],
    SplitSpec(): [("first", "channels", 6)],
    GruSpec(layers=2): [("gru.0", "hidden", 64), ("gru.1", "hidden", 64)],
    DsCnnSpec(blocks=2): [(name, "channels", 64) for name in ("conv", "blocks.0.point", "blocks.1.point")],
    TcResNetSpec(): [
        ("conv", "widths[0]", 16),
        *(
            (f"blocks.{at // 2}.{('first', 'second')[at % 2]}", f"widths[{at // 2 + 1}]", width)
            for at, width in enumerate((24, 24, 32, 32, 48, 48))
        ),
    ],
    # A sum with what comes in ties all blocks of a stage to its first.
    BcResNetSpec(): [
        ("conv", "channels[0]", 16),
        *(
            (f"stages.{first}.change.0", f"channels[{at + 1}]", width)
            for at, (first, width) in enumerate(((0, 8), (2, 12), (4, 16), (8, 20)))
        ),
        ("last.0", "channels[5]", 32),
    ],
    MatchboxSpec(): [
        ("module.first.1", "widths[0]", 64),
        *((f"module.blocks.{at}.1", f"widths[{at + 1}]", 32) for at in range(3)),
        ("module.last.1", "widths[4]", 64),
    ],
    PreluSpec(): [("conv", "channels", 16)],
}


@pytest.mark.parametrize("spec", GROUPS, ids=name_of)
def test_groups_are_those_counted_by_hand(spec: ModelSpec) -> None:
    found = [(group.name, str(group.field), group.size) for group in width_groups(model_of(spec))]
    assert found == GROUPS[spec]


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
@pytest.mark.parametrize("every", [2, 3])
def test_cut_is_masked(spec: ModelSpec, every: int) -> None:
    """Removing units changes nothing once all that belongs to them is zero, norms' statistics included."""
    model = model_of(spec)
    keep = {group.name: torch.arange(0, group.size, every) for group in width_groups(model)}
    assert keep
    masked = deepcopy(model)
    for group in width_groups(model):
        zero_units(masked, group, torch.tensor([unit for unit in range(group.size) if unit % every]))
    small = narrow(model, keep)
    log_mel = torch.randn(2, 40, 101)
    with torch.no_grad():
        cut, wide, whole = (form(log_mel) for form in (small, masked, model))
    torch.testing.assert_close(cut.logits, wide.logits, atol=1e-5, rtol=0)
    assert (cut.energies is None) == (wide.energies is None)
    if cut.energies is not None:
        torch.testing.assert_close(cut.energies, wide.energies, atol=1e-5, rtol=0)
    assert not torch.allclose(cut.logits, whole.logits, atol=1e-3)
    assert count_params(small) < count_params(model)


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_a_narrowed_model_is_built_again_from_its_specification(spec: ModelSpec) -> None:
    prune = StructuredPrune(keep=0.5)
    small = prune.surgery(prune.prepare(model_of(spec)))
    again = built(type(small), small.spec)
    again.load_state_dict(small.state_dict())
    log_mel = torch.randn(1, 40, 101)
    with torch.no_grad():
        assert torch.equal(again.eval()(log_mel).logits, small(log_mel).logits)


def test_a_channel_owns_its_mel_rows_after_a_flatten() -> None:
    """Channel 1 of 2 with 18 rows each: columns 18 to 35 of the GRU's matrix."""
    groups = width_groups(build(CrnnSpec(channels=2, hidden=6)))
    (conv,) = (group for group in groups if group.name == "conv")
    (reads,) = (member for member in conv.members if member.name == "gru.weight_ih_l0")
    assert (reads.dim, reads.units) == (1, (0,) * 18 + (1,) * 18)


def test_a_norms_statistics_are_cut_with_its_channel() -> None:
    model = model_of(ResidualSpec())
    small = narrow(model, {"main.0": torch.tensor([1, 4])})
    assert small.spec == ResidualSpec((6, 8, 2))
    for name in ("weight", "bias", "running_mean", "running_var"):
        before, after = (form.state_dict()[f"norms.1.{name}"] for form in (model, small))
        assert torch.equal(after, before[[1, 4]])


def test_a_rank_that_a_narrower_layer_has_no_use_for_hides_no_group() -> None:
    """At most 8 make 33 x 11 smaller, and 7 do 30 x 10."""
    groups = width_groups(build(CrnnSpec(channels=2, hidden=11, recurrent_rank=8)))
    assert [group.name for group in groups] == ["conv", "gru.0", "gru.1", "attention.0"]


def test_the_inner_axis_of_factors_is_nobodys() -> None:
    """Their rank is 8, as is a width; of it only the outer sides are cut."""
    model = model_of(DepthwiseSpec(24, 48, layer_ranks=(8, 8, 0)))
    members = {(one.name, one.dim) for group in width_groups(model) for one in group.members}
    assert {("point.0.weight", 1), ("point.1.weight", 0), ("point.1.bias", 0)} <= members
    assert not {("point.0.weight", 0), ("point.1.weight", 1), ("gate.0.weight", 0)} & members


def test_classes_and_mel_bands_stay() -> None:
    for spec in SPECS:
        small = StructuredPrune(keep=0.25)
        model = model_of(spec)
        assert small.surgery(small.prepare(model))(torch.randn(2, 40, 101)).logits.shape == (2, 2)


class Odd(KwsModel):
    """A sum with the input, and a width that no field names."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.same = nn.Conv1d(40, 40, 3, padding=1)
        self.out = nn.Linear(40, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.out((self.same(log_mel) + log_mel).mean(-1)), None)


def test_what_is_added_to_the_input_cannot_be_cut() -> None:
    assert width_groups(Odd(ModelSpec())) == ()


@dataclass(frozen=True)
class TiedSpec(ModelSpec):
    one: int = 4
    two: int = 5


class Tied(KwsModel):
    """Each width alone is what it says; both together are not."""

    def __init__(self, spec: TiedSpec) -> None:
        super().__init__(spec)
        odd = 1 if spec.one < 4 and spec.two < 5 else 0
        self.first, self.second = nn.Conv1d(40, spec.one + odd, 1), nn.Conv1d(spec.one + odd, spec.two, 1)
        self.out = nn.Linear(spec.two, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.out(self.second(self.first(log_mel)).mean(-1)), None)


def test_fields_that_do_not_narrow_together_are_one_line() -> None:
    keep = {"first": torch.arange(2), "second": torch.arange(2)}
    with pytest.raises(
        ModelError, match=r"Tied: first.weight is \(2, 40, 1\) .* with one=2, two=2 .* \(3, 40, 1\)"
    ):
        narrow(Tied(TiedSpec()), keep)
