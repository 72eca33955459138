from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.cost import count_macs
from models.base import KwsModel, ModelOutput, ModelSpec, count_params, spec_values
from models.crnn import Crnn, CrnnSpec
from models.errors import ModelError
from models.factored import FactoredGru, built, grus, pointwise, whole
from models.registry import build
from models.thin import Factors, SparseLinear
from tests import zoo

SPECS = [
    CrnnSpec(channels=2, hidden=12, input_rank=3, recurrent_rank=4),
    CrnnSpec(channels=2, hidden=12, recurrent_rank=4),
    CrnnSpec(channels=2, hidden=12, layers=3, input_rank=2),
    CrnnSpec(channels=2, hidden=12, input_rank=3, recurrent_rank=4, sparsity=0.5),
]


def model_of(spec: CrnnSpec) -> Crnn:
    torch.manual_seed(0)
    model = build(spec).eval()
    assert isinstance(model, Crnn)
    return model


def run_stream(model: Crnn, audio: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    state, logits = model.init_state(audio.shape[0], None), []
    with torch.no_grad():
        for chunk in audio.split(sizes, dim=-1):
            frames, state = model.stream(chunk, state)
            logits.append(frames)
    return torch.cat(logits, 1)


@pytest.mark.parametrize("spec", SPECS)
def test_it_is_the_gru_of_the_product(spec: CrnnSpec) -> None:
    """Torch's own layer, given the product of the factors as its weights."""
    model, audio = model_of(spec), torch.randn(3, 40, 101)
    plain = whole(model)
    assert type(plain.gru) is nn.GRU
    with torch.no_grad():
        torch.testing.assert_close(tuple(model(audio)), tuple(plain(audio)), atol=1e-6, rtol=0)
        streamed = run_stream(model, audio, [1, 30, 0, 70])
        torch.testing.assert_close(streamed[:, -1], plain(audio).logits, atol=1e-5, rtol=0)


def test_a_step_through_the_factors_is_the_fused_one() -> None:
    gru = model_of(SPECS[0]).gru
    assert isinstance(gru, FactoredGru)
    frames, state = torch.randn(2, 9, 36), torch.randn(2, 2, 12)
    with torch.no_grad():
        outputs, last = gru(frames, state)
        stepped, first = gru._stepped(0, frames, state[0])
        stepped, second = gru._stepped(1, stepped, state[1])
    torch.testing.assert_close((outputs, last), (stepped, torch.stack([first, second])), atol=1e-6, rtol=0)


def test_parameters_and_macs_by_hand() -> None:
    """H=12, ranks 3 and 4, 36 and 12 inputs, 11 windows of a second; the rest as in the whole model."""
    spec, hidden, gates = SPECS[0], 12, 36
    factors = sum(3 * (width + gates) + 4 * (hidden + gates) for width in (36, hidden))
    products = sum(gates * width + gates * hidden for width in (36, hidden))
    model, plain = model_of(spec), model_of(CrnnSpec(channels=2, hidden=hidden))
    assert count_params(model) - count_params(plain) == factors - products
    assert count_macs(model, 101) - count_macs(plain, 101) == 11 * (factors - products)


def test_of_sparse_factors_only_what_is_not_zero_counts_and_is_saved() -> None:
    dense, sparse = model_of(SPECS[0]), model_of(SPECS[3])
    factors = sum(3 * (width + 36) + 4 * (12 + 36) for width in (36, 12))
    assert count_params(dense) - count_params(sparse) == factors // 2
    assert count_macs(dense, 101) - count_macs(sparse, 101) == 11 * factors // 2
    saved = [sum(tensor.nbytes for tensor in model.state_dict().values()) for model in (dense, sparse)]
    # Half the floats, and a bit for every weight, in whole bytes for each factor.
    bitmaps = sum(-(-count // 8) for width in (36, 12) for count in (3 * width, 3 * 36, 4 * 12, 4 * 36))
    assert saved[0] - saved[1] == 4 * factors // 2 - bitmaps
    again = build(SPECS[3])
    again.load_state_dict(sparse.state_dict())
    audio = torch.randn(2, 40, 101)
    with torch.no_grad():
        assert torch.equal(again.eval()(audio).logits, sparse(audio).logits)


def test_training_leaves_the_zeros_where_they_are() -> None:
    model = model_of(SPECS[3]).train()
    gru = model.gru
    assert isinstance(gru, FactoredGru)
    before = [linear.weight.clone() for linear in gru.modules() if isinstance(linear, SparseLinear)]
    assert len(before) == 8
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.randn(4, 40, 101)).logits.square().sum().backward()
    optimizer.step()
    after = [linear.weight for linear in gru.modules() if isinstance(linear, SparseLinear)]
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old == 0, new == 0)
        assert not torch.equal(old, new)


@pytest.mark.parametrize(("sparsity", "rank"), [(0.5, 0), (0.03, 4), (1.0, 4), (-0.5, 4)])
def test_a_sparsity_that_saves_nothing_is_refused(sparsity: float, rank: int) -> None:
    with pytest.raises(ModelError, match=r"needs a factored GRU, and to be in \(1/32, 1\)"):
        CrnnSpec(hidden=12, recurrent_rank=rank, sparsity=sparsity)


def test_the_start_is_the_nearest_matrix_of_that_rank() -> None:
    """NumPy's SVD: what is left out are the smaller singular values, and nothing of the other weights."""
    trained = model_of(CrnnSpec(channels=2, hidden=12))
    model = model_of(SPECS[0])
    model.start_from(trained)
    weight = trained.gru.get_parameter("weight_hh_l1").detach().numpy()
    values = np.linalg.svd(weight, compute_uv=False)
    missing = weight - whole(model).gru.get_parameter("weight_hh_l1").detach().numpy()
    assert np.linalg.norm(missing) == pytest.approx(np.linalg.norm(values[4:]), rel=1e-4)
    for name in ("conv.weight", "classifier.bias"):
        assert torch.equal(model.get_parameter(name), trained.get_parameter(name))
    bias = model.gru.get_parameter("recurrent.1.1.bias")
    assert torch.equal(bias, trained.gru.get_parameter("bias_hh_l1"))


def test_another_architecture_is_no_start() -> None:
    model, other = model_of(SPECS[0]), model_of(CrnnSpec(channels=3, hidden=12))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.start_from(other)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_ranks_that_save_nothing_are_refused() -> None:
    """36 x 12 holds 432 numbers: 9 (36 + 12) are as many."""
    build(CrnnSpec(hidden=12, recurrent_rank=8))
    with pytest.raises(ModelError, match="recurrent_rank=9 makes the GRU no smaller; 1 to 8 do"):
        build(CrnnSpec(hidden=12, recurrent_rank=9))


def test_fields_that_came_later_do_not_rename_runs() -> None:
    assert not {"input_rank", "sparsity"} & set(spec_values(CrnnSpec()))
    assert spec_values(SPECS[0])["recurrent_rank"] == 4


def assert_same(one: KwsModel, other: KwsModel, within: float = 1e-5) -> None:
    heard = torch.randn(2, 40, 101)
    with torch.no_grad():
        left, right = one.eval()(heard), other.eval()(heard)
    torch.testing.assert_close(left.logits, right.logits, atol=within, rtol=0)
    if left.energies is not None:
        torch.testing.assert_close(left.energies, right.energies, atol=within, rtol=0)


def of_full_rank(trained: KwsModel) -> ModelSpec:
    """Every matrix as two factors that lose nothing."""
    ranks = tuple(min(layer.weight.shape[:2]) for layer in pointwise(trained).values())
    spec = replace(trained.spec, layer_ranks=ranks)
    for gru in grus(trained).values():
        reads = max(gru.input_size, gru.hidden_size)
        spec = replace(spec, input_rank=reads, recurrent_rank=gru.hidden_size)
    return spec


@pytest.mark.parametrize("spec", [spec for spec in zoo.SPECS if spec == spec.whole], ids=zoo.name_of)
def test_full_rank_loses_nothing(spec: ModelSpec) -> None:
    trained = zoo.model_of(spec)
    model = built(type(trained), of_full_rank(trained), check=False)
    assert not pointwise(model).keys() & pointwise(trained).keys()
    assert not grus(model)
    model.start_from(trained)
    assert_same(model, trained)
    assert_same(whole(model), trained)


@pytest.mark.parametrize("spec", zoo.FACTORED, ids=zoo.name_of)
def test_a_start_from_matrices_of_that_rank_loses_nothing(spec: ModelSpec) -> None:
    """Norms' statistics are taken over too."""
    trained, model = whole(zoo.model_of(spec, seed=1)), zoo.model_of(spec, seed=2)
    assert trained.spec == spec.whole
    assert trained.state_dict().keys() == zoo.model_of(spec.whole).state_dict().keys()
    assert count_params(model) < count_params(trained)
    with pytest.raises(AssertionError):
        assert_same(model, trained, within=1e-3)
    model.start_from(trained)
    assert_same(model, trained)


@pytest.mark.parametrize("spec", zoo.FACTORED, ids=zoo.name_of)
def test_weights_are_read_back(spec: ModelSpec) -> None:
    model, again = zoo.model_of(spec, seed=1), zoo.model_of(spec, seed=2)
    again.load_state_dict(model.state_dict())
    assert_same(again, model, within=0)


@dataclass(frozen=True)
class HandSpec(ModelSpec):
    hidden: int = 9


class Hand(KwsModel):
    """A pointwise convolution, a GRU, a linear layer after its last frame, and the classifier."""

    def __init__(self, spec: HandSpec) -> None:
        super().__init__(spec)
        self.point = nn.Conv1d(40, 12, 1)
        self.gru = nn.GRU(12, spec.hidden, batch_first=True)
        self.inner = nn.Linear(spec.hidden, 8)
        self.again = self.inner
        self.classifier = nn.Linear(8, 2)

    def forward(self, log_mel: torch.Tensor) -> ModelOutput:
        outputs, _ = self.gru(self.point(log_mel).transpose(1, 2))
        return ModelOutput(self.classifier(torch.tanh(self.again(outputs[:, -1]))), None)


def test_one_layer_of_each_kind_by_hand() -> None:
    """40 x 12 in rank 3, 12 x 27 in rank 4, 9 x 27 in rank 5, 9 x 8 in rank 2; 7 steps a unit of the GRU."""
    spec = HandSpec(input_rank=4, recurrent_rank=5, layer_ranks=(3, 2, 0))
    model = built(Hand, spec)
    point, inner, classifier = 3 * (40 + 12) + 12, 2 * (9 + 8) + 8, 2 * 8 + 2
    gru = 4 * (12 + 27) + 27 + 5 * (9 + 27) + 27
    assert count_params(model) == point + gru + inner + classifier
    assert count_macs(model, 101) == 101 * (point + gru + 7 * 9) + inner + classifier
    names = {name.rpartition(".")[0] for name in model.state_dict()}
    assert names == {
        *("point.0", "point.1", "gru.input.0.0", "gru.input.0.1", "gru.recurrent.0.0", "gru.recurrent.0.1"),
        *("inner.0", "inner.1", "again.0", "again.1", "classifier"),
    }


def test_a_layer_that_stands_in_two_places_stays_one() -> None:
    model = built(Hand, HandSpec(layer_ranks=(0, 2, 0)))
    assert isinstance(model.again, Factors)
    assert model.inner is model.again
    trained = built(Hand, HandSpec())
    model.start_from(trained)
    assert_same(whole(model), model)


@pytest.mark.parametrize(
    ("ranks", "says"),
    [
        ({"layer_ranks": (3, 2)}, "2 numbers, and Hand 3 linear layers .*: point, inner, classifier"),
        ({"layer_ranks": (10, 0, 0)}, "layer_ranks=10 makes point no smaller; 1 to 9 do, and 0 keeps"),
        ({"layer_ranks": (0, -1, 0)}, "layer_ranks=-1 makes inner no smaller; 1 to 4 do"),
        ({"input_rank": 9}, "input_rank=9 makes the GRU no smaller; 1 to 8 do"),
    ],
)
def test_ranks_that_there_is_no_layer_for_are_refused(ranks: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        built(Hand, HandSpec(**ranks))


def test_a_model_without_a_gru_has_no_ranks_of_one() -> None:
    with pytest.raises(ModelError, match="Residual has no GRU that can be factored; input_rank"):
        zoo.model_of(zoo.ResidualSpec(input_rank=2))
