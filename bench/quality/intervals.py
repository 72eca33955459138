"""A 95 % interval for every quality figure, from clips resampled by speaker."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri, stdtrit  # scipy.stats takes half a second to import

from bench.quality.metrics import Floats
from bench.quality.misses import Run, miss_rates
from bench.quality.resampling import (
    FARS,
    MEASURES,
    Draws,
    SortedClips,
    draw_speakers,
    measures_of,
    sort_clips,
)
from bench.quality.shares import LEVEL, effective_number, interval_of_counts

DRAWS = 1000
BOOTSTRAP = "speaker bootstrap t"
SHARE = "share of clustered clips"
SHARES = ("accuracy", *FARS)
# How far few errors skew the interval, in squared standard errors of the logit: (2 z^2 + 1) / 6, which is
# Johnson's (1978) correction for a skewness of one standard error, about that of a gamma's logarithm.
SKEW = (2 * float(ndtri((1 + LEVEL) / 2)) ** 2 + 1) / 6
# The least standard error of the equal error rate, in units of the binomial one of the rarer class; half is
# Bengio and Mariethoz's (2004), who hold the threshold fixed.
EER_FLOOR = 0.35
BOUND = "bound without spread"


@dataclass(frozen=True)
class Interval:
    """Where the true figure is, with 95 % confidence.

    Attributes:
        low: Lower end; NaN where nothing can be said.
        high: Upper end; NaN where nothing can be said.
        method: ``speaker bootstrap t``, ``bound without spread``, ``share of clustered clips``, or empty.
        reason: Why nothing can be said, else empty.
    """

    low: float
    high: float
    method: str = ""
    reason: str = ""


def intervals(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    speakers: npt.ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    measures: Collection[str] = MEASURES,
) -> dict[str, Interval]:
    """A 95 % interval for every quality figure, for new clips of new speakers.

    Areas and the equal error rate: the standard error is that of a bootstrap that draws speakers with
    replacement, each with all its clips (Field and Welsh 2007; rescaled by S / (S - 1) as in Rao and Wu
    1988). The interval is symmetric around the figure's logit (Obuchowski and Lieber 2002 recommend it for
    areas near 1), with Student's t of as many degrees of freedom as there are speakers less one, unequal
    ones counted by Kish's effective number (Carter, Schnepel and Steigerwald 2017). Percentiles of the same
    bootstrap are not used: of four speakers they cover the truth 50 to 80 % of the time. Few errors make
    even the logit skewed, so the arm away from zero errors is longer by ``SKEW`` squared standard errors.

    Where no speaker shows an error, or none differs, there is no spread to see: the interval then reaches
    from 0 to the share of errors that would still leave so many clips without one, 5 % of the time (the
    rule of three, Hanley and Lippman-Hand 1983). For the area under the curve the clips are those of the
    keyword, which bounds it from above.

    The accuracy and the miss rates are shares of clips, and of a share with one error in 60 the logit tells
    nothing: 0 to 1. They have the intervals of ``bench.quality.shares`` and ``.misses``. There is none
    where so few other clips leave the threshold of a miss rate open.

    What the intervals cover was found by ``python -m bench.quality.coverage``: 2000 sets of clips by each
    of 4, 6, 24 and 130 speakers, of models that miss 0 to 30 % at 1 % false alarms. The three figures are for
    a tenth of the scores' variance between speakers; for three tenths; and for a tenth of other clips and
    half of keyword clips, which is about what recordings show. They are those of the size and the model that
    are covered worst, rounded down. Of models that never err all intervals hold.

    ==================  ====  ====  ====
    1 - AUC             93 %  91 %  89 %
    equal error rate    95 %  95 %  94 %
    misses at 1 %       98 %  96 %  97 %
    misses at 0.1 %     94 %  93 %  95 %
    accuracy            96 %  91 %  96 %
    ==================  ====  ====  ====

    Misses at 0.1 % have an interval only of the 130 speakers and their 3900 other clips.

    ``au_fa_fr`` is that of sets with this set's share of the keyword; a draw's other share is taken out.

    Args:
        labels: 1 for the keyword, 0 for all else, shape (N,).
        scores: Probabilities of the keyword, shape (N,).
        speakers: Who speaks, shape (N,).
        draws: Resamples. With few speakers those that come out alike are computed once.
        seed: Of the draws.
        measures: The figures wanted.

    Returns:
        An interval for each of ``measures``; NaN, with the reason, where one class is missing, scores are
        not numbers, there are clips of one speaker only, or too few to say where a threshold is.

    Raises:
        ValueError: Shapes differ, or a label is neither 0 nor 1.

    Example:
        >>> found = intervals([0, 1] * 20, [0.1, 0.9] * 20, list("aabbccdd") * 5)
        >>> found["one_minus_auc"].low, round(found["one_minus_auc"].high, 3)
        (0.0, 0.139)
    """
    values = np.asarray(scores, dtype=np.float64)
    if np.isnan(values).any():
        return dict.fromkeys(measures, _nothing("scores that are no numbers"))
    clips = sort_clips(labels, values, speakers)
    found = {name: _of_share(name, (labels, values, speakers), clips) for name in measures if name in SHARES}
    resampled = [name for name in measures if name not in SHARES]
    if resampled:
        resamples = draw_speakers(len(clips.right), draws, np.random.default_rng(seed))
        whole = measures_of(clips, np.ones((1, len(clips.right)), np.int64), resampled)
        drawn = measures_of(clips, resamples.counts, resampled)
        for name in resampled:
            found[name] = _of_draws(name, whole[name][0], drawn[name], resamples, clips)
    return {name: found[name] for name in measures}


def _of_share(measure: str, run: Run, clips: SortedClips) -> Interval:
    """The interval of the accuracy, or of a miss rate."""
    effective = effective_speakers(clips, measure)
    if effective <= 1 + 1e-9:
        return _nothing("clips of one speaker only" if effective else "one class only")
    if measure not in FARS:
        everyone = clips.keyword_clips + clips.other_clips
        low, high = map(float, interval_of_counts(everyone - clips.right, everyone))
        return Interval(1 - high, 1 - low, SHARE)
    _, low, high = (float(end[0]) for end in miss_rates([run], [FARS[measure]]))
    if math.isnan(low):
        others = int(clips.other_clips.sum())
        return _nothing(f"{others} other clips do not say where the highest {100 * FARS[measure]:g} % begin")
    return Interval(low, high, SHARE)


def _nothing(reason: str) -> Interval:
    return Interval(math.nan, math.nan, "", reason)


def effective_speakers(clips: SortedClips, measure: str) -> float:
    """How many speakers of equal size the clips behind a measure are worth, by Kish's formula.

    A measure that needs both classes has as many as the class with fewer; 0 where a class is missing.
    """
    sets = [clips.keyword_clips, clips.other_clips]
    if measure == "accuracy":
        sets = [clips.keyword_clips + clips.other_clips]
    return min(effective_number(sizes) for sizes in sets)


def smallest_class(clips: SortedClips, measure: str) -> int:
    """How many clips a measure hangs on: those of the rarer class, or all for the accuracy."""
    keyword, others = int(clips.keyword_clips.sum()), int(clips.other_clips.sum())
    return keyword + others if measure == "accuracy" else min(keyword, others)


def standard_error(drawn: Floats, times: npt.NDArray[np.int64], effective: float) -> float:
    """Standard deviation over draws, rescaled for the few speakers that they are drawn from.

    Args:
        drawn: The figure in each draw, shape (D,); NaN where it is undefined.
        times: How often each draw came out, shape (D,).
        effective: Number of speakers, above 1.
    """
    there = np.isfinite(drawn)
    if times[there].sum() < 0.5 * times.sum():
        return math.nan
    mean = np.average(drawn[there], weights=times[there])
    variance = np.average((drawn[there] - mean) ** 2, weights=times[there])
    return math.sqrt(variance * effective / (effective - 1))


def _of_draws(measure: str, whole: float, drawn: Floats, draws: Draws, clips: SortedClips) -> Interval:
    """The interval of one figure from its resamples.

    Args:
        measure: A name from ``MEASURES``.
        whole: The figure of all clips.
        drawn: The figure in each draw, shape (D,); NaN where it is undefined.
        draws: The resamples.
        clips: All clips.
    """
    effective = effective_speakers(clips, measure)
    if math.isnan(whole) or effective <= 1.0 + 1e-9:
        return _nothing("one class only" if math.isnan(whole) else "clips of one speaker only")
    scale = 1.0
    if measure == "au_fa_fr":
        # A draw's own share of the keyword is no part of the uncertainty.
        hits, others = draws.counts @ clips.keyword_clips, draws.counts @ clips.other_clips
        scale = float(_mixed(clips.keyword_clips.sum(), clips.other_clips.sum()))
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = drawn / _mixed(hits, others)
    error = standard_error(drawn, draws.times, effective)
    if math.isnan(error):
        return _nothing("too few draws with clips of both classes")
    # Of the area above the line more is better: its interval is that of what it lacks to 1.
    right = measure == "auc"
    figure = (1 - whole if right else whole) / scale
    smallest = smallest_class(clips, measure)
    floor = EER_FLOOR * math.sqrt(max(figure * (1 - figure), 0) / smallest) if measure == "eer" else 0.0
    low, high, method = _arms(figure, (error, floor), effective - 1, smallest)
    if right:
        low, high = 1 - high, 1 - low
    return Interval(scale * low, scale * high, method)


def _mixed(hits: Any, others: Any) -> Any:
    """The share of keyword clips times that of all others."""
    return hits * others / (hits + others) ** 2


def _arms(figure: float, errors: tuple[float, float], freedom: float, clips: int) -> tuple[float, float, str]:
    """The interval of a share of errors, from its standard error and the least that it can be."""
    if figure > 0.5:
        low, high, method = _arms(1 - figure, errors, freedom, clips)
        return 1 - high, 1 - low, method
    # Sums over other orders of clips leave rounding errors where there is neither error nor spread.
    if figure < 1e-12:
        return 0.0, no_error_bound(clips), BOUND
    error, floor = errors
    method = BOOTSTRAP
    if error < 1e-12:
        floor, method = math.sqrt(figure * (1 - figure) / clips), BOUND
    slope = figure * (1 - figure)
    half = max(error * float(stdtrit(freedom, (1 + LEVEL) / 2)), floor * float(ndtri((1 + LEVEL) / 2)))
    centre, half, spread = float(logit(figure)), half / slope, max(error, floor) / slope
    return float(expit(centre - half)), float(expit(centre + half + SKEW * spread**2)), method


def no_error_bound(clips: int) -> float:
    """The share of errors with which ``clips`` clips are all right 5 % of the time; about 3 / clips.

    Example:
        >>> round(no_error_bound(100), 4)
        0.0295
    """
    return float(1 - (1 - LEVEL) ** (1 / clips))
