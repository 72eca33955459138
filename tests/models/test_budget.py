"""What a model takes, counted by hand and against models that are built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import registry
from models.base import KwsModel, ModelOutput, ModelSpec, count_params
from models.budget import count_unbuilt, layers_of, refuse_larger, training_bytes
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.registry import build

BASE = CrnnSpec()


@dataclass(frozen=True)
class TinySpec(ModelSpec):
    hidden: int = 3
    reads_values: bool = False


class Tiny(KwsModel):
    """A linear layer and a tanh over frames, their mean, and a linear layer."""

    def __init__(self, spec: TinySpec) -> None:
        super().__init__(spec)
        self.inner = nn.Linear(40, spec.hidden)
        self.classifier = nn.Linear(spec.hidden, 2)
        self.rate = torch.linspace(0, 1, 3)[1].item() if spec.reads_values else 0.5

    def forward(self, log_mel: Tensor) -> ModelOutput:
        inner = torch.tanh(self.inner(log_mel.transpose(1, 2)))
        return ModelOutput(self.classifier(inner.mean(1)), None)


@pytest.fixture
def tiny() -> Iterator[TinySpec]:
    registry.register("tiny", TinySpec())(Tiny)
    yield TinySpec()
    del registry._FAMILIES["tiny"]


@pytest.mark.parametrize(
    "spec",
    [
        BASE,
        CrnnSpec(channels=2, hidden=10),
        CrnnSpec(input_rank=16, recurrent_rank=16),
        CrnnSpec(input_rank=5, recurrent_rank=4, sparsity=0.5),
        CrnnSpec(recurrent_rank=8, layers=1, attention=7),
    ],
)
def test_parameters_are_counted_without_building_and_without_drawing(spec: CrnnSpec) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert count_unbuilt(spec) == count_params(build(spec))
    torch.set_rng_state(before)
    count_unbuilt(spec)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_base_by_hand() -> None:
    conv, gru = 8 * 100 + 8, 3 * 64 * (8 * 18 + 64 + 2) + 3 * 64 * (64 + 64 + 2)
    assert count_unbuilt(BASE) == conv + gru + 64 * 64 + 64 + 65 + 2 * 65 == 70_443


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden": 65}, "a model of 72,181 parameters, more than the base's 70,443"),
        ({"hidden": 20_000}, "more than the base's 70,443; give smaller sizes"),
        ({"hidden": 10**8}, "more than the base's 70,443"),
        ({"channels": 3 * 10**6}, "more than the base's 70,443"),
        ({"kernel": (5, 99_999_999_999_999)}, "more than the base's 70,443"),
        ({"hidden": 10**12}, "of these sizes cannot be built"),
        ({"channels": 10**30}, "of these sizes cannot be built"),
        ({"layers": 100_000}, "more than 10,000 weight tensors"),
        ({"layers": 10**9, "hidden": 1}, "more than 10,000 weight tensors"),
    ],
    ids=str,
)
def test_more_than_the_base_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        refuse_larger(replace(BASE, **changes), BASE)


def test_what_is_not_larger_and_the_base_itself_are_let_through(tiny: TinySpec) -> None:
    refuse_larger(BASE, BASE)
    refuse_larger(CrnnSpec(channels=4, kernel=(15, 5), hidden=21), BASE)
    refuse_larger(replace(tiny, hidden=2), tiny)
    with pytest.raises(ModelError, match="a model of 174 parameters, more than the base's 131"):
        refuse_larger(replace(tiny, hidden=4), tiny)


def test_a_family_that_computes_while_it_is_built_cannot_be_counted_ahead(tiny: TinySpec) -> None:
    base = replace(tiny, reads_values=True)
    refuse_larger(replace(base, hidden=400), base)


def test_layers_can_be_looked_at_without_memory_where_that_can_be(tiny: TinySpec) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for computes in (False, True):
        layer = layers_of(replace(tiny, reads_values=computes)).get_submodule("inner")
        assert tuple(layer.weight.shape) == (3, 40)
        assert layer.weight.is_meta is not computes
    assert torch.equal(torch.get_rng_state(), before)
    for sizes in ({"hidden": 10**18}, {"hidden": 10**30}, {"hidden": 10**18, "reads_values": True}):
        with pytest.raises(ModelError, match="of these sizes cannot be built"):
            layers_of(replace(tiny, **sizes))


def test_the_memory_of_a_step_by_hand(tiny: TinySpec) -> None:
    """Kept for the way back: the input, tanh's output, and what the last layer reads, in floats."""
    frames, batch = 101, 256
    a_clip = 4 * (40 * frames + frames * tiny.hidden + tiny.hidden)
    assert training_bytes(Tiny(tiny), batch, frames) == 16 * 131 + 2 * a_clip * batch
