"""Weights as files: safetensors' own reader says what is in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.reading import read_safetensors, tensors_hash
from bench.results.weights import save_state


class Odd(nn.Module):
    """All that a state_dict can hold and the format cannot as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.tied = nn.Linear(3, 3)
        self.other = nn.Linear(3, 3)
        self.other.weight = self.tied.weight
        self.norm = nn.BatchNorm1d(3)
        self.turned = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
        self.register_buffer("part", torch.arange(10.0)[3:5])
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("nothing", torch.zeros(0, 4))
        self.register_buffer("brief", torch.ones(2, dtype=torch.bfloat16))


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return Odd().state_dict()


def test_whatever_a_state_holds_comes_back(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_state(state, path)
    for found in (load_file(path), read_safetensors(path)):
        assert found.keys() == state.keys()
        for name, tensor in state.items():
            assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
            assert torch.equal(found[name], tensor), name
    assert list(read_safetensors(path)) == sorted(state)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "sha256": tensors_hash(state)}


def test_the_same_weights_are_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path; from bench.results.weights import save_state;"
        "save_state({'w': torch.arange(3.0), '\u00e4': torch.tensor(1)}, Path(sys.argv[1]))"
    )
    for number in range(4):
        subprocess.run([sys.executable, "-c", code, tmp_path / f"{number}.safetensors"], check=True)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_the_hash_tells_names_kinds_shapes_and_numbers_apart_and_no_order() -> None:
    one, two = torch.arange(4.0), torch.tensor(3)
    states = [
        {"a": one, "b": two},
        {"a": one, "c": two},
        {"a": one, "b": two.int()},
        {"a": one.reshape(2, 2), "b": two},
        {"a": one + 1, "b": two},
        {"a": one},
    ]
    assert len({tensors_hash(state) for state in states}) == len(states)
    assert tensors_hash({"b": two, "a": one}) == tensors_hash(states[0])
    assert tensors_hash({"w": one.reshape(2, 2).T}) == tensors_hash({"w": one.reshape(2, 2).T.contiguous()})
