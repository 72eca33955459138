import pytest
import torch
from torch import Tensor, nn

from compressors.taps import Tap, listening
from models.base import KwsModel, ModelOutput, ModelSpec
from models.errors import ChainError


class Written(KwsModel):
    """A layer whose output is written into, and one that a forward can leave out."""

    def __init__(self) -> None:
        super().__init__(ModelSpec())
        self.inner, self.out, self.idle = nn.Linear(40, 3), nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.out(self.inner(log_mel.mean(-1)).mul_(-2)), None)


def test_what_a_layer_gave_is_heard_though_it_is_written_over() -> None:
    torch.manual_seed(0)
    model, clips = Written(), torch.randn(3, 40, 7)
    with listening(model, {"mine": Tap("inner", lambda output: output.square())}) as heard:
        model(clips)
    expected = nn.functional.linear(clips.mean(-1), model.inner.weight, model.inner.bias).square()
    torch.testing.assert_close(heard, {"mine": expected})
    heard["mine"].sum().backward()
    assert model.inner.weight.grad is not None
    heard.clear()
    model(clips)
    assert heard == {}, "nobody listens any more"


@pytest.mark.parametrize("path", ["gone", "idle"])
def test_a_layer_that_is_not_run_is_one_line(path: str) -> None:
    model = Written()
    with (
        pytest.raises(ChainError, match=f"^Written runs no layer '{path}' that could be listened to$"),
        listening(model, {"mine": Tap(path, lambda output: output)}),
    ):
        model(torch.randn(3, 40, 7))
    assert not model.idle._forward_hooks
