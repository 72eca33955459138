"""Many frames at once say what one after the other says: every family, operation, form and buffer."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressors.quantization.dynamic_quant import DynamicQuant
from compressors.quantization.weight_only import RoundedWeights
from compressors.structured_prune import StructuredPrune
from models.base import KwsModel, ModelOutput, ModelSpec
from models.graph.axes import TIME, Couplings, place_of
from models.graph.ops import Call, Function, Node, Operation, Results, operation
from models.graph.stream import Stream
from models.graph.whole import Whole, whole_of
from tests.zoo import SPECS, model_of, name_of

FRAMES = 151
BUFFERS = (1, 4, 24, None)
every = pytest.mark.parametrize("spec", SPECS, ids=name_of)
buffers = pytest.mark.parametrize("buffer", BUFFERS)


def said(model: KwsModel, audio: Tensor, sizes: list[int], buffer: int | None, at_once: bool) -> Tensor:
    state, found = model.init_state(len(audio), buffer, at_once=at_once), []
    with torch.no_grad():
        for chunk in audio.split(sizes, -1):
            logits, state = model.stream(chunk, state)
            found.append(logits)
    return torch.cat(found, 1)


def cuts(frames: int, seed: int) -> list[int]:
    """Chunks of random lengths, some of them empty."""
    places = np.sort(np.random.default_rng(seed).integers(0, frames, 5))
    return np.diff([0, *places, places[-1], frames]).tolist()


def assert_same(model: KwsModel, buffer: int | None, frames: int = FRAMES) -> None:
    """However the audio is cut, as one frame after the other."""
    assert isinstance(whole_of(model.running(), buffer), Whole)
    audio = torch.randn(2, 40, frames)
    expected = said(model, audio, [frames], buffer, False)
    scale = max(1.0, float(expected.abs().max()))
    for sizes in ([frames], cuts(frames, 0), [1] * frames):
        found = said(model, audio, sizes, buffer, True)
        torch.testing.assert_close(found, expected, atol=1e-5 * scale, rtol=0)
    assert expected.shape[1] > 3
    assert float(expected.std(1).max()) > 1e-4


@every
@buffers
def test_whole_audio_says_what_the_stream_says(spec: ModelSpec, buffer: int | None) -> None:
    assert_same(model_of(spec), buffer)


@every
@pytest.mark.parametrize("form", ["pruned", "rounded"])
def test_students_too(spec: ModelSpec, form: str) -> None:
    model = model_of(spec)
    if form == "rounded":
        model = RoundedWeights(model, 8).eval()
    else:
        compressor = StructuredPrune(keep=0.5)
        model = compressor.surgery(compressor.prepare(model)).eval()
    assert_same(model, 5)


@every
def test_a_recording_says_the_same_beside_longer_ones(spec: ModelSpec) -> None:
    """What stands behind its end is not heard before: its own decisions are the first of the longer one's."""
    model, lengths = model_of(spec), (113, FRAMES, 130)
    audio = torch.randn(3, 40, FRAMES)
    together = said(model, audio, [FRAMES], 6, True)
    for number, length in enumerate(lengths):
        alone = said(model, audio[number : number + 1, :, :length], [length], 6, False)
        found = together[number : number + 1, : alone.shape[1]]
        assert alone.shape[1]
        torch.testing.assert_close(found, alone, atol=1e-5 * max(1.0, float(alone.abs().max())), rtol=0)


def test_no_audio_says_nothing() -> None:
    model = model_of(SPECS[0])
    assert said(model, torch.zeros(2, 40, 0), [0], 4, True).shape == (2, 0, 2)


class Model(KwsModel):
    """What the models below have in common."""

    def __init__(self) -> None:
        super().__init__(ModelSpec())
        self.conv = nn.Conv1d(40, 6, 3)
        self.out = nn.Linear(6, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.said(log_mel), None)

    def said(self, log_mel: Tensor) -> Tensor:
        raise NotImplementedError


