"""The log-mel front end in C against torchaudio, and against the formula in double precision."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from bench.data.features import LOG_FLOOR, log_mel, to_float
from bench.ship.c_host import HostModel, compile_host, find_compiler
from bench.stream.spotter import flush_mel, init_mel, stream_mel
from tests.programs import CAUSAL, filled

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostModel:
    return compile_host(filled(CAUSAL), tmp_path_factory.mktemp("frontend"))


def by_the_formula(samples: np.ndarray) -> np.ndarray:
    """Double precision: reflected edges, Hann window, power, HTK triangles, natural logarithm."""
    padded = np.pad(samples / 32768.0, 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160] * window
    edges_hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42) / 2595) - 1)
    bins_hz = np.linspace(0, 8000, 201)
    left, centre, right = (edges_hz[i : i + 40, None] for i in range(3))
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
