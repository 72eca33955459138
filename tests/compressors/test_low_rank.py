import pytest
import torch

from compressors.chain import parse
from compressors.surgery import narrow, zero_units
from models.base import KwsModel
from models.crnn import Crnn, CrnnSpec
from models.errors import ChainError, ModelError
from models.graph.units import width_groups
from models.registry import build

BASE = CrnnSpec()


def built(chain_text: str) -> KwsModel:
    chain = parse(chain_text, BASE)
    torch.manual_seed(0)
    return chain.surgery(chain.prepare(build(chain.student(BASE)))).eval()


@pytest.mark.parametrize(
    ("text", "ranks", "hidden"),
    [
        ("lr", (16, 16), 64),
        ("lr+sp", (4, 4), 64),
        ("lr:rank=4", (4, 4), 64),
        ("lr:input=0,recurrent=0.125", (0, 8), 64),
        ("lr+ad+kd:hidden=8", (2, 2), 8),
        ("dq+lr:rank=5+kd+ad", (5, 5), 10),
    ],
)
def test_ranks_are_of_the_student(text: str, ranks: tuple[int, int], hidden: int) -> None:
    student = parse(text, BASE).student(BASE)
    assert isinstance(student, CrnnSpec)
    assert ((student.input_rank, student.recurrent_rank), student.hidden) == (ranks, hidden)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr:rank=0", "keeps every matrix whole"),
        ("lr:rank=1.5", "must be a whole number, or between 0 and 1"),
        ("lr:rank=-2", "must be a whole number, or between 0 and 1"),
        ("lr:rank=48", "input_rank=48 makes the GRU no smaller; 1 to 47 do"),
        ("kd+lr+dq", r"write dq\+kd\+lr"),
        ("lr:sparsity=1", r"sparsity=1 needs a factored GRU, and to be in \(1/32, 1\)"),
        ("dq+lr:sparsity=0.5", "dq knows no sparse factors; use it with lr, or lr:sparsity alone"),
        ("lr:sparsity=0.5+sp", "sp knows no sparse factors"),
    ],
)
def test_refusals_say_what_would_work(text: str, says: str) -> None:
    with pytest.raises(ChainError, match=says):
        parse(text, BASE)


def test_quantizers_of_whole_matrices_are_refused() -> None:
    part = parse("lr", BASE).parts[0]
    with pytest.raises(ChainError, match="qat quantizes whole GRU matrices"):
        part.in_chain(frozenset({"lr", "qat"}), BASE)


def test_a_cut_below_the_rank_is_refused() -> None:
    with pytest.raises(ModelError, match="input_rank=16 makes the GRU no smaller"):
        built("lr:rank=16+sp")


def test_pruned_factors_equal_masked_ones() -> None:
    """Removing units from the factors changes nothing once all that belongs to them is zero."""
    model = built("lr:rank=4")
    keep = {group.name: torch.arange(0, group.size, 3) for group in width_groups(model)}
    for group in width_groups(model):
        others = [unit for unit in range(group.size) if unit % 3]
        zero_units(model, group, torch.tensor(others))
    log_mel = torch.randn(2, 40, 101)
    small = narrow(model, keep)
    with torch.no_grad():
        torch.testing.assert_close(tuple(small(log_mel)), tuple(model(log_mel)), atol=1e-5, rtol=0)
    assert isinstance(small, Crnn)
    assert small.spec.hidden == 22


def test_sparse_factors_start_from_the_trained_base() -> None:
    """The largest weights of each factor of the base's SVD."""
    chain, base = parse("lr:sparsity=0.75", BASE), build(BASE)
    model, dense = build(chain.student(BASE)), build(parse("lr", BASE).student(BASE))
    for student in (model, dense):
        student.start_from(base)
    for layer in (0, 1):
        whole = dense.get_parameter(f"gru.input.{layer}.1.weight").detach()
        kept = model.get_submodule(f"gru.input.{layer}.1").weight.detach()
        assert torch.equal(kept[kept != 0], whole[kept != 0])
        assert (kept != 0).float().mean().item() == pytest.approx(0.25, abs=0.001)
        assert kept[kept != 0].abs().min() >= whole[kept == 0].abs().max()
    # Sparse factors have no rows and columns to cut; the attention's inner layer has.
    assert [group.name for group in width_groups(model)] == ["attention.0"]


def test_factors_survive_dynamic_quantization() -> None:
    """Every thin matrix becomes int8, and the result stays near the float model's."""
    model = built("lr:rank=8")
    quantized = parse("dq", BASE).convert(model)
    layers = [
        type(module).__name__ for module in quantized.modules() if "quantized" in type(module).__module__
    ]
    assert layers.count("Linear") == 8 + 2 + 1
    log_mel = torch.randn(1, 40, 101)
    with torch.no_grad():
        torch.testing.assert_close(quantized(log_mel).logits, model(log_mel).logits, atol=0.03, rtol=0)
        assert isinstance(quantized, KwsModel)
        streamed, _ = quantized.stream(log_mel, quantized.init_state(1, None))
        torch.testing.assert_close(streamed[:, -1], quantized(log_mel).logits, atol=0.02, rtol=0)
