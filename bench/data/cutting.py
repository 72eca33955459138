"""Cutting clips out of recordings: where in a longer one the word is, and a stretch of it in its context."""

from __future__ import annotations

import numpy as np

from bench.data.corpora.base import Int16Array

SEARCH_SAMPLES = 1 << 20
# Of 1,600 recorded words two in a hundred have so much of their energy within 20 ms; of two clicks each has.
CLICK_SAMPLES, CLICK_SHARE, MOST_STEPS = 320, 0.4, 12
SAME_SHARE = 0.9


def fit_clip(samples: Int16Array, clip_samples: int) -> Int16Array:
    """Exactly L of int16 16 kHz samples.

    Shorter recordings get zeros, equally many on both sides; of longer ones the stretch with the highest
    energy is kept, the first of them where several are equal. A click is none where the word is elsewhere.
    """
    missing = clip_samples - len(samples)
    if missing >= 0:
        return np.pad(samples, (missing // 2, missing - missing // 2))
    start = _loudest_start(samples, clip_samples)
    return samples[start : start + clip_samples].copy()


def cut_clip(samples: Int16Array, first: int, last: int, clip_samples: int) -> Int16Array:
    """A clip of L samples around a stretch of a recording.

    What lies beside the stretch comes along as it was recorded, equally much on both sides, zeros where the
    recording ends; of a stretch longer than a clip ``fit_clip`` keeps its loudest part.

    Args:
        samples: The recording, shape (S,).
        first: Where the stretch begins.
        last: Where it ends; not counted in.
        clip_samples: L.
    """
    if last - first > clip_samples:
        return fit_clip(samples[first:last], clip_samples)
    start = (first + last - clip_samples) // 2
    within = samples[max(0, start) : start + clip_samples]
    before = max(0, -start)
    return np.pad(within, (before, clip_samples - before - len(within)))


def _loudest_start(samples: Int16Array, clip_samples: int) -> int:
    """Where the loudest stretch begins that is no mere click.

    A click is a blink that holds much of the energy around it. Another stretch is taken where it has far
    more without the clicks; else the first one stays, clicks and all.
    """
    start = _most_energy(samples, clip_samples)
    for _ in range(MOST_STEPS):
        click = start + _most_energy(samples[start : start + clip_samples], CLICK_SAMPLES)
        around = samples[max(0, click - clip_samples // 2) : click + clip_samples // 2]
        if _energy(samples[click : click + CLICK_SAMPLES]) > CLICK_SHARE * _energy(around):
            samples = samples.copy()
            samples[click : click + CLICK_SAMPLES] = 0
            continue
        other = _most_energy(samples, clip_samples)
        left, there = (_energy(samples[at : at + clip_samples]) for at in (start, other))
        if left >= SAME_SHARE * there:
            break
        start = other
    return start


def _energy(samples: Int16Array) -> int:
    return int(np.square(samples.astype(np.int64)).sum())


def _most_energy(samples: Int16Array, width: int) -> int:
    """Where the ``width`` samples with the highest energy begin; memory does not grow with the length."""
    best_start, best_energy = 0, -1
    for first in range(0, len(samples) - width + 1, SEARCH_SAMPLES):
        part = samples[first : first + SEARCH_SAMPLES + width - 1].astype(np.int64)
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(part**2)])
        energy = total[width:] - total[:-width]
        loudest = int(np.argmax(energy))
        if energy[loudest] > best_energy:
            best_start, best_energy = first + loudest, int(energy[loudest])
    return best_start
