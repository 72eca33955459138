"""The log-mel front end in C against torchaudio, and against the formula in double precision."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from bench.data.features import LOG_FLOOR, log_mel, to_float
from bench.ship.c_host import HostModel, compile_host, find_compiler
from bench.stream.spotter import flush_mel, init_mel, stream_mel
from models.front_end import FrontEnd
from models.integer.model import IntegerModel
from models.integer.ops import Conv, Gives, Input, MeanTime
from models.task import KeywordTask
from tests.programs import CAUSAL, filled

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostModel:
    return compile_host(filled(CAUSAL), tmp_path_factory.mktemp("frontend"))


# Fours alone; with a 3 and a 5; a prime of 43; 509, a prime; 41 and two 3; the shortest; the longest; others.
USUAL = FrontEnd()
FRONT_ENDS = [
    FrontEnd(20, 32, 20),
    FrontEnd(64, 30, 10),
    FrontEnd(12, 16.125, 5.0625),
    FrontEnd(80, 63.625, 17),
    FrontEnd(40, 46.125, 12.5),
    FrontEnd(8, 5, 5),
    FrontEnd(128, 64, 64),
    FrontEnd(40, 25, 25),
    FrontEnd(40, 20, 10),
    FrontEnd(16, 25, 20),
]


def hearing(front_end: FrontEnd) -> IntegerModel:
    logits = Conv(inputs=(1,), rows=1, channels=2, gives=Gives.LOGITS)
    model = filled((Input(mels=front_end.mels), MeanTime(inputs=(0,)), logits))
    return replace(model, task=KeywordTask("go", front_end=front_end))


def by_the_formula(samples: np.ndarray, front_end: FrontEnd = USUAL) -> np.ndarray:
    """Double precision: reflected edges, Hann window, power, HTK triangles, natural logarithm."""
    size, mels = front_end.window_samples, front_end.mels
    padded = np.pad(samples / 32768.0, size // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: front_end.hop_samples] * window
    edges_hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), mels + 2) / 2595) - 1)
    bins_hz = np.linspace(0, 8000, size // 2 + 1)
    left, centre, right = (edges_hz[i : i + mels, None] for i in range(3))
    rise, fall = (bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre)
    triangles = np.clip(np.minimum(rise, fall), 0, None)
    return np.log(np.clip(triangles @ (abs(np.fft.rfft(frames)) ** 2).T, 1e-9, 1e9))


def noise(count: int, level: int = 8000) -> np.ndarray:
    return np.random.default_rng(count).integers(-level, level, count).astype(np.int16)


def test_noise_and_tones_equal_the_formula(host: HostModel) -> None:
    np.testing.assert_allclose(host.log_mel(noise(8000)), by_the_formula(noise(8000)), rtol=0, atol=3e-5)
    # Full scale: nothing overflows. Each tone is loudest in its own band.
    for hertz in (100, 1000, 7900):
        tone = np.round(32767 * np.sin(2 * np.pi * hertz * np.arange(4000) / 16000)).astype(np.int16)
        found, expected = host.log_mel(tone), by_the_formula(tone)
        loud = expected > expected.max() - 15
        np.testing.assert_allclose(found[loud], expected[loud], atol=1e-3)


def test_faint_clicks_go_through_the_floor(host: HostModel) -> None:
    """One sample of the smallest size, at all distances to the windows' centres."""
    samples = np.zeros(4000, np.int16)
    samples[500::503] = 1
    expected = by_the_formula(samples)
    assert ((expected > np.log(1e-9)) & (expected < np.log(1e-8))).any()
    np.testing.assert_allclose(host.log_mel(samples), expected, atol=1e-4)


def test_silence_is_the_floor(host: HostModel) -> None:
    assert np.unique(host.log_mel(np.zeros(4000, np.int16))).tolist() == pytest.approx([LOG_FLOOR], abs=1e-5)


@pytest.mark.parametrize(
    "count", [0, 1, 199, 200, 201, 239, 240, 241, 359, 360, 361, 399, 400, 519, 520, 521, 16000]
)
def test_every_length_has_the_frames_of_log_mel(count: int, host: HostModel) -> None:
    found = host.log_mel(noise(count))
    if count <= 200:
        assert found.shape == (40, 0)
        return
    expected = log_mel(to_float(noise(count)[None]))[0].numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_frames_come_when_those_of_the_toolkits_streams_do(host: HostModel) -> None:
    samples, state, code = noise(3000), init_mel(), host.frontend()
    for start in range(0, 3000, 37):
        block = samples[start : start + 37]
        expected, state = stream_mel(to_float(block), state)
        found = code.push(block)
        assert found.shape == tuple(expected.shape)
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.from_numpy(code.flush()), flush_mel(state), atol=1e-3, rtol=0)


def test_real_recordings(arabic: Path, host: HostModel) -> None:
    """Within 1e-3 of torchaudio, but for bands 80 dB below the loudest of their frame: there both are at the
    end of single precision."""
    for name in (arabic / "validation_list.txt").read_text().split()[::100]:
        samples, _ = sf.read(arabic / name, dtype="int16")
        expected = log_mel(to_float(samples[None]))[0].numpy()
        found = host.log_mel(samples)
        heard = expected > expected.max(0) - np.log(1e8)
        assert np.abs(found - expected)[heard].max() < 1e-3
        assert np.abs(found - expected).max() < 5e-3


def name_of(front_end: FrontEnd) -> str:
    return f"{front_end.mels} bands, {front_end.window_ms:g} ms, {front_end.hop_ms:g} ms"


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=name_of)
def test_every_front_end_equals_torchaudio_and_the_formula(front_end: FrontEnd, tmp_path: Path) -> None:
    """As a whole, and cut at random."""
    host, chance = compile_host(hearing(front_end), tmp_path), np.random.default_rng(0)
    for count in (5000, 8000, 12345):
        samples = noise(count)
        found, heard = host.log_mel(samples), log_mel(to_float(samples[None]), front_end)[0].numpy()
        assert found.shape == heard.shape == (front_end.mels, front_end.frames(count))
        np.testing.assert_allclose(found, heard, rtol=0, atol=1e-3)
        np.testing.assert_allclose(found, by_the_formula(samples, front_end), rtol=0, atol=1e-4)
        code, parts = host.frontend(), np.split(samples, np.sort(chance.integers(0, count, 40)))
        np.testing.assert_array_equal(np.concatenate([*map(code.push, parts), code.flush()], 1), found)


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=name_of)
def test_every_front_end_has_the_frames_of_log_mel_at_every_length(
    front_end: FrontEnd, tmp_path: Path
) -> None:
    host, edge = compile_host(hearing(front_end), tmp_path), front_end.window_samples // 2
    hop = front_end.hop_samples
    assert host.log_mel(noise(edge)).shape == (front_end.mels, 0)
    for count in {edge + 1, edge + hop, 2 * edge, 2 * edge + 1, 3 * edge, hop * 3 - 1, hop * 3, hop * 3 + 1}:
        if count > edge:
            expected = log_mel(to_float(noise(count)[None]), front_end)[0].numpy()
            found = host.log_mel(noise(count))
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
