from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from bench.data.audio import read_clip
from bench.data.features import log_mel
from bench.stream.detection import Frame, Moment
from bench.stream.spotter import StreamingSpotter, finish, flush_mel, init_mel, init_spotter, spot, stream_mel
from compressors.quantization.dynamic_quant import DynamicQuant
from compressors.structured_prune import StructuredPrune
from models.base import KwsModel
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.front_end import FrontEnd
from models.registry import base_spec, build
from models.task import UNNAMED, KeywordTask, Task, WordsTask

FORMS = ["float", "pruned", "dynamically quantized"]
CUTTINGS = ["whole", "80 ms", "odd", "random"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small models are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_in(form: str) -> KwsModel:
    torch.manual_seed(3)
    spec = CrnnSpec(channels=2, hidden=10)
    if form == "pruned":
        sparse = StructuredPrune(keep=0.5)
        return sparse.surgery(sparse.prepare(build(spec))).eval()
    model = build(spec).eval()
    if form == "dynamically quantized":
        model = DynamicQuant().convert(model)
    return model


def noise(seconds: float, seed: int = 0) -> npt.NDArray[np.int16]:
    """Noise whose level goes up and down, so that features and probabilities move."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * 16_000)
    level = 3000 * (1.05 + np.sin(np.arange(samples) / 3000))
    return (level * rng.standard_normal(samples)).clip(-32768, 32767).astype(np.int16)


def cut(samples: npt.NDArray[np.int16], how: str) -> Iterator[npt.NDArray[np.int16]]:
    rng = np.random.default_rng(1)
    lengths = {
        "whole": lambda: len(samples),
        "80 ms": lambda: 1280,
        "odd": lambda: 37,
        "random": lambda: int(rng.choice([0, 1, 159, 160, 161, 400, 5000])),
    }
    at = 0
    while at < len(samples):
        length = lengths[how]()
        yield samples[at : at + length]
        at += length


def mel_of(samples: npt.NDArray[np.int16], how: str, front_end: FrontEnd = UNNAMED.front_end) -> torch.Tensor:
    state, frames = init_mel(front_end), []
    for block in cut(samples, how):
        mel, state = stream_mel(torch.from_numpy(block / np.float32(32768)), state)
        frames.append(mel)
    return torch.cat([*frames, flush_mel(state)], 1)


def heard(model: nn.Module, samples: npt.NDArray[np.int16], how: str, buffer: int | None = 24) -> list[Frame]:
    spotter = StreamingSpotter(model, buffer)
    moments = [moment for block in cut(samples, how) for moment in spotter.push(block)]
    return [moment.of(0) for moment in [*moments, *spotter.finish()]]


@pytest.mark.parametrize("how", CUTTINGS)
@pytest.mark.parametrize("samples", [201, 399, 400, 560, 16_000, 16_001, 40_123])
def test_streamed_features_are_the_offline_ones(samples: int, how: str) -> None:
    wave = noise(5)[:samples]
    streamed = mel_of(wave, how)
    assert streamed.shape == (40, samples // 160 + 1)
    offline = log_mel(torch.from_numpy(wave / np.float32(32768)).unsqueeze(0))[0]
    torch.testing.assert_close(streamed, offline, atol=1e-4, rtol=0)


@pytest.mark.parametrize("how", CUTTINGS)
@pytest.mark.parametrize(
    ("front_end", "shortest"),
    [
        (FrontEnd(window_ms=20, hop_ms=20, mels=20), 161),
        (FrontEnd(window_ms=32, hop_ms=20), 257),
        (FrontEnd(window_ms=16, hop_ms=5, mels=32), 129),
        (FrontEnd(window_ms=64, hop_ms=64), 513),
    ],
)
def test_streamed_features_of_any_front_end_are_the_offline_ones(
    front_end: FrontEnd, shortest: int, how: str
) -> None:
    wave = noise(2)
    for samples in (shortest, 3 * front_end.hop_samples, 16_000, 31_999):
        streamed = mel_of(wave[:samples], how, front_end)
        assert streamed.shape == (front_end.mels, samples // front_end.hop_samples + 1)
        offline = log_mel(torch.from_numpy(wave[:samples] / np.float32(32768)), front_end)
        torch.testing.assert_close(streamed, offline, atol=1e-4, rtol=0)
    assert mel_of(wave[: shortest - 1], how, front_end).shape == (front_end.mels, 0)


@pytest.mark.parametrize("family", ["crnn", "gru"])
@pytest.mark.parametrize(
    "task",
    [
        WordsTask(("yes", "no", "up"), with_unknown=True, with_silence=True),
        WordsTask(("yes", "no"), clip_s=1.5, front_end=FrontEnd(mels=20, hop_ms=20, window_ms=32)),
        KeywordTask("yes", clip_s=0.5),
    ],
)
def test_a_clip_of_any_task_ends_on_the_probabilities_that_it_is_scored_with(task: Task, family: str) -> None:
    torch.manual_seed(0)
    model = build(base_spec(family, task)).eval()
    clip = noise(task.clip_s)
    mel = log_mel(torch.from_numpy(clip / np.float32(32768)), task.front_end)
    with torch.inference_mode():
        offline = torch.softmax(model(mel.unsqueeze(0)).logits[0].double(), 0)
    moments = StreamingSpotter(model, None, task).hear(cut(clip, "random"))
    assert 0 <= task.clip_s - moments[-1].time_s < 8 * task.front_end.hop_ms / 1000
    words = [offline[number].item() for number in task.to_find]
    np.testing.assert_allclose(moments[-1].probabilities, words, atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 200])
def test_audio_too_short_to_reflect_has_no_frames(samples: int) -> None:
    assert mel_of(noise(1)[:samples], "odd").shape == (40, 0)
    assert heard(model_in("float"), noise(1)[:samples], "odd") == []


@pytest.mark.parametrize("form", FORMS)
def test_cutting_makes_no_difference_to_probabilities(form: str) -> None:
    model, samples = model_in(form), noise(2)
    whole = heard(model, samples, "whole")
    assert len(whole) == (201 - 20) // 8 + 1
    assert np.ptp([frame.probability for frame in whole]) > 1e-3
    for how in CUTTINGS[1:]:
        frames = heard(model, samples, how)
        assert [frame.time_s for frame in frames] == [frame.time_s for frame in whole]
        np.testing.assert_allclose(
            [frame.probability for frame in frames], [frame.probability for frame in whole], atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("form", FORMS[:2])
def test_with_an_unbounded_buffer_a_clip_ends_on_the_offline_probability(form: str) -> None:
    model = model_in(form)
    clips = np.stack([noise(1, seed) for seed in range(3)])
    with torch.inference_mode():
        logits = model(log_mel(torch.from_numpy(clips / np.float32(32768)))).logits
    offline = torch.softmax(logits.double(), 1)[:, 1].numpy()
    streamed = [heard(model, clip, "80 ms", None)[-1] for clip in clips]
    np.testing.assert_allclose([frame.probability for frame in streamed], offline, atol=1e-5, rtol=0)
    assert {frame.time_s for frame in streamed} == {1.0}


def test_time_is_the_end_of_the_audio_that_a_frame_has_seen() -> None:
    model, samples = model_in("float"), noise(2)
    frames = heard(model, samples, "whole")
    for number in (0, 1, 9, len(frames) - 2):
        seen = round(frames[number].time_s * 16_000)
        after, within = samples.copy(), samples.copy()
        after[seen:] = 0
        within[seen - 160 : seen] = 0
        assert heard(model, after, "whole")[number].probability == pytest.approx(frames[number].probability)
        changed = heard(model, within, "whole")[number].probability
        assert abs(changed - frames[number].probability) > 1e-7
    assert np.diff([frame.time_s for frame in frames[:-1]]) == pytest.approx(0.08)


def test_a_frame_comes_as_soon_as_its_audio_is_there() -> None:
    spotter = StreamingSpotter(model_in("float"))
    for block in cut(noise(1), "odd"):
        before = spotter.heard_s
        for frame in spotter.push(block):
            assert before < frame.time_s <= spotter.heard_s


def test_streams_share_a_model_and_do_not_touch_a_state() -> None:
    model = model_in("float")
    samples = [noise(2, seed) for seed in (5, 6)]
    alone = [heard(model, wave, "80 ms") for wave in samples]
    states = [init_spotter(model), init_spotter(model)]
    together: list[list[Moment]] = [[], []]
    for start in range(0, 32_000, 1280):
        for stream, wave in enumerate(samples):
            block = wave[start : start + 1280]
            frames, after = spot(model, block, states[stream])
            again, _ = spot(model, block, states[stream])
            assert again == frames
            together[stream] += frames
            states[stream] = after
    both = [moments + finish(model, state) for moments, state in zip(together, states, strict=True)]
    assert [[moment.of(0) for moment in moments] for moments in both] == alone
    assert alone[0] != alone[1]


def test_float_blocks_are_the_int16_ones() -> None:
    model, samples = model_in("float"), noise(1)
    spotter = StreamingSpotter(model)
    whole = heard(model, samples, "whole")
    for block in (samples / np.float32(32768), samples):
        assert [moment.of(0) for moment in spotter.hear([block])] == whole


def tensors(state: object) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from tensors(part)


def test_memory_does_not_grow_with_the_stream() -> None:
    model = model_in("float")

    def stored(seconds: int) -> int:
        spotter = StreamingSpotter(model)
        for second in range(seconds):
            spotter.push(noise(1, second))
        state = spotter.state
        # What is held on to, not what is looked at: a view keeps the whole block.
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors(state))

    assert stored(12) == pytest.approx(stored(4), abs=4 * (400 + 20 * 40))
    assert stored(12) < 20_000


@pytest.mark.parametrize(
    "block",
    [
        np.zeros(100),
        np.zeros((2, 100), np.int16),
        np.zeros(100, np.int32),
        np.array([0, np.nan], np.float32),
    ],
)
def test_other_blocks_are_refused(block: npt.NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="block"):
        StreamingSpotter(model_in("float")).push(block)


def test_a_model_without_a_stream_is_refused() -> None:
    with pytest.raises(ModelError, match="Linear cannot stream"):
        StreamingSpotter(nn.Linear(1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_real_clips_stream_as_they_are_scored(arabic: Path, form: str) -> None:
    files = sorted(arabic.glob("*/*.flac"))[:: 9600 // 12]
    model = model_in(form)
    for file in files:
        clip = read_clip(file, 16_000)
        offline = log_mel(torch.from_numpy(clip / np.float32(32768)).unsqueeze(0))
        streamed = mel_of(clip, "random")
        torch.testing.assert_close(streamed, offline[0], atol=1e-3, rtol=0)
        last = heard(model, clip, "random", None)[-1]
        assert last == pytest.approx(heard(model, clip, "80 ms", None)[-1], abs=1e-5)
        if form != "dynamically quantized":
            with torch.inference_mode():
                logits = model(offline).logits
            assert last.probability == pytest.approx(float(torch.softmax(logits, 1)[0, 1]), abs=1e-5)
