import pytest
import torch
from torch import Tensor, nn

from models.integer.lower_layers import _gates
from models.integer.real import Exact, _fused, gru


class Eighths(Exact):
    """Rounds what matrices read of a state."""

    exact = False

    def state(self, values: Tensor) -> Tensor:
        return (values * 8).round() / 8


@pytest.mark.parametrize(("inputs", "hidden"), [(36, 10), (5, 7), (144, 64)])
def test_a_gru_is_torchs_step_for_step(inputs: int, hidden: int) -> None:
    torch.manual_seed(0)
    theirs = nn.GRU(inputs, hidden, batch_first=True)
    own = _gates(theirs.weight_ih_l0, theirs.bias_ih_l0, theirs.weight_hh_l0, theirs.bias_hh_l0)
    frames, first = torch.randn(4, 11, inputs), torch.randn(4, hidden)
    expected, last = theirs(frames, first[None])
    found, state = gru(frames, own, Exact(), 1, first)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(state, last[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(_fused(frames, own), theirs(frames)[0], atol=1e-6, rtol=0)
    state = first
    for frame, each in zip(frames.split(1, 1), expected.split(1, 1), strict=True):
        now, state = gru(frame, own, Exact(), 1, state)
        torch.testing.assert_close(now, each, atol=1e-6, rtol=0)


def test_gradients_are_torchs() -> None:
    torch.manual_seed(0)
    theirs = nn.GRU(6, 5, batch_first=True)
    frames = torch.randn(4, 9, 6)
    found = {}
    for name, run in {
        "theirs": lambda own: theirs(frames)[0],
        "ours": lambda own: gru(frames, own, Exact(), 1)[0],
        "fused": lambda own: _fused(frames, own),
    }.items():
        theirs.zero_grad()
        own = _gates(theirs.weight_ih_l0, theirs.bias_ih_l0, theirs.weight_hh_l0, theirs.bias_hh_l0)
        run(own).square().sum().backward()
        found[name] = [parameter.grad.clone() for parameter in theirs.parameters()]
    for name in ("ours", "fused"):
        for one, other in zip(found[name], found["theirs"], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_rounding_is_of_what_matrices_read_and_leaves_the_state() -> None:
    torch.manual_seed(0)
    theirs = nn.GRU(6, 5, batch_first=True)
    own = _gates(theirs.weight_ih_l0, theirs.bias_ih_l0, theirs.weight_hh_l0, theirs.bias_hh_l0)
    outputs, state = gru(torch.randn(4, 9, 6), own, Eighths(), 1)
    assert torch.equal(outputs * 8, (outputs * 8).round())
    assert not torch.equal(state * 8, (state * 8).round())
