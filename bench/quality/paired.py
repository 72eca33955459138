"""Whether two models differ: both are scored on the same clips, and speakers are drawn for both at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from bench.quality.base import Measure, Scored
from bench.quality.intervals import (
    DRAWS,
    LEAST_SPEAKERS,
    NO_NUMBERS,
    ONE_CLASS,
    ONE_SPEAKER,
    Behind,
    no_error_bound,
    standard_error,
    within_one,
)
from bench.quality.measures import measures
from bench.quality.metrics import Floats
from bench.quality.resampling import draw_speakers
from bench.quality.shares import LEVEL
from models.task import UNNAMED, Task

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
    task: Task = UNNAMED,
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedDifference:
    """The difference of two models on the same clips; see ``paired_difference_over_tasks``.

    Examples:
        >>> labels, speakers = [0, 1, 0, 1] * 20, list("aabbccdd") * 10
        >>> paired_difference(labels, [0.1, 0.9, 0.2, 0.8] * 20, [0.1, 0.9, 0.2, 0.8] * 20, speakers)
        PairedDifference(difference=0.0, low=0.0, high=0.0, p_value=1.0, reason='')
    """
    sets = [PairedScores(labels, [(scores_a, scores_b)], speakers, task)]
    return paired_difference_over_tasks(sets, measure, draws=draws, seed=seed)


@dataclass(frozen=True)
class PairedScores:
    """What two recipes say about the clips of one task.

    Attributes:
        labels: Classes, shape (N,).
        pairs: Probabilities by A and by B for each seed, each of shape (N, K); (N,) are those of a keyword.
        speakers: Who speaks, shape (N,); the same ones for every task.
        task: What was asked.
    """

    labels: npt.ArrayLike
    pairs: Sequence[Pair]
    speakers: npt.ArrayLike
    task: Task = UNNAMED

    def scored(self) -> list[Scored]:
        """The clips as A and B see them, in turn, for each seed."""
        return [Scored.of(self.task, self.labels, one, self.speakers) for pair in self.pairs for one in pair]


def paired_difference_over_tasks(
    sets: Sequence[PairedScores],
    measure: str = "one_minus_auc",
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> PairedDifference:
    """The mean difference of two recipes, each trained with several seeds, for one task or for several.

    For new speakers, new seeds and new keywords. The same speakers are drawn with replacement for all models
    and tasks (a paired bootstrap by speaker). With one task the variance is the sum of two: that of the
    mean over seeds under these draws, and that of the differences of single seeds over their number. What
    speakers and seeds do together is in both, so the sum is on the safe side (Owen 2007, on resampling two
    crossed factors). With several tasks their differences take the place of the seeds'. The interval and the
    p-value are Student's t, its degrees of freedom Satterthwaite's (1946): with one of one seed, speakers
    less one.

    An equal error rate of few errors goes in steps that few speakers show: its standard error is at least
    that of two models with the mean rate, as for its interval. Equally good models are then called different
    at most 8 % of the time, where the rate is below one per cent; by any other measure some 7 % at most,
    mostly less than 5 % (``bench.quality.coverage.false_positive_rate``).

    Args:
        sets: What the models say, for each task.
        measure: The name of one that the tasks have.
        draws: Resamples.
        seed: Of the draws.

    Returns:
        The difference; NaN, with the reason, where one class is missing, scores are not numbers, or there
        are clips of one speaker only.

    Raises:
        ValueError: No scores, shapes or speakers differ, or a label is no class.
        KeyError: No such measure.
    """
    if not sets or any(not one.pairs for one in sets):
        raise ValueError("no scores to compare")
    by_name = {each.name: each for each in measures(sets[0].task)}
    scored = [one.scored() for one in sets]
    names = [np.unique(one[0].speakers) for one in scored]
    if any(not np.array_equal(names[0], other) for other in names):
        raise ValueError("tasks of different speakers cannot be compared together")
    resamples = draw_speakers(len(names[0]), draws, np.random.default_rng(seed))
    counts = np.concatenate([np.ones((1, len(names[0])), np.int64), resamples.counts])
    if any(np.isnan(each.probabilities).any() for one in scored for each in one):
        return _nothing(NO_NUMBERS)
    found = [_differences(one, by_name[measure], counts) for one in scored]
    # With one task each seed is a repeat, with several each task.
    differences = found[0].figures if len(found) == 1 else np.stack([one.figures.mean(0) for one in found])
    single: Floats = differences[:, 0]
    effective = min(one.behind.speakers for one in found)
    if np.isnan(single).any() or effective <= LEAST_SPEAKERS:
        return _nothing(ONE_CLASS if np.isnan(single).any() else ONE_SPEAKER)
    if all(np.array_equal(a.probabilities, b.probabilities) for one in scored for a, b in _pairs(one)):
        return PairedDifference(0.0, 0.0, 0.0, 1.0)
    error = standard_error(differences[:, 1:].mean(axis=0), resamples.times, effective)
    # A standard error that is no number stays none.
    least = math.sqrt(sum(one.least_variance for one in found)) / len(found)
    outcome = _tested(single, max(error, least), effective - 1, found[0].behind.clips)
    return outcome if not all(one.shares for one in found) else _within_one(outcome)


class _Found(NamedTuple):
    """What one task says of a measure.

    Attributes:
        figures: The differences, for each seed, of all clips and then of each draw, (R, 1 + D).
        least_variance: Of their mean.
        behind: The clips that it hangs on.
        shares: Whether its figures are within 0 and 1.
    """

    figures: Floats
    least_variance: float
    behind: Behind
    shares: bool


def _differences(scored: Sequence[Scored], measure: Measure, counts: npt.NDArray[np.int64]) -> _Found:
    figures = np.stack([measure.drawn(one, counts) for one in scored])
    behind, least = measure.behind(scored[0]), 0.0
    if measure.least_error:
        rate = float(figures[:, 0].mean())
        least = 2 * measure.least_error**2 * rate * (1 - rate) / max(behind.clips, 1)
    return _Found(figures[1::2] - figures[::2], least, behind, within_one(figures))


def _pairs(scored: Sequence[Scored]) -> Iterator[tuple[Scored, Scored]]:
    return zip(scored[::2], scored[1::2], strict=True)


def _tested(single: Floats, error: float, freedom: float, clips: int) -> PairedDifference:
    """The t test of a mean over seeds, given its standard error over speakers."""
    if math.isnan(error):
        return _nothing("too few draws with clips of all classes")
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
    return PairedDifference(mean, mean - half, mean + half, p_value)


def _within_one(found: PairedDifference) -> PairedDifference:
    """Of shares no difference is larger than 1."""
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, so that 5 % is the chance of any false difference (Holm 1979).

    NaN stays NaN and is not counted.

    Examples:
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

    Examples:
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
