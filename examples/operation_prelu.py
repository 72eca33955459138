"""An operation from outside: bench run --plugin examples/operation_prelu.py --model prelu --chain sp."""

from dataclasses import dataclass

from torch import Tensor, nn

from models.base import KwsModel, ModelOutput, ModelSpec
from models.graph.axes import Couplings
from models.graph.ops import Call, Results, operation
from models.graph.plain import Elementwise
from models.registry import register


@operation(nn.PReLU)
class Slopes(Elementwise):
    """Every number by itself, with a slope for each channel, which is cut out with it."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        couplings.place(f"{call.path}.weight", 0, call.inputs[0].axes[1].positions)
        return super().results(call, couplings)


@dataclass(frozen=True)
class PreluSpec(ModelSpec):
    channels: int = 16
    n_mels: int = 40
    n_classes: int = 2


@register("prelu", PreluSpec())
class Prelu(KwsModel):
    def __init__(self, spec: PreluSpec) -> None:
        super().__init__(spec)
        self.conv, self.act = nn.Conv1d(spec.n_mels, spec.channels, 9), nn.PReLU(spec.channels)
        self.classifier = nn.Linear(spec.channels, spec.n_classes)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.classifier(self.act(self.conv(log_mel)).mean(-1)), energies=None)
