from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch

from compressors.chain import parse
from compressors.structured_prune import StructuredPrune, kept_units
from compressors.surgery import narrow, zero_units
from models import registry
from models.base import KwsModel, ModelSpec, count_params, spec_values
from models.crnn import Crnn, CrnnSpec
from models.errors import ChainError, ModelError
from models.graph.units import width_groups
from models.registry import build
from tests import zoo

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


def test_a_rank_beyond_all_matrices_is_one_short_line() -> None:
    with pytest.raises(ChainError, match=r"^lr: .* rank 1e\+300 is more than any matrix has; at most 65536$"):
        parse("lr:rank=1e300", BASE)


@pytest.mark.parametrize("token", ["dq", "sq", "qat", "sp"])
def test_what_knows_no_sparse_factors_is_refused(token: str) -> None:
    assert parse(f"{token}+lr" if token != "sp" else "lr+sp", BASE).parts
    with pytest.raises(ChainError, match=f"{token} knows no sparse factors; use it with lr, or lr:sparsity"):
        parse(f"{token}+lr:sparsity=0.5" if token != "sp" else "lr:sparsity=0.5+sp", BASE)


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


@pytest.fixture
def zoo_families() -> Iterator[None]:
    """The models of tests as families, for what asks for them by name."""
    for spec, model in zoo.OWN.items():
        registry.register(model.__name__.lower(), spec())(model)
    yield
    for model in zoo.OWN.values():
        del registry._FAMILIES[model.__name__.lower()]


@pytest.mark.usefixtures("zoo_families")
@pytest.mark.parametrize(
    ("base", "text", "gru", "layers"),
    [
        # 6 x 8; the classifier stays.
        (zoo.ResidualSpec(), "lr", (0, 0), (2, 0)),
        # 6 x 16 and 6 x 6, which 2 make smaller.
        (zoo.DepthwiseSpec(), "lr", (0, 0), (2, 2, 0)),
        (zoo.DepthwiseSpec(), "lr:layers=3", (0, 0), (3, 0, 0)),
        (zoo.DepthwiseSpec(), "lr+sp", (0, 0), (1, 1, 0)),
        # With a GRU that one alone, of width 5.
        (zoo.CausalSpec(), "lr", (1, 1), ()),
        (zoo.CausalSpec(), "lr:layers=0.3", (1, 1), (3, 0, 0)),
        (zoo.CausalSpec(), "lr:rank=0,layers=4", (0, 0), (4, 0, 0)),
        (BASE, "lr", (16, 16), ()),
        (BASE, "lr:layers=0.125", (16, 16), (8, 0, 0)),
        (BASE, "lr:layers=0.125+ad+kd", (2, 2), (1, 0, 0)),
    ],
    ids=str,
)
def test_every_family_is_factored(
    base: ModelSpec, text: str, gru: tuple[int, int], layers: tuple[int, ...]
) -> None:
    student = parse(text, base).student(base)
    assert (student.input_rank, student.recurrent_rank) == gru
    assert student.layer_ranks == layers


@pytest.mark.usefixtures("zoo_families")
@pytest.mark.parametrize(
    ("base", "text", "says"),
    [
        (
            zoo.SplitSpec(),
            "lr",
            "Split has no layer that 0.25 makes smaller; a GRU could be, or a linear layer",
        ),
        (zoo.ResidualSpec(), "lr:rank=4", r"Residual has no layer that 4 makes .*: shortcut \(1 to 3\)$"),
        (zoo.ResidualSpec(), "lr:rank=0", "keeps every matrix whole"),
        (zoo.ResidualSpec(), "lr:layers=-2", "layer rank -2 must be a whole number"),
        (zoo.ResidualSpec(), "lr:input=2", "Residual has no GRU; give rank or layers"),
        (zoo.ResidualSpec(), "lr:sparsity=0.5", "Residual has no GRU"),
        (BASE, "lr:layers=40", r"Crnn has no layer that 40 makes .*: attention.0 \(1 to 31\)$"),
        (BASE, "lr+kd:hidden=1000000000000", "a model of these sizes cannot be built"),
    ],
)
def test_what_cannot_be_factored_is_refused(base: ModelSpec, text: str, says: str) -> None:
    with pytest.raises(ChainError, match=says):
        parse(text, base)


