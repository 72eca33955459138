import pytest
import torch
from torch import nn

from compressors.quant_gru import QuantGRU


@pytest.mark.parametrize(("inputs", "hidden", "layers"), [(36, 10, 2), (5, 7, 1), (144, 64, 3)])
def test_it_is_torchs_gru_step_for_step(inputs: int, hidden: int, layers: int) -> None:
    torch.manual_seed(0)
    theirs, ours = (kind(inputs, hidden, layers) for kind in (nn.GRU, QuantGRU))
    theirs.batch_first = True
    ours.load_state_dict(theirs.state_dict())
    frames, first = torch.randn(4, 11, inputs), torch.randn(layers, 4, hidden)
    for state in (None, first):
        for found, expected in zip(ours(frames, state), theirs(frames, state), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    state, step_state = first, first
    for frame in frames.split(1, 1):
        (found, state), (expected, step_state) = ours(frame, state), theirs(frame, step_state)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_gradients_are_torchs() -> None:
    torch.manual_seed(0)
    theirs, ours = nn.GRU(6, 5, 2, batch_first=True), QuantGRU(6, 5, 2)
    ours.load_state_dict(theirs.state_dict())
    frames = torch.randn(4, 9, 6)
    for gru in (theirs, ours):
        gru(frames)[0].square().sum().backward()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad, atol=1e-5, rtol=1e-5)


def test_dropout_is_between_layers_and_in_training_only() -> None:
    torch.manual_seed(0)
    gru = QuantGRU(6, 5, 2, dropout=0.5)
    frames = torch.randn(4, 9, 6)
    assert not torch.equal(gru(frames)[0], gru(frames)[0])
    gru.eval()
    assert torch.equal(gru(frames)[0], gru(frames)[0])
    single = QuantGRU(6, 5, 1, dropout=0.5)
    assert torch.equal(single(frames)[0], single(frames)[0])


def test_hooks_round_what_matrices_read_and_leave_the_state() -> None:
    torch.manual_seed(0)
    names = []

    def weight(name: str, matrix: torch.Tensor) -> torch.Tensor:
        names.append(name)
        return matrix

    gru = QuantGRU(6, 5, 2, weight=weight, state=lambda values: (values * 8).round() / 8)
    outputs, state = gru(torch.randn(4, 9, 6))
    assert torch.equal(outputs * 8, (outputs * 8).round())
    assert not torch.equal(state * 8, (state * 8).round())
    assert names == ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]
