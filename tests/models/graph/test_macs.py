import pytest
import torch
from ptflops.pytorch_ops import MODULES_MAPPING
from torch import nn

from bench.cost import count_macs
from models.base import KwsModel, ModelOutput, ModelSpec
from models.crnn import CrnnSpec
from models.graph.macs import macs_by_node
from models.graph.trace import graph_of
from tests.zoo import SPECS, model_of, name_of


class Pools(KwsModel):
    """What the zoo does not hold: pools and activations that are layers."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.act, self.soft, self.pool = nn.LeakyReLU(), nn.SiLU(), nn.AvgPool1d(3, 2)
        self.norm, self.last = nn.BatchNorm1d(40, affine=False), nn.AdaptiveAvgPool1d(1)
        self.out = nn.Linear(40, 2, bias=False)

    def forward(self, log_mel: torch.Tensor) -> ModelOutput:
        x = self.last(self.soft(self.pool(self.norm(self.act(log_mel)))))
        return ModelOutput(self.out(x.flatten(1)), None)


MODELS = [*map(model_of, SPECS), Pools(ModelSpec()).eval()]
NAMES = [*map(name_of, SPECS), "pools"]


def counted(model: KwsModel, frames: int) -> dict[str, int]:
    """What the hooks of ptflops count for each layer by itself."""
    layers = {name: layer for name, layer in model.named_modules() if type(layer) in MODULES_MAPPING}
    hooks = [layer.register_forward_hook(MODULES_MAPPING[type(layer)]) for layer in layers.values()]
    for layer in layers.values():
        layer.__flops__ = 0
    with torch.no_grad():
        model(torch.zeros(1, 40, frames))
    for hook in hooks:
        hook.remove()
    return {name: int(layer.__dict__.pop("__flops__")) for name, layer in layers.items()}


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@pytest.mark.parametrize("frames", [98, 211])
def test_each_layer_is_counted_as_ptflops_counts_it(model: KwsModel, frames: int) -> None:
    graph = graph_of(model, frames)
    found = macs_by_node(graph)
    assert list(found) == list(graph.nodes)
    assert sum(found.values()) == count_macs(model, frames)
    if model.spec.factored_gru:
        return
    by_path = dict.fromkeys(counted(model, frames), 0)
    for node, macs in found.items():
        if macs:
            by_path[node.path] += macs
    assert by_path == counted(model, frames)


def test_a_factored_layer_is_one_node() -> None:
    """By hand, a frame: 36 rows for 2 columns of 36 channels each, and 2 for the state; 6 biases, 7 steps."""
    model = model_of(CrnnSpec(channels=2, hidden=12, layers=1, input_rank=3, recurrent_rank=4))
    (gru,) = (macs for node, macs in macs_by_node(graph_of(model)).items() if node.path == "gru")
    frames = (211 - 20) // 8 + 1
    assert gru == frames * (3 * (36 + 36) + 4 * (36 + 12) + (6 + 7) * 12)
