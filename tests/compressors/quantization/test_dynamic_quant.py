import pytest
import torch
from torch import nn

from compressors.chain import Chain, parse
from compressors.quantization.dynamic_quant import DynamicQuant
from models.base import KwsModel, ModelOutput, ModelSpec
from models.bc_resnet import BcResNetSpec
from models.crnn import Crnn, CrnnSpec
from models.errors import ChainError
from models.registry import build


class ConvOnly(KwsModel):
    """Nothing in it can be quantized dynamically."""

    def __init__(self) -> None:
        super().__init__(ModelSpec())
        self.conv = nn.Conv1d(40, 2, 3)

    def forward(self, log_mel: torch.Tensor) -> ModelOutput:
        return ModelOutput(self.conv(log_mel).mean(-1), None)


def test_gru_and_linear_are_int8_and_the_convolution_is_float() -> None:
    torch.manual_seed(0)
    model = build(CrnnSpec()).eval()
    assert isinstance(model, Crnn)
    quantized = DynamicQuant().convert(model)
    names = {name: type(module).__module__ for name, module in quantized.named_modules()}
    for name in ("gru", "attention.0", "attention.2", "classifier"):
        assert "quantized" in names[name], name
    assert "quantized" not in names["conv"]
    weight, _ = quantized.get_submodule("classifier")._weight_bias()  # type: ignore[operator]
    steps = model.classifier.weight / weight.q_scale()
    assert (weight.int_repr() - steps).abs().max() < 0.501


def test_it_changes_little_and_leaves_its_input_alone() -> None:
    torch.manual_seed(0)
    model, log_mel = build(CrnnSpec()).eval(), torch.randn(1, 40, 101)
    with torch.no_grad():
        before = model(log_mel).logits
        converted = DynamicQuant().convert(model)(log_mel).logits
        assert torch.equal(model(log_mel).logits, before)
    assert 0 < (converted - before).abs().max() < 0.05


def test_a_model_without_such_layers_is_refused_before_it_is_trained() -> None:
    with pytest.raises(ChainError, match="dq: BcResNet has no GRU or linear layer to quantize; sq knows"):
        parse("dq+kd", BcResNetSpec())


def test_a_conversion_that_converts_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    chain: Chain = parse("dq", CrnnSpec())
    monkeypatch.setattr(DynamicQuant, "convert", lambda self, model: model)
    with pytest.raises(ChainError, match="dq changed nothing"):
        chain.convert(build(CrnnSpec()))
