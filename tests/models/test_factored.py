import numpy as np
import pytest
import torch
from torch import nn

from bench.measure import count_macs
from models.base import count_params, spec_values
from models.crnn import Crnn, CrnnSpec
from models.errors import ModelError
from models.factored import FactoredGru, SparseLinear, low_rank
from models.registry import build

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
    whole = model.whole()
    assert type(whole.gru) is nn.GRU
    with torch.no_grad():
        torch.testing.assert_close(tuple(model(audio)), tuple(whole(audio)), atol=1e-6, rtol=0)
        streamed = run_stream(model, audio, [1, 30, 0, 70])
        torch.testing.assert_close(streamed[:, -1], whole(audio).logits, atol=1e-5, rtol=0)


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
    model, whole = model_of(spec), model_of(CrnnSpec(channels=2, hidden=hidden))
    assert count_params(model) - count_params(whole) == factors - products
    assert count_macs(model, 101) - count_macs(whole, 101) == 11 * (factors - products)


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


@pytest.mark.parametrize(("outputs", "inputs", "kept"), [(5, 3, 6), (4, 8, 13)])
def test_a_sparse_matrix_keeps_its_largest_weights(outputs: int, inputs: int, kept: int) -> None:
    weight = torch.randn(outputs, inputs)
    linear = SparseLinear(inputs, outputs, sparsity=0.6)
    linear.fill(weight)
    least = weight.abs().flatten().sort(descending=True).values[kept - 1]
    expected = torch.where(weight.abs() >= least, weight, 0.0)
    assert torch.equal(linear.weight, expected)
    places = np.unpackbits(linear.bitmap.numpy().flatten(), bitorder="little")[: weight.numel()]
    assert places.tolist() == (expected.flatten() != 0).int().tolist()
    x = torch.randn(7, inputs)
    torch.testing.assert_close(linear(x), x @ expected.T)


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
    missing = weight - model.whole().gru.get_parameter("weight_hh_l1").detach().numpy()
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


def test_both_factors_are_equally_large() -> None:
    up, down = low_rank(torch.randn(9, 5), 3)
    assert up.norm().item() == pytest.approx(down.norm().item(), rel=1e-5)


def test_ranks_that_save_nothing_are_refused() -> None:
    """36 x 12 holds 432 numbers: 9 (36 + 12) are as many."""
    CrnnSpec(hidden=12, recurrent_rank=8)
    with pytest.raises(ModelError, match="1 to 8 do"):
        CrnnSpec(hidden=12, recurrent_rank=9)


def test_fields_that_came_later_do_not_rename_runs() -> None:
    assert not {"input_rank", "sparsity"} & set(spec_values(CrnnSpec()))
    assert spec_values(SPECS[0])["recurrent_rank"] == 4