class States(Model):
    """The states of all layers of a GRU: torch gives those of the end alone."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.gru = nn.GRU(40, 6, layers, batch_first=True)

    def said(self, log_mel: Tensor) -> Tensor:
        return self.out(self.gru(log_mel.transpose(1, 2))[1][0])


class TimeFirst(States):
    """A GRU whose frames stand before its batch, and its state after it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.gru = nn.GRU(40, 6)

    def said(self, log_mel: Tensor) -> Tensor:
        outputs, state = self.gru(log_mel.permute(2, 0, 1))
        return self.out(outputs.mean(0) + state[-1])


class Gated(Model):
    """A layer over the last frames waits until there are enough."""

    def said(self, log_mel: Tensor) -> Tensor:
        return self.out(self.conv(log_mel * torch.sigmoid(log_mel.mean(-1, keepdim=True))).mean(-1))


class GatedBeside(Gated):
    """And then meets what has been there from the start."""

    def said(self, log_mel: Tensor) -> Tensor:
        return super().said(log_mel) + log_mel[:, :2, -1]


class Skipping(Model):
    """A stride longer than the window."""

    def __init__(self) -> None:
        super().__init__()
        self.skip = nn.Conv1d(6, 6, 2, stride=5)

    def said(self, log_mel: Tensor) -> Tensor:
        return self.out(self.skip(self.conv(log_mel)).amax(-1))


class Ahead(Model):
    """Zeros before and behind make decisions before the first frame, which nobody hears."""

    def said(self, log_mel: Tensor) -> Tensor:
        padded = nn.functional.pad(log_mel, (2, 1))
        return self.out(padded.transpose(1, 2)[..., :6].mean(1))


class Decay(nn.Module):
    """A memory from outside: a mean that forgets."""

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x, None)[0]

    def step(self, x: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        memory = torch.zeros_like(x[..., 0]) if memory is None else memory
        found = []
        for frame in x.unbind(-1):
            memory = 0.9 * memory + 0.1 * frame
            found.append(memory)
        return torch.stack(found, -1), memory


@operation(Decay)
class Decaying(Operation):
    remembers = True

    def results(self, call: Call, couplings: Couplings) -> Results:
        return (call.inputs[0].axes,)

    def step(self, node: Node) -> Function:
        def one(x: Tensor, memory: Any) -> Any:
            assert x.shape[place_of(node.axes, TIME) or 0] == 1
            return node.target.step(x, memory)

        return one


class Forgetting(Model):
    def __init__(self) -> None:
        super().__init__()
        self.decay = Decay()

    def said(self, log_mel: Tensor) -> Tensor:
        return self.out(self.decay(self.conv(log_mel))[..., -1])


KINDS = (States, TimeFirst, Gated, GatedBeside, Skipping, Ahead, Forgetting)


# Of a gate the window is longer than a frame.
CASES = [
    (kind, buffer) for kind in KINDS for buffer in BUFFERS if not (issubclass(kind, Gated) and buffer == 1)
]


@pytest.mark.parametrize(("kind", "buffer"), CASES, ids=lambda one: getattr(one, "__name__", one))
def test_what_no_family_has(kind: type[Model], buffer: int | None) -> None:
    assert_same(kind().eval(), buffer, 41)


class Statistics(Model):
    """A norm by the statistics of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)

    def said(self, log_mel: Tensor) -> Tensor:
        return self.out(self.norm(self.conv(log_mel)).mean(-1))


class Meeting(Model):
    """Two means of what comes at different times."""

    def said(self, log_mel: Tensor) -> Tensor:
        return self.out(self.conv(log_mel).mean(-1) + log_mel[:, :6, -1])


def quantized() -> KwsModel:
    return DynamicQuant().convert(model_of(SPECS[1]))  # type: ignore[return-value]


@pytest.mark.parametrize("made", [Statistics, Meeting, quantized], ids=lambda made: made.__name__)
def test_what_cannot_be_heard_at_once_is_heard_frame_by_frame(made: Any) -> None:
    model, audio = made().eval(), torch.randn(2, 40, 60)
    assert isinstance(whole_of(model, 8), Stream)
    assert torch.equal(said(model, audio, [60], 8, True), said(model, audio, [60], 8, False))


def test_factors_of_a_gru_that_are_quantized_too() -> None:
    (spec,) = (spec for spec in SPECS if name_of(spec).startswith("crnn-input_rank"))
    model: Any = DynamicQuant().convert(model_of(spec))
    assert isinstance(whole_of(model, 8), Stream)
