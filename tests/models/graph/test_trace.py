import pytest
import torch
from torch import Tensor, nn

from compressors.chain import Chain
from compressors.distill import DarkKD
from compressors.quantization.dynamic_quant import DynamicQuant
from compressors.structured_prune import StructuredPrune
from models.base import KwsModel, ModelOutput, ModelSpec
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.graph import ops
from models.graph.axes import Couplings
from models.graph.ops import Call, Operation, Results, operation
from models.graph.trace import graph_of
from models.graph.units import width_groups
from tests.zoo import SPECS, DepthwiseSpec, ResidualSpec, model_of, name_of


class Summing(KwsModel):
    """Uses what no one has told the graph of."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.out = nn.Linear(40, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.out(torch.cumsum(log_mel, -1)[..., -1]), None)


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_a_graph_names_what_the_state_dict_holds_and_leaves_the_model_alone(spec: ModelSpec) -> None:
    model = model_of(spec).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    graph = graph_of(model)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    weights = {name for name in before if not name.endswith("num_batches_tracked")}
    assert weights <= {name for name, _ in graph.couplings.places}
    assert graph.logits.axes[-1].kinds == ("class",)
    assert [own.kinds for own in graph.nodes[0].axes] == [("batch",), ("mel",), ("time",)]


def test_axes_say_what_they_are_and_what_a_flatten_made_them_of() -> None:
    nodes = {node.path or node.name: node for node in graph_of(model_of(CrnnSpec())).nodes}
    kinds = {name: [own.kinds for own in node.axes] for name, node in nodes.items()}
    assert kinds["conv"] == [("batch",), ("channel",), ("mel",), ("time",)]
    assert kinds["transpose"] == [("batch",), ("time",), ("channel", "mel")]
    assert kinds["gru"] == [("batch",), ("time",), ("unit",)]
    assert kinds["softmax"] == [("batch",), ("time",)]
    assert kinds["bmm"] == [("batch",), ("one",), ("unit",)]
    assert [part.size for part in nodes["flatten"].axes[1].parts] == [8, 18]


def test_a_failing_test_can_show_a_graph() -> None:
    """A node's text is not made of those of all the paths that lead to it."""
    graph = graph_of(model_of(ResidualSpec()))
    assert len(repr(graph.logits)) < 200
    assert len(repr(graph.nodes)) < 200 * len(graph.nodes)


def test_depthwise_follows_its_input_and_a_sum_couples_both_sides() -> None:
    book = graph_of(model_of(DepthwiseSpec())).couplings
    assert set(book.owners) == {"stem.0", "point", "gate", "classifier"}
    book = graph_of(model_of(ResidualSpec())).couplings
    places = [
        [book.find(own[0]) for own in book.places[f"{name}.weight", 0]] for name in ("main.1", "shortcut")
    ]
    assert places[0] == places[1]


def test_an_unknown_operation_is_refused_when_a_phase_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Summing(ModelSpec()).eval()
    with pytest.raises(
        ModelError, match=r"Summing uses cumsum, .* known are: .*conv1d, .*; a plugin adds one"
    ):
        StructuredPrune().prepare(model)
    chain = Chain((DarkKD(), DynamicQuant()))
    converted = chain.convert(chain.surgery(chain.prepare(model)))
    assert converted(torch.randn(1, 40, 101)).logits.shape == (1, 2)

    monkeypatch.setattr(ops, "_OPERATIONS", dict(ops._OPERATIONS))

    @operation(torch.cumsum)
    class Cumulative(Operation):
        def results(self, call: Call, couplings: Couplings) -> Results:
            return (call.inputs[0].axes,)

    assert width_groups(model) == ()


class Asking(Summing):
    def forward(self, log_mel: Tensor) -> ModelOutput:
        if log_mel.max() > 0:
            log_mel = -log_mel
        return ModelOutput(self.out(log_mel.mean(-1)), None)


class Cutting(Summing):
    def forward(self, log_mel: Tensor) -> ModelOutput:
        batch, mels, frames = log_mel.shape
        return ModelOutput(self.out(log_mel.reshape(batch, frames, mels).mean(1)), None)


class Fixed(Summing):
    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.out(log_mel[..., :40])[:, 0], None)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Asking, "the forward of Asking cannot be read: "),
        (Cutting, r"a reshape from \[3, 40, 211\] to \[3, 211, 40\] cuts across its axes"),
        (Fixed, "of batch and time only all, or the last frame, can be taken"),
    ],
)
def test_forwards_that_cannot_be_read_say_why(kind: type[KwsModel], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        graph_of(kind(ModelSpec()))


def test_what_is_known_is_not_taken_over() -> None:
    before = ops.operation_of(nn.Linear(1, 1))
    with pytest.raises(ModelError, match=r"Linear is an operation already, by .*layers\.py"):

        @operation(torch.cumsum, nn.Linear)
        class Other(Operation):
            def results(self, call: Call, couplings: Couplings) -> Results:
                return ()

    assert ops.operation_of(nn.Linear(1, 1)) is before
    assert ops.operation_of(torch.cumsum) is None
