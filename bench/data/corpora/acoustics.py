"""Rooms, channels and noise for clips, as pure functions of NumPy arrays and of a random generator.

Waveforms are one-dimensional float arrays of L samples at 16 kHz unless a rate is given; ratios of levels
are in dB, absolute levels in dB below a full scale of 1.0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.front_end import SAMPLE_RATE_HZ

PEAK_LIMIT = 0.98
COLOUR_SLOPES = {"white": 0.0, "pink": 1.0, "brown": 2.0}
NOISE_KINDS = ("white", "pink", "brown", "hum", "clatter")

FloatArray = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]


def rms(wave: FloatArray) -> float:
    """Root mean square of all samples."""
    return float(np.sqrt(np.mean(np.square(wave))))


def active_rms(wave: FloatArray, *, frame: int = 320, floor_db: float = 30.0) -> float:
    """Root mean square of the frames that hold sound, so that silence around a word does not count.

    Args:
        wave: Samples, shape (L,).
        frame: Samples in a frame, 20 ms by default.
        floor_db: Frames this far below the loudest one are silence.
    """
    powers = np.square(wave[: len(wave) // frame * frame]).reshape(-1, frame).mean(axis=1)
    return float(np.sqrt(powers[powers >= powers.max() * 10 ** (-floor_db / 10)].mean()))


def resample(wave: FloatArray, rate_in_hz: int, rate_out_hz: int) -> FloatArray:
    """Band-limited resampling through the spectrum of the whole clip.

    Takes a clip that begins and ends in silence, for it is treated as one period. Returns
    ceil(L * rate_out / rate_in) samples.
    """
    common = int(np.gcd(rate_in_hz, rate_out_hz))
    step_in, step_out = rate_in_hz // common, rate_out_hz // common
    blocks = -(-len(wave) // step_in)
    spectrum = np.fft.rfft(wave, blocks * step_in)
    kept = min(len(spectrum), blocks * step_out // 2 + 1)
    out = np.fft.irfft(spectrum[:kept], blocks * step_out) * (step_out / step_in)
    return out[: -(-len(wave) * step_out // step_in)]


def trim(wave: FloatArray, rate_hz: int, *, floor_db: float = 40.0, margin_s: float = 0.01) -> FloatArray:
    """The part of a clip between its first and last sound; empty if there is none.

    Args:
        wave: Samples, shape (L,).
        rate_hz: Sample rate.
        floor_db: Samples this far below the peak are silence.
        margin_s: Silence kept on both sides where there is some.
    """
    peak = np.abs(wave).max(initial=0.0)
    loud = np.flatnonzero(np.abs(wave) > peak * 10 ** (-floor_db / 20)) if peak > 0 else np.empty(0, int)
    if not len(loud):
        return wave[:0]
    margin = round(margin_s * rate_hz)
    return wave[max(0, loud[0] - margin) : loud[-1] + 1 + margin]


def centre(wave: FloatArray, length: int, *, shift: int = 0, fade: int = 160) -> FloatArray:
    """Puts a clip in the middle of ``length`` samples of silence, moved by ``shift`` as far as it fits.

    A clip that is longer loses its end, faded out over ``fade`` samples.
    """
    if len(wave) > length:
        wave = wave[:length].copy()
        wave[-fade:] *= np.linspace(1.0, 0.0, fade)
    start = int(np.clip((length - len(wave)) // 2 + shift, 0, length - len(wave)))
    out = np.zeros(length)
    out[start : start + len(wave)] = wave
    return out


def convolve(wave: FloatArray, response: FloatArray) -> FloatArray:
    """Linear convolution cut to the length of ``wave``."""
    total = 1 << (len(wave) + len(response) - 2).bit_length()
    product = np.fft.rfft(wave, total) * np.fft.rfft(response, total)
    return np.fft.irfft(product, total)[: len(wave)]


def room_response(rng: np.random.Generator, *, rt60_s: float, direct_db: float) -> FloatArray:
    """Impulse response of a room: the direct sound, some early reflections, a decaying noise.

    Args:
        rng: Source of the reflections.
        rt60_s: Time in which the tail decays by 60 dB; also the length of the response.
        direct_db: Energy of the direct sound over that of the tail.
    """
    time_s = np.arange(round(rt60_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / rt60_s)
    tail[: round(0.004 * SAMPLE_RATE_HZ)] = 0.0
    tail *= np.sqrt(10 ** (-direct_db / 10) / np.square(tail).sum())
    taps = rng.integers(round(0.001 * SAMPLE_RATE_HZ), round(0.03 * SAMPLE_RATE_HZ), rng.integers(3, 7))
    tail[taps] += rng.uniform(0.1, 0.4, len(taps)) * rng.choice([-1.0, 1.0], len(taps))
    tail[0] = 1.0
    return tail


def channel(
    wave: FloatArray,
    *,
    slope_db_per_octave: float,
    low_hz: float | None = None,
    high_hz: float | None = None,
) -> FloatArray:
    """Colours a clip as a microphone and its line do, without delay.

    Args:
        wave: Samples, shape (L,).
        slope_db_per_octave: Tilt of the spectrum about 1 kHz; the same below 100 Hz as there.
        low_hz: Where the band begins, 3 dB down, falling by 12 dB an octave; None for no limit.
        high_hz: Where it ends, 3 dB down, falling by 24 dB an octave; None for no limit.
    """
    total = 1 << (2 * len(wave) - 1).bit_length()
    frequencies_hz = np.fft.rfftfreq(total, 1 / SAMPLE_RATE_HZ)
    gains = 10 ** (slope_db_per_octave / 20 * np.log2(np.maximum(frequencies_hz, 100.0) / 1000))
    if low_hz is not None:
        gains /= np.sqrt(1 + (low_hz / np.maximum(frequencies_hz, 1.0)) ** 4)
    if high_hz is not None:
        gains /= np.sqrt(1 + (frequencies_hz / high_hz) ** 8)
    return np.fft.irfft(np.fft.rfft(wave, total) * gains, total)[: len(wave)]


def coloured_noise(rng: np.random.Generator, length: int, slope: float) -> FloatArray:
    """Gaussian noise whose power falls as 1 / f ** slope: 0 white, 1 pink, 2 brown; none below 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequencies_hz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ)
    audible = frequencies_hz >= 20
    gains = np.maximum(frequencies_hz, 20.0) ** (-slope / 2) * audible
    return np.fft.irfft(spectrum * gains, length)


