from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from compressors.base import TrainStep
from compressors.chain import parse
from compressors.structured_prune import StructuredPrune, kept_units
from compressors.surgery import narrow, unit_counts, unit_index, unit_norms, zero_units
from models import registry
from models.base import KwsModel, ModelOutput, ModelSpec, count_params
from models.crnn import CrnnSpec
from models.errors import ChainError, ModelError
from models.graph.units import Field, Member, WidthGroup, width_groups
from models.gru import GruSpec
from models.registry import build
from tests.zoo import CausalSpec, DepthwiseSpec, ResidualSpec, SplitSpec, model_of

SPECS = [CrnnSpec(), CrnnSpec(channels=3, hidden=7, attention=5, layers=3), CrnnSpec(hidden=6, layers=1)]


def random_model(spec: CrnnSpec, seed: int = 0) -> KwsModel:
    torch.manual_seed(seed)
    return build(spec).eval()


def others(group: WidthGroup, keep: torch.Tensor) -> torch.Tensor:
    return torch.tensor([unit for unit in range(group.size) if unit not in keep.tolist()])


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("keep", [0.25, 0.6])
def test_the_pruned_model_equals_the_masked_one(spec: CrnnSpec, keep: float) -> None:
    compressor = StructuredPrune(keep=keep)
    model = compressor.prepare(random_model(spec))
    pruned, masked = compressor.surgery(model), deepcopy(model)
    for group in width_groups(model):
        zero_units(masked, group, others(group, kept_units(model, group)))
    log_mel = torch.randn(4, 40, 101)
    with torch.no_grad():
        torch.testing.assert_close(tuple(pruned(log_mel)), tuple(masked(log_mel)), atol=1e-5, rtol=0)
        assert not torch.allclose(pruned(log_mel).logits, model(log_mel).logits, atol=1e-3)
    assert count_params(pruned) < count_params(model)


def test_the_default_cut_is_the_studys_without_dead_columns() -> None:
    compressor = StructuredPrune()
    pruned = compressor.surgery(compressor.prepare(random_model(CrnnSpec())))
    shapes = {name: tuple(parameter.shape) for name, parameter in pruned.named_parameters()}
    assert shapes["conv.weight"] == (2, 1, 5, 20)
    assert shapes["gru.weight_ih_l0"] == (3 * 16, 2 * 18)
    assert shapes["gru.weight_ih_l1"] == shapes["gru.weight_hh_l0"] == (3 * 16, 16)
    assert shapes["attention.0.weight"] == (16, 16)
    assert shapes["attention.2.weight"] == (1, 16)
    assert shapes["classifier.weight"] == (2, 16)
    # 48 dead inputs in the last two linear layers are what the study left.
    assert count_params(pruned) == 4893 - 48 - 2 * 48
    kinds = {type(module) for module in pruned.modules()}
    assert {nn.Conv2d, nn.GRU, nn.Linear} <= kinds


def test_surgery_leaves_its_input_and_the_generator_alone() -> None:
    compressor = StructuredPrune()
    model = compressor.prepare(random_model(CrnnSpec()))
    before = deepcopy(model.state_dict())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    compressor.surgery(model)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_strongest_units_stay() -> None:
    model = random_model(CrnnSpec())
    weak = {"conv": [0, 3], "gru.0": [5], "gru.1": [60], "attention.0": [1, 2]}
    for group in width_groups(model):
        zero_units(model, group, torch.tensor(weak[group.name]))
        assert unit_norms(model, group)[weak[group.name]].tolist() == [0.0] * len(weak[group.name])
    prepared = StructuredPrune(keep=0.5).prepare(model)
    for group in width_groups(prepared):
        assert not set(kept_units(prepared, group).tolist()) & set(weak[group.name])


def test_units_and_members_cover_each_weight_once_a_group() -> None:
    """Removing all units of the recurrent layer removes all its weights: counted by hand."""
    model = random_model(CrnnSpec())
    groups = {group.name: group for group in width_groups(model)}
    everything = unit_counts(model, groups["gru.0"], torch.arange(64))
    own = 3 * 64 * 144 + 3 * 64 * 64 + 2 * 3 * 64
    # A recurrent weight belongs to the unit that it leads to and to the one that it comes from.
    assert sum(count.sum() for count in everything.values()) == own + 3 * 64 * 64 + 3 * 64 * 64


def test_the_penalty_is_that_of_every_entry_of_the_units_that_go() -> None:
    """Against slices taken by hand: channels 1 to 7 of 8 go, so do the mel rows of the GRU that read them."""
    model = random_model(CrnnSpec())
    prepared = StructuredPrune(widths={"channels": 1, "hidden": 64, "attention": 64}, decay=6.0).prepare(
        model
    )
    (kept,) = kept_units(prepared, next(g for g in width_groups(model) if g.name == "conv")).tolist()
    rest = [channel for channel in range(8) if channel != kept]
    rows = model.gru.weight_ih_l0.view(192, 8, 18)[:, rest]
    squares = sum(part.square().sum() for part in (model.conv.weight[rest], model.conv.bias[rest], rows))
    output = prepared(torch.zeros(1, 40, 101))
    terms = StructuredPrune(decay=6.0).loss_terms(TrainStep(prepared, output, None, torch.zeros(1)))
    torch.testing.assert_close(terms["group_penalty"], 3.0 * squares)


