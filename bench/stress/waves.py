"""Waveforms under a condition: every draw is made per clip, and is the same in every run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from bench.config import seed_from
from bench.data.corpora.acoustics import (
    FloatArray,
    active_rms,
    babble,
    convolve,
    mix_at_snr,
    noise,
    rms,
    room_response,
)
from bench.data.corpora.base import Corpus
from bench.data.torchaudio_import import functional
from bench.stress.conditions import Condition

VOICES = 6
# Energy of the direct sound over that of the room: a speaker about a metre and a half away.
DIRECT_DB = 0.0
N_FFT, HOP_SAMPLES = 512, 128
# Below this a piece of noise is silence, of a full scale of 1.0.
FAINTEST = 1e-5
DRAWS = 100

Floats32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Material:
    """What conditions draw from.

    Attributes:
        corpus: The clips, and their background noise.
        voices: Clips that babble is made of: other words than the keyword, of the split that is scored.
    """

    corpus: Corpus
    voices: Rows

    def has(self, kind: str) -> bool:
        """Whether there is anything to make this kind of noise of."""
        if kind == "background":
            noise = self.corpus.noise
            return len(noise) > self.corpus.waveforms.shape[1] and bool(np.any(noise))
        return kind != "babble" or self.corpus.clips["speaker"].iloc[self.voices].nunique() > 1

    @cached_property
    def speakers(self) -> npt.NDArray[np.object_]:
        """Who speaks in each of the voices."""
        return self.corpus.clips["speaker"].to_numpy()[self.voices]

    def background(self, kind: str, row: int, length: int) -> FloatArray:
        """The noise that a clip gets, the same at every ratio, shape (length,)."""
        rng = np.random.default_rng(seed_from("stress", kind, self.corpus.clips["source"].iloc[row]))
        if kind == "babble":
            return babble(rng, self._others(rng, row))
        return noise(rng, kind, length) if kind != "background" else self._piece(rng, length)

    def _others(self, rng: np.random.Generator, row: int) -> list[FloatArray]:
        """Clips of other speakers, none of them silent."""
        pool = self.voices[self.speakers != self.corpus.clips["speaker"].iloc[row]]
        waves = (_floats(self.corpus.waveforms[other]) for other in rng.permutation(pool))
        found: list[FloatArray] = []
        for wave in waves:
            found += [wave] if rms(wave) > FAINTEST else []
            if len(found) == VOICES:
                break
        return found

    def _piece(self, rng: np.random.Generator, length: int) -> FloatArray:
        """A piece of the corpus's noise; some recordings have silent stretches."""
        for _ in range(DRAWS):
            start = int(rng.integers(len(self.corpus.noise) - length + 1))
            piece = _floats(self.corpus.noise[start : start + length])
            if rms(piece) > FAINTEST:
                return piece
        return noise(rng, "white", length)


def degraded(condition: Condition, rows: Rows, material: Material) -> Floats32:
    """Clips of a corpus under a condition, shape (n, L), a full scale of 1.0.

    Noise and rooms may lift samples above full scale; only the family ``level`` clips there, so that each
    family changes one thing.
    """
    clips = _floats(material.corpus.waveforms[rows])
    if condition.family == "snr":
        length = clips.shape[1]
        pairs = zip(clips, rows, strict=True)
        clips = np.stack(
            [
                mix_at_snr(clip, material.background(condition.kind, int(row), length), condition.value)
                for clip, row in pairs
            ]
        )
    elif condition.family == "reverberation":
        sources = material.corpus.clips["source"].iloc[rows]
        clips = np.stack([in_room(*pair, condition.value) for pair in zip(clips, sources, strict=True)])
    elif condition.family == "level":
        clips = np.clip(clips * 10 ** (condition.value / 20), -1.0, 1.0)
    elif condition.family == "rate":
        clips = at_rate(clips, condition.value)
    return clips.astype(np.float32)


def in_room(clip: FloatArray, source: str, rt60_s: float) -> FloatArray:
    """A clip in a room of its own, at the level that it had.

    Args:
        clip: Shape (L,); the room's tail is cut there.
        source: Its name, which the room is drawn by.
        rt60_s: Time in which the room's sound decays by 60 dB.
    """
    rng = np.random.default_rng(seed_from("stress", "room", source))
    wet = convolve(clip, room_response(rng, rt60_s=rt60_s, direct_db=DIRECT_DB))
    return at_level_of(clip, wet)


def at_level_of(clip: FloatArray, changed: FloatArray) -> FloatArray:
    """What was made of a clip, scaled so that its sound has the clip's level."""
    level = active_rms(changed)
    return changed * (active_rms(clip) / level) if level > 0 else changed


def at_rate(clips: FloatArray, rate: float) -> FloatArray:
    """Speech that many times as fast at the same pitch, by a phase vocoder.

    The middle of the sound stays where it was; what is longer than the clip is cut off, what is missing is
    silence. The level is restored: partials that no longer add up in phase cost a phase vocoder some dB.

    Args:
        clips: Shape (n, L).
        rate: Above 1 is faster.
    """
    count, length = clips.shape
    window = torch.hann_window(N_FFT)
    spectra = torch.stft(
        torch.from_numpy(clips.astype(np.float32)), N_FFT, HOP_SAMPLES, window=window, return_complex=True
    )
    advance = torch.linspace(0, torch.pi * HOP_SAMPLES, N_FFT // 2 + 1)[:, None]
    spoken = functional.phase_vocoder(spectra, rate, advance)
    waves = torch.istft(spoken, N_FFT, HOP_SAMPLES, window=window, length=round(length / rate)).numpy()
    power = np.square(clips)
    total = power.sum(axis=1)
    middle = np.divide(power @ np.arange(length), total, out=np.full(count, length / 2), where=total > 0)
    start = np.rint(middle / rate - middle).astype(int)
    at = start[:, None] + np.arange(length)
    inside = (at >= 0) & (at < waves.shape[1])
    kept = np.where(inside, np.take_along_axis(waves, np.where(inside, at, 0), axis=1), 0.0)
    return np.stack([at_level_of(clip, wave) for clip, wave in zip(clips, kept, strict=True)])


def _floats(samples: npt.NDArray[np.int16]) -> FloatArray:
    return np.asarray(samples, dtype=np.float64) / 32768
