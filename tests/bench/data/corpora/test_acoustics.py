"""Acoustics against measurements made in other ways than the code's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.data.corpora import acoustics
from bench.data.torchaudio_import import functional

RATE_HZ = acoustics.SAMPLE_RATE_HZ


def sine(frequency_hz: float, length: int = RATE_HZ, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(length) / rate_hz)


def power_db(wave: np.ndarray, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(wave)) ** 2
    frequencies = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    return float(10 * np.log10(power[(frequencies >= low_hz) & (frequencies < high_hz)].mean()))


def test_resample_agrees_with_torchaudio() -> None:
    rng = np.random.default_rng(0)
    smooth = np.convolve(rng.standard_normal(9000), np.hanning(12), "same") * np.hanning(9000)
    expected = functional.resample(torch.from_numpy(smooth), 22_050, 16_000, lowpass_filter_width=64).numpy()
    result = acoustics.resample(smooth, 22_050, 16_000)
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() < 0.003 * np.abs(expected).max()


@pytest.mark.parametrize(("rate_in", "rate_out"), [(22_050, 16_000), (8_000, 16_000), (48_000, 16_000)])
def test_resample_keeps_a_tone(rate_in: int, rate_out: int) -> None:
    window = np.hanning(rate_in)
    result = acoustics.resample(sine(440, rate_in, rate_in) * window, rate_in, rate_out)
    assert len(result) == rate_out
    assert np.abs(result - sine(440, rate_out, rate_out) * np.hanning(rate_out)).max() < 1e-3


def test_trim_finds_the_sound() -> None:
    wave = np.zeros(3000)
    wave[1000:2000] = sine(1000, 1000)
    wave[500] = 0.005  # 46 dB below the peak
    trimmed = acoustics.trim(wave, 16_000, margin_s=0.002)
    np.testing.assert_array_equal(trimmed, wave[1001 - 32 : 1999 + 1 + 32])


def test_trim_of_silence_is_empty() -> None:
    assert len(acoustics.trim(np.zeros(100), 16_000)) == 0
    assert len(acoustics.trim(np.empty(0), 16_000)) == 0


@pytest.mark.parametrize(("shift", "start"), [(0, 40), (5, 45), (-5, 35), (1000, 80), (-1000, 0)])
def test_centre_moves_as_far_as_it_fits(shift: int, start: int) -> None:
    out = acoustics.centre(np.ones(20), 100, shift=shift)
    assert len(out) == 100
    assert np.flatnonzero(out).tolist() == list(range(start, start + 20))


def test_centre_fades_out_what_is_too_long() -> None:
    out = acoustics.centre(np.ones(300), 100, fade=10)
    assert len(out) == 100
    assert out[:90].tolist() == [1.0] * 90
    assert out[-1] == 0.0
    assert np.all(np.diff(out[90:]) < 0)


def test_convolve_is_linear_convolution() -> None:
    rng = np.random.default_rng(1)
    wave, response = rng.standard_normal(700), rng.standard_normal(90)
    np.testing.assert_allclose(
        acoustics.convolve(wave, response), np.convolve(wave, response)[:700], atol=1e-10
    )


@pytest.mark.parametrize("rt60_s", [0.2, 0.6])
def test_room_decays_in_its_time(rt60_s: float) -> None:
    slopes = []
    for seed in range(8):
        response = acoustics.room_response(np.random.default_rng(seed), rt60_s=rt60_s, direct_db=0.0)
        blocks = response[640:].reshape(-1, 80)  # after the reflections, which end at 30 ms
        levels = 10 * np.log10(np.square(blocks).mean(axis=1))
        slopes.append(np.polyfit(np.arange(len(levels)) * 80 / RATE_HZ, levels, 1)[0])
    assert np.mean(slopes) == pytest.approx(-60 / rt60_s, rel=0.03)


def test_room_tail_has_the_stated_energy() -> None:
    response = acoustics.room_response(np.random.default_rng(0), rt60_s=0.6, direct_db=-10.0)
    assert response[0] == 1.0
    assert 10 * np.log10(np.square(response[1:]).sum()) == pytest.approx(10.0, abs=0.6)


def test_channel_tilts_about_1_khz() -> None:
    def gain_db(frequency_hz: float) -> float:
        tone = sine(frequency_hz) * np.hanning(RATE_HZ)
        return float(20 * np.log10(np.std(acoustics.channel(tone, slope_db_per_octave=3.0)) / np.std(tone)))

    assert [gain_db(f) for f in (250, 1000, 4000)] == pytest.approx([-6.0, 0.0, 6.0], abs=0.05)


def test_channel_limits_the_band() -> None:
    def gain_db(frequency_hz: float) -> float:
        tone = sine(frequency_hz) * np.hanning(RATE_HZ)
        wave = acoustics.channel(tone, slope_db_per_octave=0.0, low_hz=200.0, high_hz=3000.0)
        return float(20 * np.log10(np.std(wave) / np.std(tone)))

    assert gain_db(200) == pytest.approx(-3.01, abs=0.1)
    assert gain_db(50) == pytest.approx(-24.1, abs=0.5)
    assert gain_db(3000) == pytest.approx(-3.01, abs=0.1)
    assert gain_db(6000) == pytest.approx(-24.1, abs=0.5)


@pytest.mark.parametrize(("kind", "slope"), [("white", 0.0), ("pink", 1.0), ("brown", 2.0)])
def test_noise_colours(kind: str, slope: float) -> None:
    wave = acoustics.noise(np.random.default_rng(0), kind, 20 * RATE_HZ)
    octaves = [power_db(wave, f, 2 * f) for f in (50, 100, 200, 400, 800, 1600, 3200)]
    assert np.polyfit(range(7), octaves, 1)[0] == pytest.approx(-3.01 * slope, abs=0.15)
    assert abs(wave.mean()) < 1e-9


def test_hum_is_made_of_mains_harmonics() -> None:
    spectrum = np.abs(np.fft.rfft(acoustics.noise(np.random.default_rng(0), "hum", RATE_HZ)))
    strongest = np.argsort(spectrum)[-6:]
    assert all(f % 50 == 0 for f in strongest) or all(f % 60 == 0 for f in strongest)


def test_clatter_is_peaky() -> None:
    wave = acoustics.noise(np.random.default_rng(0), "clatter", 5 * RATE_HZ)
    assert np.abs(wave).max() > 8  # times the root mean square; Gaussian noise stays below 5


@pytest.mark.parametrize("kind", acoustics.NOISE_KINDS)
def test_noise_depends_on_its_generator_alone(kind: str) -> None:
    first, again, other = (acoustics.noise(np.random.default_rng(n), kind, 8000) for n in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert np.std(first) == pytest.approx(1.0, abs=0.05)


def test_active_level_ignores_silence() -> None:
    wave = np.zeros(16_000)
    wave[:3200] = 0.5
    assert acoustics.active_rms(wave) == pytest.approx(0.5)


@pytest.mark.parametrize("snr_db", [0.0, 12.0, 25.0])
def test_mix_at_snr(snr_db: float) -> None:
    speech = np.zeros(16_000)
    speech[4800:11_200] = sine(300, 6400)
    background = np.random.default_rng(0).standard_normal(16_000) * 7
    added = acoustics.mix_at_snr(speech, background, snr_db) - speech
    ratio = np.mean(speech[4800:11_200] ** 2) / np.mean(added**2)
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=1e-6)


def test_babble_holds_all_its_voices() -> None:
    voices = [sine(f) * np.hanning(RATE_HZ) for f in (300, 700, 1500, 2500)]
    wave = acoustics.babble(np.random.default_rng(0), voices)
    levels = [power_db(wave, f - 5, f + 5) for f in (300, 700, 1500, 2500)]
    assert max(levels) - min(levels) <= 6.1
    assert min(levels) > power_db(wave, 4000, 8000) + 40


def test_level_and_its_limit() -> None:
    tone = sine(500)
    quiet = acoustics.at_level(tone, -30.0)
    assert 20 * np.log10(np.sqrt(np.mean(quiet**2))) == pytest.approx(-30.0, abs=0.01)
    assert np.abs(acoustics.at_level(tone, 0.0)).max() == pytest.approx(acoustics.PEAK_LIMIT)


def test_16_bits() -> None:
    assert acoustics.to_int16(np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])).tolist() == [
        -32767,
        -32767,
        0,
        16384,
        32767,
        32767,
    ]