def test_layers_of_one_gru_keep_equally_many_units() -> None:
    with pytest.raises(ModelError, match="equally many"):
        narrow(random_model(CrnnSpec()), {"gru.0": torch.arange(4)})


@pytest.mark.usefixtures("zoo_registered")
@pytest.mark.parametrize(
    ("text", "base", "cut"),
    [
        ("sp:widths=3x0x4", ResidualSpec(), ResidualSpec((3, 2, 4))),  # a quarter of 8 is 2
        ("sp:widths=0x0x0,keep=0.5", ResidualSpec(), ResidualSpec((3, 4, 2))),
        ("sp:wide=2,keep=1", DepthwiseSpec(), DepthwiseSpec(channels=8, wide=2)),
        ("sp:side=1,hidden=2,keep=0.5", CausalSpec(), CausalSpec(width=3, side=1, hidden=2)),
        ("sp:channels=5", SplitSpec(), SplitSpec(5)),
        ("sp:hidden=9", GruSpec(), GruSpec(9)),
        ("sp:attention=16,channels=2", CrnnSpec(), CrnnSpec(channels=2, hidden=16, attention=16)),
    ],
)
def test_widths_to_keep_are_the_models(text: str, base: ModelSpec, cut: ModelSpec) -> None:
    chain = parse(text, base)
    assert chain.surgery(chain.prepare(model_of(base))).spec == cut
    assert parse(chain.text, base) == chain


@pytest.mark.usefixtures("zoo_registered")
def test_widths_that_say_nothing_are_not_written() -> None:
    assert parse("sp:widths=0x0x0,keep=0.5", ResidualSpec()).text == "sp:keep=0.5"
    assert parse("sp:hidden=0,attention=0", CrnnSpec()).text == "sp"


@dataclass(frozen=True)
class ImpliedSpec(ModelSpec):
    """Widths that follow from one number, or are written out."""

    width: int = 4
    widths: tuple[int, ...] = ()


class Implied(KwsModel):
    def __init__(self, spec: ImpliedSpec) -> None:
        super().__init__(spec)
        one, two = spec.widths or (spec.width, 2 * spec.width)
        self.one, self.two, self.out = nn.Linear(40, one), nn.Linear(one, two), nn.Linear(two, 2)

    def forward(self, log_mel: torch.Tensor) -> ModelOutput:
        return ModelOutput(self.out(self.two(self.one(log_mel.mean(-1)))), None)


