"""Whole recordings say what a stream of them says, block after block."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import bench.stream.ear as subject
from bench.stream.ear import Course, courses
from bench.stream.spotter import StreamingSpotter
from compressors.quantization.dynamic_quant import DynamicQuant
from models.base import KwsModel, ModelOutput, ModelSpec
from models.errors import ModelError
from models.front_end import FrontEnd
from models.registry import base_spec
from models.task import UNNAMED, Task, WordsTask
from tests.zoo import SPECS, model_of, name_of

Samples = npt.NDArray[np.int16]
LENGTHS = (0, 1, 200, 201, 560, 16_000, 40_123)


def noise(samples: int, seed: int = 0) -> Samples:
    """Noise whose level goes up and down."""
    rng = np.random.default_rng(seed)
    level = 3000 * (1.05 + np.sin(np.arange(samples) / 3000))
    return (level * rng.standard_normal(samples)).clip(-32768, 32767).astype(np.int16)


def cut(samples: Samples, seed: int = 0) -> Iterator[Samples]:
    """Blocks of random lengths."""
    places = np.sort(np.random.default_rng(seed).integers(0, len(samples) + 1, 7))
    yield from np.split(samples, places)


def assert_heard(found: Course, model: nn.Module, wave: Samples, buffer: int | None, task: Task) -> int:
    """Time for time, word for word, as frame after frame; how many there are."""
    expected = [
        moment for part in StreamingSpotter(model, buffer, task).follow(cut(wave, 1)) for moment in part
    ]
    assert found.time_s.tolist() == [moment.time_s for moment in expected]
    words = np.array([moment.probabilities for moment in expected]).reshape(-1, len(task.to_find))
    np.testing.assert_allclose(found.probability, words, atol=1e-5, rtol=0)
    return len(expected)


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_recordings_of_any_length(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "STRETCH_S", 1)
    model = model_of(spec)
    waves = [noise(length, length) for length in LENGTHS]
    found = courses(model, map(cut, waves), max_buffer_len=5)
    counts = [assert_heard(one, model, wave, 5, UNNAMED) for one, wave in zip(found, waves, strict=True)]
    assert counts[0] == 0
    assert counts[-1] > 5


@pytest.mark.parametrize("buffer", [1, 24, None])
@pytest.mark.parametrize(
    "task",
    [
        WordsTask(("yes", "no", "up"), with_unknown=True, with_silence=True),
        WordsTask(("yes", "no"), clip_s=1.5, front_end=FrontEnd(mels=20, hop_ms=20, window_ms=32)),
    ],
)
def test_any_task_and_buffer(task: Task, buffer: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "STRETCH_S", 1)
    model, wave = model_of(base_spec("crnn", task)), noise(70_001)
    (found,) = courses(model, [[wave]], task, buffer)
    assert assert_heard(found, model, wave, buffer, task) > 20


def test_what_has_a_scale_for_each_call_is_heard_as_it_streams() -> None:
    model, wave = DynamicQuant().convert(model_of(SPECS[1])), noise(30_000)
    (found,) = courses(model, [[wave]])
    moments = StreamingSpotter(model).hear([wave])
    assert found.probability.tolist() == [list(moment.probabilities) for moment in moments]


class Waiting(KwsModel):
    """Says nothing until its buffer is as long as a window."""

    def __init__(self) -> None:
        super().__init__(ModelSpec())
        self.conv, self.out = nn.Conv1d(40, 6, 4), nn.Linear(6, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        gated = log_mel * torch.sigmoid(log_mel.mean(-1, keepdim=True))
        return ModelOutput(self.out(self.conv(gated).mean(-1)), None)


def test_what_waits_has_the_times_of_what_it_says() -> None:
    torch.manual_seed(0)
    model, waves = Waiting().eval(), [noise(length) for length in (300, 20_000)]
    for found, wave in zip(courses(model, ([one] for one in waves), max_buffer_len=8), waves, strict=True):
        assert_heard(found, model, wave, 8, UNNAMED)
    assert len(found.time_s) == 20_000 // 160 + 1 - 3


def test_a_model_hears_no_more_than_a_stretch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "STRETCH_S", 1)
    model, heard, read = model_of(SPECS[1]), [], [0]
    plain = model.stream

    def stream(chunk: Tensor, state: object) -> object:
        heard.append((chunk.shape[-1], read[0]))
        return plain(chunk, state)  # type: ignore[arg-type]

    def blocks() -> Iterator[Samples]:
        for _ in range(100):
            read[0] += 1
            yield noise(1600)

    monkeypatch.setattr(model, "stream", stream)
    courses(model, [blocks()])
    assert sum(frames for frames, _ in heard) == 10 * 100 + 1
    assert max(frames for frames, _ in heard) <= 100
    # The stretch that it hears, the next one, and the one that is being read: not the audio.
    assert all(ahead <= 10 * (number + 3) for number, (_, ahead) in enumerate(heard))
    assert len(heard) == 11


def test_bad_audio_and_models_are_refused() -> None:
    with pytest.raises(ModelError, match="Linear cannot stream"):
        courses(nn.Linear(1, 1), [[noise(1000)]])
    with pytest.raises(ValueError, match="block"):
        courses(model_of(SPECS[1]), [[np.zeros(100)]])  # type: ignore[list-item]