def masked_of(prepared: KwsModel) -> KwsModel:
    """All that goes is zero, and nothing is cut."""
    masked = deepcopy(prepared)
    for group in width_groups(prepared):
        gone = set(range(group.size)) - set(kept_units(prepared, group).tolist())
        zero_units(masked, group, torch.tensor(sorted(gone)))
    return masked


@pytest.mark.usefixtures("zoo_families")
@pytest.mark.parametrize("text", ["lr:layers=0.0625+sp", "sp:keep=0.5+lr:rank=2,layers=2+kd:alpha=0.5"])
@pytest.mark.parametrize("base", [BASE, *(spec.whole for spec in zoo.FACTORED)], ids=zoo.name_of)
def test_factors_are_cut_to_what_masking_computes(base: ModelSpec, text: str) -> None:
    chain = parse(text, base)
    spec = chain.student(base)
    assert any(spec.layer_ranks)
    model = chain.prepare(zoo.model_of(spec))
    masked, cut = masked_of(model), chain.surgery(model)
    log_mel = torch.randn(2, 40, 101)
    with torch.no_grad():
        torch.testing.assert_close(cut(log_mel).logits, masked(log_mel).logits, atol=1e-5, rtol=0)
        assert not torch.allclose(cut(log_mel).logits, model(log_mel).logits, atol=1e-3)
    assert cut.spec.layer_ranks == spec.layer_ranks
    assert count_params(cut) < count_params(model)


@pytest.mark.usefixtures("zoo_families")
@pytest.mark.parametrize("base", [zoo.ResidualSpec(), zoo.DepthwiseSpec(), zoo.CausalSpec()], ids=zoo.name_of)
def test_thin_layers_of_every_family_survive_dynamic_quantization(base: ModelSpec) -> None:
    model = zoo.model_of(parse("dq+lr", base).student(base))
    log_mel = torch.randn(1, 40, 101)
    with torch.no_grad():
        quantized = parse("dq+lr", base).convert(model)
        torch.testing.assert_close(quantized(log_mel).logits, model(log_mel).logits, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("keep", "ranks"),
    # 6 x 8 takes at most rank 3 and 6 x 6 rank 2; 5 x 6 and 5 x 5 take 2.
    [(0.25, (3, 2, 0)), (0.2, (0, 2, 0))],
)
def test_factors_that_a_cut_leaves_no_use_for_are_multiplied_out(keep: float, ranks: tuple[int, ...]) -> None:
    prune, wide = StructuredPrune(keep=keep), zoo.model_of(zoo.DepthwiseSpec(16, 24, layer_ranks=(3, 2, 0)))
    model = prune.prepare(wide)
    cut, masked = prune.surgery(model), masked_of(model)
    assert cut.spec.layer_ranks == ranks
    assert cut.state_dict().keys() == zoo.model_of(cut.spec).state_dict().keys()
    log_mel = torch.randn(2, 40, 101)
    with torch.no_grad():
        torch.testing.assert_close(cut(log_mel).logits, masked(log_mel).logits, atol=1e-5, rtol=0)


def test_a_cut_that_leaves_no_use_for_any_factor_is_refused() -> None:
    """1 x 2 and 1 x 1 are smaller than any two factors."""
    prune, wide = StructuredPrune(keep=0.05), zoo.model_of(zoo.DepthwiseSpec(16, 24, layer_ranks=(3, 2, 0)))
    with pytest.raises(ModelError, match="no layer is smaller as two factors; give a lower rank"):
        prune.surgery(prune.prepare(wide))


def test_an_option_that_came_later_does_not_rename_runs() -> None:
    assert set(spec_values(parse("lr", BASE).parts[0])) == {"rank", "input", "recurrent", "sparsity"}
    assert spec_values(parse("lr:layers=2", BASE).parts[0])["layers"] == 2