@pytest.mark.usefixtures("zoo_registered")
def test_a_tuple_has_as_many_entries_as_there_are_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the specification leaves it empty, because they follow from another field."""
    registry.register("implied", ImpliedSpec())(Implied)
    cut = (Field("widths", 0), Field("widths", 1))
    monkeypatch.setattr("compressors.structured_prune.widths_of", lambda spec: cut)
    assert StructuredPrune.model_options(ImpliedSpec()) == {"widths": (0, 0)}
    with pytest.raises(ChainError, match="widths=3 must have 2 entries"):
        parse("sp:widths=3", ImpliedSpec())
    assert parse("sp:widths=3x5", ImpliedSpec()).label == "SP(widths=3x5)"


@pytest.mark.usefixtures("zoo_registered")
@pytest.mark.parametrize(
    ("text", "base", "says"),
    [
        ("sp:hidden=3", ResidualSpec(), "cannot read option 'hidden=3'; its options: keep=, widths=, decay="),
        (
            "sp:layers=1",
            CrnnSpec(),
            "cannot read option 'layers=1'; its options: keep=, channels=, hidden=, attention=, decay=",
        ),
        ("sp:widths=3x3", ResidualSpec(), "widths=3x3 must have 3 entries; 0: by keep"),
        ("sp:widths=3x3x3x3", ResidualSpec(), "widths=3x3x3x3 must have 3 entries"),
        ("sp:widths=3x-1x3", ResidualSpec(), r"widths\[1\]=-1 must be at least 1, or 0 to go by keep"),
        ("sp:hidden=-1", CrnnSpec(), "hidden=-1 must be at least 1, or 0 to go by keep"),
        ("sp:hidden=1+kd:hidden=1", CrnnSpec(), "hidden is no width that can be cut; these are: channels"),
    ],
)
def test_widths_that_cannot_be_kept_are_refused(text: str, base: ModelSpec, says: str) -> None:
    with pytest.raises(ChainError, match=f"^sp: {says}") as refused:
        parse(text, base)
    assert "\n" not in str(refused.value)


def test_nothing_to_remove_is_an_error() -> None:
    with pytest.raises(ChainError, match="nothing to remove"):
        StructuredPrune(keep=1.0).prepare(random_model(CrnnSpec()))
    with pytest.raises(ChainError, match="more than the 64"):
        StructuredPrune(widths={"hidden": 65}).prepare(random_model(CrnnSpec()))


class Plain(KwsModel):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.inner, self.out = nn.Linear(40, 7), nn.Linear(7, 2)

    def forward(self, log_mel: torch.Tensor) -> ModelOutput:
        return ModelOutput(self.out(self.inner(log_mel.mean(-1))), None)


def test_a_model_whose_specification_names_no_width_is_refused() -> None:
    with pytest.raises(ChainError, match="Plain has no width that its specification names"):
        StructuredPrune().prepare(Plain(ModelSpec()))


def test_a_cut_that_cuts_nothing_is_an_error() -> None:
    chain = parse("sp", CrnnSpec())
    model = random_model(CrnnSpec())
    for group in width_groups(model):
        model.register_buffer(f"sp_keep_{group.name.replace('.', '_')}", torch.arange(group.size))
    with pytest.raises(ChainError, match="sp changed nothing"):
        chain.surgery(model)


def test_a_member_finds_its_rows() -> None:
    """Two channels of three mel rows, in two copies: unit 1 owns rows 3-5 and 9-11."""
    found = unit_index(torch.tensor([1]), Member("any", 0, ((0,) * 3 + (1,) * 3) * 2))
    assert found.tolist() == [3, 4, 5, 9, 10, 11]


@dataclass(frozen=True)
class NormedSpec(ModelSpec):
    channels: int = 6
    affine: bool = True


class Normed(KwsModel):
    """Convolution, batch normalisation, and a reader without ReLU between: what is not zero is heard."""

    spec: NormedSpec

    def __init__(self, spec: NormedSpec) -> None:
        super().__init__(spec)
        self.conv = nn.Conv1d(40, spec.channels, 3, bias=not spec.affine)
        self.norm = nn.BatchNorm1d(spec.channels, affine=spec.affine)
        self.mix = nn.Conv1d(spec.channels, 5, 1)
        self.classifier = nn.Linear(5, 2)

    def forward(self, log_mel: torch.Tensor) -> ModelOutput:
        return ModelOutput(self.classifier(self.mix(self.norm(self.conv(log_mel))).mean(2)), None)


@pytest.fixture
def normed() -> Iterator[None]:
    registry.register("normed", NormedSpec())(Normed)
    yield
    del registry._FAMILIES["normed"]


def trained_norm(spec: NormedSpec, compressor: StructuredPrune) -> KwsModel:
    """After steps under the compressor's penalty, on inputs that are neither centred nor of one scale."""
    torch.manual_seed(0)
    model = compressor.prepare(build(spec)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(5):
        output, labels = model(3 + 2 * torch.randn(16, 40, 20)), torch.randint(2, (16,))
        loss = nn.functional.cross_entropy(output.logits, labels)
        terms = compressor.loss_terms(TrainStep(model, output, None, labels))
        optimizer.zero_grad()
        (loss + terms["group_penalty"]).backward()
        optimizer.step()
    assert (model.norm.running_mean.abs() > 0.01).all()
    return model.eval()


@pytest.mark.usefixtures("normed")
@pytest.mark.parametrize("affine", [True, False])
def test_a_model_with_batch_normalisation_is_cut_to_what_masking_computes(affine: bool) -> None:
    compressor = StructuredPrune(widths={"channels": 2})
    model = trained_norm(NormedSpec(affine=affine), compressor)
    (group,) = [one for one in width_groups(model) if one.field.name == "channels"]
    kept = kept_units(model, group)
    pruned, masked = compressor.surgery(model), deepcopy(model)
    zero_units(masked, group, others(group, kept))
    log_mel = 3 + 2 * torch.randn(8, 40, 101)
    with torch.no_grad():
        torch.testing.assert_close(pruned(log_mel).logits, masked(log_mel).logits, atol=1e-5, rtol=0)
        assert not torch.allclose(pruned(log_mel).logits, model(log_mel).logits, atol=1e-3)
        # What is zero says nothing, whatever reads it.
        heard = masked.norm(masked.conv(log_mel))
    assert (heard[:, others(group, kept)] == 0).all()
    assert (heard[:, kept] != 0).any()
    for name in ("running_mean", "running_var"):
        assert torch.equal(getattr(pruned.norm, name), getattr(model.norm, name)[kept])
    assert pruned.norm.num_batches_tracked == model.norm.num_batches_tracked == 5
    assert not [name for name, _ in pruned.named_buffers() if name.startswith("sp_")]


@pytest.mark.usefixtures("normed")
def test_running_statistics_have_no_say_in_norms_and_penalties() -> None:
    """A variance starts at 1, and would outweigh all else; it is not trained, so it does not fade."""
    model = build(NormedSpec())
    (group,) = [one for one in width_groups(model) if one.field.name == "channels"]
    before = unit_norms(model, group)
    model.norm.running_var.fill_(100.0)
    assert torch.equal(unit_norms(model, group), before)
    by_hand = model.conv.weight.square().sum((1, 2)) + model.norm.weight**2 + model.norm.bias**2
    by_hand += model.mix.weight.square().sum((0, 2))
    torch.testing.assert_close(before, by_hand.sqrt().detach())
    assert set(unit_counts(model, group, torch.tensor([0]))) == {
        *("conv.weight", "norm.weight", "norm.bias", "mix.weight")
    }
