import numpy as np
import pytest
import torch
from torch import nn

from models.thin import Factors, SparseLinear, is_pointwise, low_rank


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


def test_both_factors_are_equally_large() -> None:
    up, down = low_rank(torch.randn(9, 5), 3)
    assert up.norm().item() == pytest.approx(down.norm().item(), rel=1e-5)


LAYERS = [
    nn.Linear(7, 5),
    nn.Linear(4, 9, bias=False),
    nn.Conv1d(6, 8, 1, stride=2),
    nn.Conv1d(5, 5, 1, padding=2, bias=False),
    nn.Conv2d(6, 4, 1, stride=(1, 2), padding=(1, 0)),
    nn.Conv2d(3, 4, (1, 1), padding=1, padding_mode="circular"),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_factors_of_full_rank_are_the_layer(layer: nn.Module) -> None:
    assert is_pointwise(layer)
    rows, columns = layer.weight.shape[:2]
    factors = Factors.like(layer, min(rows, columns))
    factors.load_whole(layer.state_dict())
    beside = {nn.Linear: (3,), nn.Conv1d: (2, 9), nn.Conv2d: (2, 9, 8)}[type(layer)]
    heard = torch.randn(*beside, columns) if len(beside) == 1 else torch.randn(2, columns, *beside[1:])
    with torch.no_grad():
        torch.testing.assert_close(factors(heard), layer(heard), atol=1e-5, rtol=0)
    again = factors.whole_weights()
    assert again.keys() == layer.state_dict().keys()
    for name, tensor in layer.state_dict().items():
        torch.testing.assert_close(again[name], tensor, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_factors_hold_a_row_and_a_column_a_rank(layer: nn.Module) -> None:
    rows, columns = layer.weight.shape[:2]
    numbers = sum(parameter.numel() for parameter in Factors.like(layer, 2).parameters())
    assert numbers == 2 * (rows + columns) + rows * (layer.bias is not None)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 1, groups=2), nn.Conv2d(4, 4, (1, 3)), nn.ConvTranspose1d(4, 4, 1)],
    ids=str,
)
def test_what_is_more_than_one_matrix_is_not_pointwise(layer: nn.Module) -> None:
    assert not is_pointwise(layer)
