"""Measures of many resamples at once: speakers are drawn, and their clips count as often as they were.

Shape letters: N clips, S speakers, D draws.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.quality.metrics import Floats, Ints

# Counts held in memory at once.
BLOCK = 2_000_000
MEASURES = ("au_fa_fr", "auc", "one_minus_auc", "eer", "frr_at_far_1pct", "frr_at_far_01pct", "accuracy")
FARS = {"frr_at_far_1pct": 0.01, "frr_at_far_01pct": 0.001}


@dataclass(frozen=True, eq=False)
class SortedClips:
    """Clips in ascending order of score, as counts a speaker: ready for any number of resamples.

    A threshold only matters beside a keyword clip. Clips of other words between two of those are one
    step: that leaves every figure as it is, and most of the work undone. P, the number of steps, is at most
    twice that of keyword clips and three.

    Attributes:
        hits: Keyword clips in each step, by speaker, shape (P, S).
        others: Other clips in each step, by speaker, shape (P, S).
        right: Clips on the right side of one half, by speaker, shape (S,).
        reached: How many steps lie below a threshold of 1.
    """

    hits: Floats
    others: Floats
    right: Floats
    reached: int

    @property
    def keyword_clips(self) -> Floats:
        """Keyword clips, by speaker, shape (S,)."""
        return np.asarray(self.hits.sum(axis=0))

    @property
    def other_clips(self) -> Floats:
        """Clips of other words, by speaker, shape (S,)."""
        return np.asarray(self.others.sum(axis=0))


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
    values, keyword, number = values[order], truth[order] == 1, number[order]
    step, reached = _steps(values, keyword)
    shape = (int(step[-1]) + 1, len(names))
    place = step * shape[1] + number

    def table(chosen: npt.NDArray[np.bool_]) -> Floats:
        return np.bincount(place[chosen], minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)

    right = np.bincount(number[(values >= 0.5) == keyword], minlength=len(names)).astype(np.float64)
    return SortedClips(table(keyword), table(~keyword), right, reached)


def _steps(values: Floats, keyword: npt.NDArray[np.bool_]) -> tuple[Ints, int]:
    """The step that each of the sorted clips belongs to, and how many steps lie below 1."""
    starts = np.append(True, values[1:] != values[:-1])
    run = np.cumsum(starts) - 1
    mixed = np.bincount(run, weights=keyword) > 0
    first = values[starts]
    # A run of equal scores begins a step unless it and the one before are of other words alone.
    begins = np.append(True, mixed[1:] | mixed[:-1] | ((first[1:] >= 1) != (first[:-1] >= 1)))
    step = np.cumsum(begins) - 1
    return step[run].astype(np.int64), int(np.unique(step[first < 1]).size)


def draw_speakers(speakers: int, draws: int, rng: np.random.Generator) -> Draws:
    """As many speakers as there are, drawn with replacement, ``draws`` times."""
    drawn = rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=draws)
    counts, times = np.unique(drawn, axis=0, return_counts=True)
    return Draws(counts.astype(np.int64), times.astype(np.int64))


def measures_of(clips: SortedClips, counts: Ints, names: Collection[str] = MEASURES) -> dict[str, Floats]:
    """Figures of a keyword, by the names of their measures, for every resample.

    Args:
        clips: The clips of S speakers.
        counts: How often each speaker counts, shape (D, S).
        names: The figures wanted, of ``MEASURES``.

    Returns:
        Arrays of shape (D,) by name; NaN where a resample lacks a class that the measure needs.
    """
    rows = max(1, BLOCK // len(clips.hits))
    blocks = [_block(clips, counts[start : start + rows], names) for start in range(0, len(counts), rows)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in names}


def _block(clips: SortedClips, counts: Ints, names: Collection[str]) -> dict[str, Floats]:
    weights = counts.astype(np.float64)
    hits, others = (_below(weights, table) for table in (clips.hits, clips.others))
    positives, negatives = hits[:, -1], others[:, -1]
    alarms = negatives[:, None] - others
    with np.errstate(divide="ignore", invalid="ignore"):
        found = dict(_areas(alarms, hits, positives, negatives, clips.reached))
        if {"eer", *FARS} & set(names):
            found |= _rates(alarms, hits, positives, negatives)
        for values in found.values():
            values[(positives == 0) | (negatives == 0)] = np.nan
        found["accuracy"] = (weights @ clips.right) / (positives + negatives)
    return found


def _below(weights: Floats, table: Floats) -> Floats:
    """Clips below every threshold, as often as their speakers count, shape (D, P + 1)."""
    return np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights @ table.T, axis=1)], axis=1)


def _areas(
    alarms: Floats, misses: Floats, positives: Floats, negatives: Floats, reached: int
) -> Iterator[tuple[str, Floats]]:
    """Areas under the curves, as ``bench.quality.metrics`` defines them; counts of shape (D, thresholds)."""
    slices = (alarms[:, :-1] - alarms[:, 1:]) * (misses[:, :-1] + misses[:, 1:]) / 2
    yield "au_fa_fr", slices[:, :reached].sum(axis=1) / (positives + negatives) ** 2
    area = slices.sum(axis=1) / (positives * negatives)
    yield "auc", 1.0 - area
    yield "one_minus_auc", area


def _rates(alarms: Floats, misses: Floats, positives: Floats, negatives: Floats) -> dict[str, Floats]:
    """Single points of the curves, as ``bench.quality.metrics`` defines them."""
    rows = np.arange(len(alarms))
    alarm, miss = alarms / negatives[:, None], misses / positives[:, None]
    after = np.argmax(alarm <= miss, axis=1)
    before = np.maximum(after - 1, 0)
    start, end = alarm[rows, before], alarm[rows, after]
    gap_before, gap_after = start - miss[rows, before], end - miss[rows, after]
    found = {"eer": start + gap_before / (gap_before - gap_after) * (end - start)}
    for name, far in FARS.items():
        # Misses rise along the curve: the first threshold that is allowed has the fewest.
        found[name] = miss[rows, np.argmax(alarms <= far * negatives[:, None], axis=1)]
    return found
