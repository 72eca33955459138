"""Norms folded into the layers before them, and taken out again."""

import pytest
import torch
from torch import Tensor, nn

from models.base import KwsModel, ModelOutput, ModelSpec
from models.graph.fold import folded, folds_of, unfolded
from models.graph.trace import graph_of


class Norms(KwsModel):
    """One norm behind each kind of layer, one whose layer another reads too, one behind a sum."""

    def __init__(self) -> None:
        super().__init__(ModelSpec())
        self.first, self.first_norm = nn.Conv1d(40, 6, 3, bias=False), nn.BatchNorm1d(6)
        self.shared, self.shared_norm = nn.Conv1d(6, 6, 1), nn.BatchNorm1d(6)
        self.plain, self.plain_norm = nn.Conv1d(6, 6, 1), nn.BatchNorm1d(6, affine=False)
        self.sum_norm = nn.BatchNorm1d(6)
        self.out, self.out_norm = nn.Linear(6, 2), nn.BatchNorm1d(2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        x = self.first_norm(self.first(log_mel))
        y = self.shared(x)
        x = self.plain_norm(self.plain(self.shared_norm(y) + y))
        x = self.sum_norm(x + y)
        return ModelOutput(self.out_norm(self.out(x.mean(-1))), None)


class Banded(KwsModel):
    """A norm for each half of the rows."""

    def __init__(self) -> None:
        super().__init__(ModelSpec())
        self.first, self.norm = nn.Conv2d(1, 3, (3, 1), stride=(2, 1), padding=(1, 0)), nn.BatchNorm2d(6)
        self.out = nn.Linear(3, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        x = self.first(log_mel.unsqueeze(1))
        batch, channels, rows, frames = x.shape
        x = self.norm(x.view(batch, channels * 2, rows // 2, frames)).view(batch, channels, rows, frames)
        return ModelOutput(self.out(x.mean((2, 3))), None)


def seen(model: KwsModel, *, alike: bool = False) -> KwsModel:
    """Norms that have seen something; ``alike``: the same in all bands."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                if tensor is not None:
                    values = torch.rand(len(tensor)) + 0.5
                    tensor.data.copy_(values[: len(tensor) // 2].repeat_interleave(2) if alike else values)
    return model.eval()


def test_what_can_be_folded() -> None:
    found = [(fold.layer, fold.norm, fold.bands) for fold in folds_of(graph_of(seen(Norms())))]
    assert found == [
        ("first", "first_norm", 1),
        ("plain", "plain_norm", 1),
        ("out", "out_norm", 1),
    ]


def test_bands_are_folded_where_their_statistics_are_the_same() -> None:
    assert folds_of(graph_of(seen(Banded()))) == ()
    (fold,) = folds_of(graph_of(seen(Banded(), alike=True)))
    assert (fold.layer, fold.norm, fold.bands) == ("first", "norm", 2)


@pytest.mark.parametrize("model", [seen(Norms()), seen(Banded(), alike=True)], ids=["norms", "banded"])
def test_folded_and_unfolded_compute_the_same(model: KwsModel) -> None:
    heard = torch.randn(3, 40, 50)
    plain = folded(model)
    expected = model(heard).logits
    torch.testing.assert_close(plain(heard).logits, expected, atol=1e-5, rtol=0)
    count = sum(isinstance(module, nn.Identity) for module in plain.modules())
    assert count == len(folds_of(graph_of(model))) > 0
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(1.1)
    back = unfolded(model, plain)
    assert type(back) is type(model)
    torch.testing.assert_close(back(heard).logits, plain(heard).logits, atol=1e-5, rtol=0)
    assert torch.equal(model(heard).logits, expected)


def test_a_norm_that_still_learns_is_not_touched() -> None:
    """Folding is of evaluation: statistics that the next batch would move are taken as they are."""
    model = seen(Norms()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = folded(model)
    assert not plain.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
