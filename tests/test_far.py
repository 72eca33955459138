"""The device that stands for all others in tests: it refuses what they refuse, computes what the CPU does."""

import pytest
import torch
from torch import nn

from tests import far

pytestmark = pytest.mark.skipif(not far.HERE, reason="this torch has no devices written in Python")
DEVICE = far.DEVICE


def test_it_refuses_tensors_of_the_cpu() -> None:
    there, here = torch.ones(3, device=DEVICE), torch.ones(3)
    for mixed in (
        lambda: there + here,
        lambda: torch.cat([here, there]),
        lambda: here.index_select(0, there.long()),
        lambda: there.masked_fill_(here > 0, 0),
        lambda: nn.functional.linear(here[None], there[None]),
        lambda: nn.Linear(3, 1).to(DEVICE)(here),
    ):
        with pytest.raises(RuntimeError, match="is on the CPU, others are not"):
            mixed()
    with pytest.raises((TypeError, RuntimeError)):
        there.numpy()


def test_it_takes_what_a_card_takes() -> None:
    """Single numbers, and copies from one to the other."""
    there = torch.zeros(2, device=DEVICE)
    there.copy_(torch.tensor([1.0, 2.0]))
    found = there * torch.tensor(3.0) + 1
    assert found.device == DEVICE
    assert found.cpu().tolist() == [4.0, 7.0]
    assert found[1].item() == 7.0
    assert torch.tensor([[1.0]], device=DEVICE).device == DEVICE


@pytest.mark.parametrize("bias", [True, False])
def test_its_gru_is_the_cpus(bias: bool) -> None:
    """States and all gradients, of a layer that cards have an operation of their own for."""
    torch.manual_seed(0)
    here, heard = nn.GRU(4, 5, 2, bias=bias, batch_first=True), torch.randn(3, 7, 4)
    there = nn.GRU(4, 5, 2, bias=bias, batch_first=True).to(DEVICE)
    there.load_state_dict(here.state_dict())
    results = []
    for gru, given in ((here, heard), (there, heard.to(DEVICE))):
        given.requires_grad_()
        outputs, _ = gru(given)
        outputs.square().sum().backward()
        assert given.grad is not None
        results.append([outputs, given.grad, *(weight.grad for weight in gru.parameters())])
    for expected, found in zip(*results, strict=True):
        assert found.device == DEVICE
        torch.testing.assert_close(found.cpu(), expected, atol=1e-5, rtol=1e-5)
