from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressors.chain import parse
from compressors.quantization.fake_quant import RoundingModel, fake_rows
from compressors.quantization.quantize import best_step
from compressors.quantization.quantized import QuantAware, StaticQuant, width_of
from compressors.quantization.weight_only import RoundedWeights
from models import registry
from models.base import KwsModel, ModelOutput, ModelSpec
from models.crnn import Crnn, CrnnSpec
from models.errors import ChainError
from models.graph.fold import folded
from models.integer.kws import IntegerKws
from models.integer.lower import lowered
from models.integer.ops import shapes_of
from models.registry import build

STUDENT = CrnnSpec(channels=2, hidden=10)


@dataclass(frozen=True)
class OddSpec(ModelSpec):
    hidden: int = 24


class Odd(KwsModel):
    """A GRU, and an activation without an integer form."""

    def __init__(self, spec: OddSpec) -> None:
        super().__init__(spec)
        self.gru = nn.GRU(40, spec.hidden, batch_first=True)
        self.classifier = nn.Linear(spec.hidden, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        outputs, _ = self.gru(log_mel.transpose(1, 2))
        return ModelOutput(self.classifier(functional.gelu(outputs[:, -1])), None)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._FAMILIES, "odd", registry.Family("odd", OddSpec(), Odd))


@pytest.fixture
def log_mel() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    level = 3 * torch.randn(64, 40, 1, generator=generator) - 8
    return level + torch.randn(64, 40, 101, generator=generator)


def student(spec: CrnnSpec = STUDENT) -> KwsModel:
    torch.manual_seed(0)
    return build(spec).eval()


@pytest.mark.parametrize("bits", ["8", "4", "8/gru.hh=4/conv=6", "2"])
@pytest.mark.parametrize("activations", [8, 16])
def test_training_sees_what_ships(bits: str, activations: int, log_mel: Tensor) -> None:
    """Logits of the rounded float model and of the integer model; the float ones are far more off."""
    compressor = QuantAware(bits=bits, activations=activations)
    model = student()
    rounded = compressor.calibrate(model, log_mel)
    shipped = compressor.convert(rounded)
    with torch.inference_mode():
        floats, fake, whole = (form(log_mel) for form in (model, rounded, shipped))
    error = (fake.logits - whole.logits).square().mean().sqrt().item()
    assert error < (1.5e-3 if activations == 8 else 3e-4)
    assert error < 0.5 * (floats.logits - whole.logits).square().mean().sqrt().item()
    assert (fake.energies - whole.energies).abs().max() < 0.02


def test_rounding_leaves_the_model_alone_and_comes_off_again(log_mel: Tensor) -> None:
    model = student()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rounded = QuantAware(bits="4").calibrate(model, log_mel)
    assert isinstance(rounded, RoundingModel)
    plain = rounded.float_form()
    assert type(plain) is Crnn
    for form in (model.state_dict(), plain.state_dict()):
        assert form.keys() == before.keys()
        assert all(torch.equal(form[name], before[name]) for name in before)
    rounded.train()
    rounded(log_mel).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in rounded.parameters())
    trained = {name.removeprefix("plain.") for name, _ in rounded.named_parameters()}
    assert trained == set(dict(model.named_parameters()))
    with torch.no_grad():
        rounded.plain.get_parameter("classifier.bias").add_(1)
    moved = rounded.float_form().state_dict()
    torch.testing.assert_close(moved["classifier.bias"], before["classifier.bias"] + 1)
    assert torch.equal(model.state_dict()["classifier.bias"], before["classifier.bias"])


def test_rows_have_scales_of_their_own() -> None:
    weight = torch.tensor([[7.0, -3.4, 0.2], [0.07, 0.034, -0.07]])
    rounded = fake_rows(weight, 4)
    torch.testing.assert_close(rounded, torch.tensor([[7.0, -3, 0], [0.07, 0.03, -0.07]]), atol=1e-4, rtol=0)


def test_ranges_give_up_rare_values_for_a_finer_step() -> None:
    values = np.random.default_rng(0).normal(0, 1, 10_000)
    values[0] = 8.0
    step = best_step(values, 4)
    assert 0.3 < step < 0.4  # 0.335 is the known optimum of 16 levels on a normal distribution
    assert best_step(np.zeros(5), 8) > 0


@pytest.mark.parametrize(
    ("bits", "name", "width"),
    [
        ("4", "conv", 4),
        ("4/gru=8", "gru.1.hh.n", 8),
        ("gru.hh=4/gru=6", "gru.0.hh.r", 4),
        ("gru.hh=4/gru=6", "gru.0.ih.r", 6),
        ("gru.n=3/gru.hh=4", "gru.0.hh.n", 4),  # of two that are as exact, the last
        ("hh=4/hh.z=5", "gru.1.hh.z", 5),
        ("classifier=7", "conv", 8),
    ],
)
def test_widths_of_matrices(bits: str, name: str, width: int) -> None:
    assert width_of("qat", bits, name) == width
    form = lowered(student())
    names = [form.names_of(at, shapes_of(form.program)) for at in range(len(form.program))]
    widths = StaticQuant(bits=bits).widths(form)
    assert {one: own for pair in zip(names, widths, strict=True) for one, own in zip(*pair, strict=True)}[
        name
    ] == width


