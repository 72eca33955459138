"""Whether two models differ: both are scored on the same clips, and speakers are drawn for both at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from bench.quality.intervals import (
    DRAWS,
    EER_FLOOR,
    effective_speakers,
    no_error_bound,
    smallest_class,
    standard_error,
)
from bench.quality.metrics import Floats
from bench.quality.resampling import SortedClips, draw_speakers, measures_of, sort_clips
from bench.quality.shares import LEVEL

ALPHA = 0.05
NOTHING_SHOWN = "no difference shown"
Pair = tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True)
class PairedDifference:
    """How much higher B's figure is than A's.

    Attributes:
        difference: B - A, averaged over repeats; NaN where the measure is undefined.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        p_value: Of no difference at all, two-sided.
        reason: Why nothing can be said, else empty.
    """

    difference: float
    low: float
    high: float
    p_value: float
    reason: str = ""


def paired_difference(
    labels: npt.ArrayLike,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    speakers: npt.ArrayLike,
    measure: str = "one_minus_auc",
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedDifference:
    """The difference of two models on the same clips; see ``paired_difference_over_repeats``.

    Example:
        >>> labels, speakers = [0, 1, 0, 1] * 20, list("aabbccdd") * 10
        >>> paired_difference(labels, [0.1, 0.9, 0.2, 0.8] * 20, [0.1, 0.9, 0.2, 0.8] * 20, speakers)
        PairedDifference(difference=0.0, low=0.0, high=0.0, p_value=1.0, reason='')
    """
    pairs = [(scores_a, scores_b)]
    return paired_difference_over_repeats(labels, pairs, speakers, measure, draws=draws, seed=seed)


def paired_difference_over_repeats(
    labels: npt.ArrayLike,
    pairs: Sequence[Pair],
    speakers: npt.ArrayLike,
    measure: str = "one_minus_auc",
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedDifference:
    """The mean difference of two recipes, each trained with several seeds, on the same clips.

    For new speakers and new seeds. The variance is the sum of two: that of the mean over seeds when speakers
    are drawn with replacement, the same ones for all models (a paired bootstrap by speaker), and that of
    the differences of single seeds over their number. What speakers and seeds do together is in both, so the
    sum is on the safe side (Owen 2007, on resampling two crossed factors). The interval and the p-value are
    Student's t, its degrees of freedom Satterthwaite's (1946): with one seed, speakers less one.

    An equal error rate of few errors goes in steps that few speakers show: its standard error is at least
    that of two models with the mean rate, as for its interval. Equally good models are then called different
    at most 8 % of the time, where the rate is below one per cent; by any other measure at most 7 %, mostly
    less than 5 % (``bench.quality.coverage.false_positive_rate``).

    Args:
        labels: 1 for the keyword, 0 for all else, shape (N,).
        pairs: Scores of A and of B for each seed, each of shape (N,).
        speakers: Who speaks, shape (N,).
        measure: One of ``bench.quality.resampling.MEASURES``.
        draws: Resamples.
        seed: Of the draws.

    Returns:
        The difference; NaN, with the reason, where one class is missing, scores are not numbers, or there
        are clips of one speaker only.

    Raises:
        ValueError: No pairs, shapes differ, or a label is neither 0 nor 1.
        KeyError: No such measure.
    """
    return paired_difference_over_keywords(
        [PairedScores(labels, pairs, speakers)], measure, draws=draws, seed=seed
    )


@dataclass(frozen=True)
class PairedScores:
    """What two recipes say about the clips of one keyword.

    Attributes:
        labels: 1 for the keyword, 0 for all else, shape (N,).
        pairs: Scores of A and of B for each seed, each of shape (N,).
        speakers: Who speaks, shape (N,); the same ones for every keyword.
    """

    labels: npt.ArrayLike
    pairs: Sequence[Pair]
    speakers: npt.ArrayLike


def paired_difference_over_keywords(
    keywords: Sequence[PairedScores],
    measure: str = "one_minus_auc",
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedDifference:
    """The mean difference of two recipes over several keywords, each trained with several seeds.

    For new speakers and new keywords: the same speakers are drawn for all keywords and models, and the
    variance of the keywords' differences over their number is added to that of the speakers. What seeds do is
    in the latter. With one keyword it is ``paired_difference_over_repeats``, which has the sources.

    Raises:
        ValueError: No scores, shapes or speakers differ, or a label is neither 0 nor 1.
        KeyError: No such measure.
    """
    if not keywords or any(not one.pairs for one in keywords):
        raise ValueError("no scores to compare")
    names = [np.unique(np.asarray(one.speakers)) for one in keywords]
    if any(not np.array_equal(names[0], other) for other in names):
        raise ValueError("keywords of different speakers cannot be compared together")
    scores = [np.asarray(one, dtype=np.float64) for part in keywords for pair in part.pairs for one in pair]
    resamples = draw_speakers(len(names[0]), draws, np.random.default_rng(seed))
    counts = np.concatenate([np.ones((1, len(names[0])), np.int64), resamples.counts])
    if any(np.isnan(one).any() for one in scores):
        return _nothing("scores that are no numbers")
    found = [_differences(one, measure, counts) for one in keywords]
    first = found[0].clips
    # With one keyword each seed is a repeat, with several each keyword.
    differences = found[0].figures if len(found) == 1 else np.stack([one.figures.mean(0) for one in found])
    single: Floats = differences[:, 0]
    effective = min(effective_speakers(one.clips, measure) for one in found)
    if np.isnan(single).any() or effective <= 1 + 1e-9:
        return _nothing("one class only" if np.isnan(single).any() else "clips of one speaker only")
    if all(np.array_equal(a, b) for a, b in zip(scores[::2], scores[1::2], strict=True)):
        return PairedDifference(0.0, 0.0, 0.0, 1.0)
    error = standard_error(differences[:, 1:].mean(axis=0), resamples.times, effective)
    if measure == "eer":
        error = max(error, math.sqrt(sum(one.least_variance for one in found)) / len(found))
    return _tested(single, error, effective - 1, smallest_class(first, measure))


class _Found(NamedTuple):
    """What one keyword says of a measure.

    Attributes:
        figures: The differences, for each seed, of all clips and then of each draw, (R, 1 + D).
        least_variance: Of their mean, if the measure is the equal error rate.
        clips: Of the keyword.
    """

    figures: Floats
    least_variance: float
    clips: SortedClips


def _differences(keyword: PairedScores, measure: str, counts: npt.NDArray[np.int64]) -> _Found:
    sorted_ = [sort_clips(keyword.labels, one, keyword.speakers) for pair in keyword.pairs for one in pair]
    figures = np.stack([measures_of(one, counts, (measure,))[measure] for one in sorted_])
    rate = figures[:, 0].mean()
    least = 2 * EER_FLOOR**2 * rate * (1 - rate) / max(smallest_class(sorted_[0], measure), 1)
    return _Found(figures[1::2] - figures[::2], float(least), sorted_[0])


def _tested(single: Floats, error: float, freedom: float, clips: int) -> PairedDifference:
    """The t test of a mean over seeds, given its standard error over speakers."""
    if math.isnan(error):
        return _nothing("too few draws with clips of both classes")
    mean, runs = float(single.mean()), len(single)
    if error < 1e-12:
        # No speaker differs from another. If every clip that tells A and B apart speaks for the same one,
        # their share has at least this error (McNemar 1947); if none does, what is unseen is bounded.
        error = math.sqrt(abs(mean) / clips)
    of_speakers = error**2
    of_seeds = float(single.var(ddof=1)) / runs if runs > 1 else 0.0
    variance = of_speakers + of_seeds
    if variance < 1e-24:
        bound = no_error_bound(clips)
        return PairedDifference(mean, -bound, bound, 1.0)
    shares = of_speakers**2 / freedom + (of_seeds**2 / (runs - 1) if runs > 1 else 0.0)
    degrees, spread = variance**2 / shares, math.sqrt(variance)
    half = float(stdtrit(degrees, (1 + LEVEL) / 2)) * spread
    p_value = float(2 * stdtr(degrees, -(abs(mean) / spread)))
    return PairedDifference(mean, max(mean - half, -1.0), min(mean + half, 1.0), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, so that 5 % is the chance of any false difference (Holm 1979).

    NaN stays NaN and is not counted.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    known = sorted((value, place) for place, value in enumerate(p_values) if not math.isnan(value))
    corrected, highest = [math.nan] * len(p_values), 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[place] = highest
    return corrected


def verdict(a: str, b: str, difference: float, p_value: float, *, lower_is_better: bool) -> str:
    """Which one is better, at 5 %; says so where that is not shown.

    Example:
        >>> verdict("KD", "DQ+KD", 0.002, 0.01, lower_is_better=True)
        'KD better'
        >>> verdict("KD", "DQ+KD", 0.002, 0.2, lower_is_better=True)
        'no difference shown'
    """
    if math.isnan(p_value) or p_value >= ALPHA or not difference:
        return NOTHING_SHOWN
    return f"{a if (difference > 0) == lower_is_better else b} better"


def _nothing(reason: str) -> PairedDifference:
    return PairedDifference(math.nan, math.nan, math.nan, math.nan, reason)