def hum(rng: np.random.Generator, length: int) -> FloatArray:
    """Mains hum at 50 or 60 Hz with harmonics, over a little white noise."""
    time_s = np.arange(length) / SAMPLE_RATE_HZ
    harmonics = np.arange(1, 13)
    amplitudes = rng.uniform(0.2, 1.0, len(harmonics)) / harmonics
    phases = rng.uniform(0, 2 * np.pi, len(harmonics))
    base_hz = rng.choice([50.0, 60.0])
    wave = np.zeros(length)
    for harmonic, amplitude, phase in zip(harmonics, amplitudes, phases, strict=True):
        wave += amplitude * np.sin(2 * np.pi * base_hz * harmonic * time_s + phase)
    return wave + 0.05 * rng.standard_normal(length)


def clatter(rng: np.random.Generator, length: int) -> FloatArray:
    """Knocks of hard things, 4 to 12 a second: decaying resonances over a little pink noise."""
    wave = np.zeros(length)
    for _ in range(max(1, round(rng.uniform(4, 12) * length / SAMPLE_RATE_HZ))):
        start, decay_s = int(rng.integers(length)), rng.uniform(0.004, 0.03)
        time_s = np.arange(min(length - start, round(8 * decay_s * SAMPLE_RATE_HZ))) / SAMPLE_RATE_HZ
        for frequency_hz in rng.uniform(400, 6500, 3):
            knock = np.sin(2 * np.pi * frequency_hz * time_s) * np.exp(-time_s / decay_s)
            wave[start : start + len(time_s)] += rng.uniform(0.2, 1.0) * knock
    quiet = coloured_noise(rng, length, 1.0)
    return wave + 0.02 * rms(wave) / rms(quiet) * quiet


def noise(rng: np.random.Generator, kind: str, length: int) -> FloatArray:
    """Noise of one of ``NOISE_KINDS``, shape (length,), root mean square 1."""
    if kind == "hum":
        wave = hum(rng, length)
    elif kind == "clatter":
        wave = clatter(rng, length)
    else:
        wave = coloured_noise(rng, length, COLOUR_SLOPES[kind])
    return np.divide(wave, rms(wave))


def babble(rng: np.random.Generator, voices: list[FloatArray]) -> FloatArray:
    """Clips of equal length laid over each other, each turned round by some time, within 6 dB."""
    parts = [
        np.roll(voice, int(rng.integers(len(voice)))) / rms(voice) * 10 ** (rng.uniform(-3, 3) / 20)
        for voice in voices
    ]
    wave: FloatArray = np.sum(parts, axis=0)
    return np.divide(wave, rms(wave))


def mix_at_snr(speech: FloatArray, background: FloatArray, snr_db: float) -> FloatArray:
    """Adds a background ``snr_db`` below the level of the frames that hold speech."""
    return speech + background * (active_rms(speech) / rms(background) * 10 ** (-snr_db / 20))


def at_level(wave: FloatArray, level_dbfs: float) -> FloatArray:
    """Scales to an active level in dB below full scale; lower where a sample would clip."""
    gain = 10 ** (level_dbfs / 20) / active_rms(wave)
    return wave * min(gain, PEAK_LIMIT / float(np.abs(wave).max()))


def to_int16(wave: FloatArray) -> Int16Array:
    """Rounds samples within -1 to 1 to 16 bits."""
    return np.rint(np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16)