@pytest.mark.parametrize("name", ["crnn", "gru", "ds-cnn", "tc-resnet8", "bc-resnet"])
def test_every_matrix_of_every_family_can_be_named(name: str) -> None:
    spec = registry.family(name).default
    form = lowered(folded(build(spec)))
    shapes = shapes_of(form.program)
    names = [one for at in range(len(form.program)) for one in form.names_of(at, shapes)]
    assert len(names) > 4
    for one in names:
        assert parse(f"sq:bits=8/{one}=4", spec).converts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("qat:bits=9+kd", "bits=9 must be a width from 2 to 8"),
        ("qat:bits=1+kd", "bits=1 must be"),
        ("sq:bits=four+kd", "bits=four must be"),
        ("sq:bits=8/gru.hh+kd", "bits=gru.hh must be"),
        ("sq:bits=gru.7=4+kd", "bits of 'gru.7': no such matrix; there is: conv, gru.0.ih.r"),
        ("sq:bits=hh.gru=4+kd", "no such matrix"),
        ("sq:activations=12+kd", "activations=12 must be 8 or 16"),
        ("sq:activations=16", ""),
        ("kd+qat", "nothing can be trained after 'qat'"),
        ("qat+dq", "both make the form that ships"),
        ("sq:fallback=perhaps", "true or false"),
        ("qat:ranges=3", "its options: bits=, activations=, fallback="),
    ],
)
def test_refusals(text: str, says: str) -> None:
    if not says:
        assert parse(text, CrnnSpec()).converts
        return
    with pytest.raises(ChainError, match=says):
        parse(text, CrnnSpec())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sq:activations=16+kd:hidden=300", "too many for 32 bits; use activations=8, fewer bits"),
        ("sq+kd:hidden=300", "classifier sums up 300 products, too many for 32 bits; use fewer bits or a"),
    ],
)
def test_sums_beyond_32_bits_are_refused(text: str, says: str) -> None:
    with pytest.raises(ChainError, match=says):
        parse(text, CrnnSpec(hidden=320))


def test_tuning_keeps_the_terms_and_leaves_pruning_out() -> None:
    chain = parse("qat:bits=4+sp+ad+kd", CrnnSpec())
    assert chain.tuning.text == "qat:bits=4+ad+kd"
    assert [part.token for part in chain.tuning.parts] == ["kd", "ad", "qat"]
    assert chain.trained.text == "sp+ad+kd"
    assert parse("sq+sp+ad+kd", CrnnSpec()).tuning.parts == ()
    assert parse("qat", CrnnSpec()).tuning.text == "qat"


def test_a_model_without_an_integer_form_is_refused_unless_float_is_asked_for(
    log_mel: Tensor, registered: None
) -> None:
    with pytest.raises(ChainError, match=r"sq: in Odd, gelu has no integer form; .*fallback=true"):
        parse("sq", OddSpec())
    for options in ("bits=8/gru.hh=4", "activations=16"):
        with pytest.raises(ChainError, match="float fallback only one width of all weights"):
            parse(f"sq:fallback=true,{options}", OddSpec())
    chain = parse("sq:fallback=true", OddSpec())
    model = build(OddSpec()).eval()
    shipped = chain.convert(chain.calibrate(model, log_mel))
    assert isinstance(shipped, RoundedWeights)
    exact, rounded = model(log_mel).logits, shipped(log_mel).logits
    assert 0 < (exact - rounded).abs().max() < 0.05
    matrices = 72 * 40 + 72 * 24 + 2 * 24
    rows, biases = 72 + 72 + 2, 72 + 72 + 2
    stored = sum(tensor.nbytes for tensor in shipped.state_dict().values())
    assert stored == matrices + 2 * rows + 4 * biases
    now, _ = shipped.stream(log_mel, shipped.init_state(64))
    assert now.shape == (64, 101, 2)
    torch.testing.assert_close(now[:, -1], rounded, atol=1e-5, rtol=0)


def test_a_model_with_nothing_to_round_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(KwsModel):
        def __init__(self) -> None:
            super().__init__(ModelSpec())
            self.norm = nn.LayerNorm(40)

        def forward(self, log_mel: Tensor) -> ModelOutput:
            return ModelOutput(self.norm(log_mel.mean(-1))[:, :2], None)

    monkeypatch.setattr("compressors.quantization.quantized.build", lambda spec: Bare())
    with pytest.raises(ChainError, match=r"LayerNorm.*an operation that is not known.*fallback=true"):
        StaticQuant().check(ModelSpec(), ModelSpec())
    with pytest.raises(ChainError, match="no layer is left to round"):
        StaticQuant(fallback=True).check(ModelSpec(), ModelSpec())


def test_a_model_is_converted_after_it_was_calibrated(log_mel: Tensor) -> None:
    chain = parse("sq+ad+kd", CrnnSpec())
    with pytest.raises(ChainError, match="sq: ranges are calibrated on clips before"):
        chain.convert(student())
    assert isinstance(chain.convert(chain.calibrate(student(), log_mel)), IntegerKws)
