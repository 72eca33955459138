"""Stretches of a GRU side by side come to what one frame after the other comes to."""

import numpy as np
import numpy.typing as npt
import pytest

import models.integer.stretches as subject
from models.crnn import CrnnSpec
from models.integer.model import IntegerModel
from models.integer.ops import Gru
from models.integer.run import recur
from tests.test_every_family import integer

LAYERS = [(CrnnSpec(channels=2, hidden=10), 8), (CrnnSpec(2, hidden=16, input_rank=2, recurrent_rank=2), 16)]


def layer(spec: CrnnSpec, activations: int) -> tuple[Gru, IntegerModel, int, int]:
    """The first GRU layer of a model, its place, and how many numbers it reads."""
    model = integer(spec, activations=activations)
    at, op = next((at, op) for at, op in enumerate(model.program) if isinstance(op, Gru))
    return op, model, at, model.shapes[op.inputs[0]].size


def inputs(batch: int, size: int, frames: int, level: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(0).integers(-level, level, (batch, size, frames), endpoint=True)


@pytest.mark.parametrize(("spec", "activations"), LAYERS)
@pytest.mark.parametrize("level", [3, 127])
@pytest.mark.parametrize(("batch", "frames"), [(1, 64), (1, 3001), (3, 700)])
def test_bit_for_bit(spec: CrnnSpec, activations: int, level: int, batch: int, frames: int) -> None:
    op, model, at, size = layer(spec, activations)
    x = inputs(batch, size, frames, level)
    hidden = np.random.default_rng(1).integers(-(2**15), 2**15, (batch, op.hidden))
    expected = recur(op, model, at, x, hidden)
    for one, other in zip(subject.recur_at_once(op, model, at, x, hidden), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rounds", [0, 1, 6, 100])
def test_a_layer_that_never_forgets_is_right_too(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame adds to the state here, so no guess holds before all stretches in front of it are known."""
    op, model, at, size = layer(*LAYERS[0])
    frames: list[int] = []

    def adds(
        op: Gru, model: IntegerModel, at: int, x: npt.NDArray[np.int64], hidden: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        frames.append(len(x) * x.shape[-1])
        outputs = hidden[..., None] + x[:, : op.hidden].cumsum(-1)
        return outputs, outputs[..., -1]

    monkeypatch.setattr(subject, "recur", adds)
    monkeypatch.setattr(subject, "ROUNDS", rounds)
    x = inputs(2, size, 1000, 9)
    outputs, last = subject.recur_at_once(op, model, at, x, np.ones((2, op.hidden), np.int64))
    np.testing.assert_array_equal(outputs, 1 + x[:, : op.hidden].cumsum(-1))
    np.testing.assert_array_equal(last, outputs[..., -1])
    # Those that are known are left alone: 15 + 14 + ... at the most.
    assert sum(frames) <= 2 * (1000 // 15) * 15 * 16 / 2 + 2 * 15


def test_what_is_forgotten_is_computed_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is the last frame alone."""
    op, model, at, size = layer(*LAYERS[0])
    calls: list[int] = []

    def forgets(
        op: Gru, model: IntegerModel, at: int, x: npt.NDArray[np.int64], hidden: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        calls.append(len(x))
        before = np.concatenate([hidden[..., None], x[:, : op.hidden, :-1]], -1)
        return before, x[:, : op.hidden, -1]

    monkeypatch.setattr(subject, "recur", forgets)
    x = inputs(1, size, 64 * 10, 9)
    outputs, _ = subject.recur_at_once(op, model, at, x, np.zeros((1, op.hidden), np.int64))
    np.testing.assert_array_equal(outputs[..., 1:], x[:, : op.hidden, :-1])
    assert calls == [10, 9]
