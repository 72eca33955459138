"""Cutting clips: against brute force, and where words and clicks stand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.corpora.base import Int16Array
from bench.data.cutting import SEARCH_SAMPLES, cut_clip, fit_clip

SECOND = 16_000


def noise(samples: int, seed: int = 0, level: float = 3_000.0) -> Int16Array:
    """Gaussian noise as int16, shape (samples,)."""
    return (np.random.default_rng(seed).standard_normal(samples) * level).astype(np.int16)


@pytest.mark.parametrize("length", [0, 1, 9_999, 15_999])
def test_short_clips_are_padded_evenly(length: int) -> None:
    samples = noise(length) | 1
    fitted = fit_clip(samples, SECOND)
    before = (SECOND - length) // 2
    assert fitted.shape == (SECOND,)
    assert fitted.dtype == np.int16
    np.testing.assert_array_equal(fitted[before : before + length], samples)
    assert not fitted[:before].any()
    assert not fitted[before + length :].any()


def test_a_clip_of_one_second_stays_as_it_is() -> None:
    np.testing.assert_array_equal(fit_clip(noise(SECOND), SECOND), noise(SECOND))


@pytest.mark.parametrize("length", [16_001, 17_000, 40_000])
def test_of_long_clips_the_loudest_second_is_kept(length: int) -> None:
    samples = (noise(length) * np.linspace(0.1, 1, length) ** 2 * np.sin(np.arange(length) / 5_000)).astype(
        np.int16
    )
    squares = samples.astype(np.float64) ** 2
    energies = [squares[start : start + SECOND].sum() for start in range(length - SECOND + 1)]
    start = int(np.argmax(energies))
    np.testing.assert_array_equal(fit_clip(samples, SECOND), samples[start : start + SECOND])


@pytest.mark.parametrize("start", [0, SEARCH_SAMPLES - 1, SEARCH_SAMPLES, SEARCH_SAMPLES + 5])
def test_the_loudest_second_is_found_in_long_recordings(start: int) -> None:
    samples = np.ones(SEARCH_SAMPLES + 5 + SECOND, np.int16)
    samples[start : start + SECOND] = -32_768
    np.testing.assert_array_equal(fit_clip(samples, SECOND), np.full(SECOND, -32_768))


@pytest.mark.parametrize("clip_samples", [8_000, 24_000, 64_000])
def test_the_loudest_stretch_is_of_any_length(clip_samples: int) -> None:
    samples = (noise(100_000) * np.linspace(0.1, 1, 100_000) * np.sin(np.arange(100_000) / 9_000)).astype(
        np.int16
    )
    squares = samples.astype(np.float64) ** 2
    starts = range(len(samples) - clip_samples + 1)
    total = np.concatenate([[0], np.cumsum(squares)])
    start = max(starts, key=lambda at: float(total[at + clip_samples] - total[at]))
    np.testing.assert_array_equal(fit_clip(samples, clip_samples), samples[start : start + clip_samples])


def spoken_at(start: int, length: int, total: int) -> Int16Array:
    """A 'word' that swells and fades, in a room that is nearly quiet."""
    samples = noise(total, 1, 30)
    samples[start : start + length] += (noise(length, 2, 2_500) * np.hanning(length)).astype(np.int16)
    return samples


def kept_share(samples: Int16Array, start: int, length: int, clip_samples: int) -> float:
    """How much of a word's energy is in the clip that is taken."""
    clip = fit_clip(samples, clip_samples).astype(np.float64)
    word = samples[start : start + length].astype(np.float64)
    return float(np.correlate(clip, word, "full").max() / np.square(word).sum())


@pytest.mark.parametrize("clicks", [[], [4_000], [45_000], [4_000, 9_000, 47_000], [30_000], [12_500]])
@pytest.mark.parametrize("length", [6_000, 14_400])
def test_words_stay_whole_whatever_clicks_beside_them(clicks: list[int], length: int) -> None:
    """A word of 0.9 s in clips of 1 s; a click is ten times as loud, and rings for 10 ms."""
    samples = spoken_at(18_000, length, 48_000)
    for at in clicks:
        samples[at : at + 160] = 30_000 * (-1) ** np.arange(160)
    # All of it, or the click with nine tenths of it.
    assert kept_share(samples, 18_000, length, SECOND) > (0.9 if 12_500 in clicks else 0.99)


def test_a_sound_that_is_a_click_itself_is_kept() -> None:
    """A clap, its echo, and a quiet room: nothing else is far louder than what comes with the clap."""
    samples = noise(48_000, 1, 30)
    samples[20_000:22_400] += (noise(2_400, 3, 9_000) * np.exp(-np.arange(2_400) / 160)).astype(np.int16)
    assert np.abs(fit_clip(samples, SECOND)).max() == np.abs(samples).max()
    alone = np.zeros(48_000, np.int16)
    alone[20_000:20_100] = 20_000
    assert np.abs(fit_clip(alone, SECOND)).max() == 20_000


def test_a_stretch_is_cut_with_what_lies_beside_it() -> None:
    samples = noise(50_000)
    np.testing.assert_array_equal(cut_clip(samples, 20_000, 30_000, SECOND), samples[17_000:33_000])
    np.testing.assert_array_equal(cut_clip(samples, 20_000, 36_000, SECOND), samples[20_000:36_000])
    at_start = cut_clip(samples, 1_000, 3_000, SECOND)
    np.testing.assert_array_equal(at_start, np.concatenate([np.zeros(6_000, np.int16), samples[:10_000]]))
    at_end = cut_clip(samples, 46_000, 50_000, SECOND)
    np.testing.assert_array_equal(at_end, np.concatenate([samples[40_000:], np.zeros(6_000, np.int16)]))


def test_of_a_stretch_longer_than_a_clip_the_loudest_part_is_taken() -> None:
    samples = np.concatenate([noise(30_000), noise(20_000, level=300), noise(20_000, level=900)])
    clip = cut_clip(samples, 30_000, 70_000, SECOND)
    np.testing.assert_array_equal(clip, fit_clip(samples[30_000:70_000], SECOND))
    assert clip.std() > 800, "and nothing of what lies before it"
