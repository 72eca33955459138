"""Measures of many resamples at once: speakers are drawn, and their clips count as often as they were.

Shape letters: N clips, S speakers, D draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.metrics import Floats

Ints = npt.NDArray[np.int64]
# Clip weights held in memory at once: a resample of a large corpus is long.
BLOCK = 2_000_000
FARS = {"frr_at_far_1pct": 0.01, "frr_at_far_01pct": 0.001}


@dataclass(frozen=True, eq=False)
class SortedClips:
    """Clips in ascending order of score, ready for any number of resamples.

    Attributes:
        keyword: Whether a clip is of the keyword, shape (N,).
        correct: Whether it stands on the right side of one half, shape (N,).
        speaker: Number of the clip's speaker, shape (N,).
        ends: The last clip of every run of equal scores: where a threshold makes a difference.
        reached: How many of ``ends`` lie below a threshold of 1.
        speakers: S.
    """

    keyword: npt.NDArray[np.bool_]
    correct: npt.NDArray[np.bool_]
    speaker: Ints
    ends: Ints
    reached: int
    speakers: int


class Draws(NamedTuple):
    """Resamples of speakers, those that came out alike told once.

    Attributes:
        counts: How often a speaker was drawn, shape (D, S).
        times: How often such a resample came out, shape (D,).
    """

    counts: Ints
    times: Ints


def sort_clips(labels: npt.ArrayLike, scores: npt.ArrayLike, speakers: npt.ArrayLike) -> SortedClips:
    """Sorts clips by score, once for all resamples.

    Args:
        labels: 1 for the keyword, 0 for all else, shape (N,).
        scores: Higher for the keyword, shape (N,).
        speakers: Who speaks, of any type, shape (N,).

    Raises:
        ValueError: Shapes differ, a label is neither 0 nor 1, or a score is not a number.
    """
    truth, values, who = np.asarray(labels), np.asarray(scores, dtype=np.float64), np.asarray(speakers)
    if not truth.shape == values.shape == who.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(
            f"labels {truth.shape}, scores {values.shape} and speakers {who.shape} must be of one shape (N,)"
        )
    if not ((truth == 0) | (truth == 1)).all() or np.isnan(values).any():
        raise ValueError("labels must be 0 or 1, and scores numbers")
    names, number = np.unique(who, return_inverse=True)
    order = np.argsort(values, kind="stable")
    values, keyword = values[order], truth[order] == 1
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    return SortedClips(
        keyword=keyword,
        correct=(values >= 0.5) == keyword,
        speaker=number[order].astype(np.int64),
        ends=ends,
        reached=int(np.searchsorted(values[ends], 1.0)),
        speakers=len(names),
    )


def draw_speakers(speakers: int, draws: int, rng: np.random.Generator) -> Draws:
    """As many speakers as there are, drawn with replacement, ``draws`` times."""
    drawn = rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=draws)
    counts, times = np.unique(drawn, axis=0, return_counts=True)
    return Draws(counts.astype(np.int64), times.astype(np.int64))


def measures_of(clips: SortedClips, counts: Ints) -> dict[str, Floats]:
    """Every quality figure of ``bench.metrics.Quality`` for every resample.

    Args:
        clips: The clips of S speakers.
        counts: How often each speaker counts, shape (D, S).

    Returns:
        Arrays of shape (D,) by name; NaN where a resample lacks a class that the measure needs.
    """
    rows = max(1, BLOCK // len(clips.keyword))
    blocks = [_block(clips, counts[start : start + rows]) for start in range(0, len(counts), rows)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _block(clips: SortedClips, counts: Ints) -> dict[str, Floats]:
    weights = counts[:, clips.speaker].astype(np.float64)
    hits = _steps(weights * clips.keyword, clips.ends)
    others = _steps(weights * ~clips.keyword, clips.ends)
    positives, negatives = hits[:, -1], others[:, -1]
    alarms = negatives[:, None] - others
    with np.errstate(divide="ignore", invalid="ignore"):
        found = dict(_curve_measures(alarms, hits, positives, negatives, clips.reached))
        for values in found.values():
            values[(positives == 0) | (negatives == 0)] = np.nan
        found["accuracy"] = (weights @ clips.correct) / weights.sum(axis=1)
    return found


def _steps(weights: Floats, ends: Ints) -> Floats:
    """Weight below every threshold, shape (D, thresholds)."""
    return np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)[:, ends]], axis=1)


def _curve_measures(
    alarms: Floats, misses: Floats, positives: Floats, negatives: Floats, reached: int
) -> Iterator[tuple[str, Floats]]:
    """Measures of the curves, as ``bench.metrics`` defines them; counts of shape (D, thresholds)."""
    slices = (alarms[:, :-1] - alarms[:, 1:]) * (misses[:, :-1] + misses[:, 1:]) / 2
    yield "au_fa_fr", slices[:, :reached].sum(axis=1) / (positives + negatives) ** 2
    area = slices.sum(axis=1) / (positives * negatives)
    yield "auc", 1.0 - area
    yield "one_minus_auc", area
    rows = np.arange(len(alarms))
    alarm, miss = alarms / negatives[:, None], misses / positives[:, None]
    after = np.argmax(alarm <= miss, axis=1)
    before = np.maximum(after - 1, 0)
    start, end = alarm[rows, before], alarm[rows, after]
    gap_before, gap_after = start - miss[rows, before], end - miss[rows, after]
    yield "eer", start + gap_before / (gap_before - gap_after) * (end - start)
    for name, far in FARS.items():
        # Misses rise along the curve: the first threshold that is allowed has the fewest.
        yield name, miss[rows, np.argmax(alarms <= far * negatives[:, None], axis=1)]
