"""A 95 % interval for every quality figure, from clips resampled by speaker."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import t as student

from bench.metrics import Floats
from bench.statistics.resampling import Draws, SortedClips, draw_speakers, measures_of, sort_clips

LEVEL = 0.95
DRAWS = 1000
MEASURES = ("au_fa_fr", "auc", "one_minus_auc", "eer", "frr_at_far_1pct", "frr_at_far_01pct", "accuracy")
# Of these more is better: their interval is that of what they lack to 1.
SHARES_RIGHT = ("auc", "accuracy")
BOOTSTRAP = "speaker bootstrap t"
BOUND = "bound without spread"


@dataclass(frozen=True)
class Interval:
    """Where the true figure is, with 95 % confidence.

    Attributes:
        low: Lower end; NaN where nothing can be said.
        high: Upper end; NaN where nothing can be said.
        method: ``speaker bootstrap t``, ``bound without spread``, or empty.
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
) -> dict[str, Interval]:
    """A 95 % interval for every quality figure, for new clips of new speakers.

    The standard error is that of a bootstrap that draws speakers with replacement, each with all its
    clips (Field and Welsh 2007; the rescaling by S / (S - 1) is Rao and Wu's, 1988). The interval is
    symmetric around the figure's logit, with Student's t of as many degrees of freedom as there are
    speakers less one, unequal ones counted by Kish's effective number (Carter, Schnepel and Steigerwald
    2017). Percentiles of the same bootstrap are not used: of four speakers they cover the truth 50 to 80 %
    of the time. Few errors make the figure skewed even as a logit, so the arm away from zero errors is
    longer by a factor of 1 + se / 2; that factor was chosen by the simulation in
    ``bench.statistics.coverage``, which says what the intervals cover.

    Where no speaker shows an error, or none differs, there is no spread to see: the interval then reaches
    from 0 to the share of errors that would still leave so many clips without one, 5 % of the time (the
    rule of three, Hanley and Lippman-Hand 1983). For the area under the curve the clips are those of the
    keyword, which bounds it from above.

    ``au_fa_fr`` is that of sets with this set's share of the keyword; a draw's other share is taken out.

    Args:
        labels: 1 for the keyword, 0 for all else, shape (N,).
        scores: Probabilities of the keyword, shape (N,).
        speakers: Who speaks, shape (N,).
        draws: Resamples. With few speakers those that come out alike are computed once.
        seed: Of the draws.

    Returns:
        An interval for each of ``MEASURES``; NaN, with the reason, where one class is missing, scores are
        not numbers, or there are clips of one speaker only.

    Raises:
        ValueError: Shapes differ, or a label is neither 0 nor 1.

    Example:
        >>> found = intervals([0, 1] * 20, [0.1, 0.9] * 20, list("aabbccdd") * 5)
        >>> found["one_minus_auc"].low, round(found["one_minus_auc"].high, 3)
        (0.0, 0.139)
    """
    values = np.asarray(scores, dtype=np.float64)
    if np.isnan(values).any():
        return dict.fromkeys(MEASURES, Interval(math.nan, math.nan, "", "scores that are no numbers"))
    clips = sort_clips(labels, values, speakers)
    resamples = draw_speakers(clips.speakers, draws, np.random.default_rng(seed))
    whole = measures_of(clips, np.ones((1, clips.speakers), np.int64))
    drawn = measures_of(clips, resamples.counts)
    return {name: _interval(name, whole[name][0], drawn[name], resamples, clips) for name in MEASURES}


def effective_speakers(clips: SortedClips, measure: str) -> float:
    """How many speakers of equal size the clips behind a measure are worth, by Kish's formula.

    A measure that needs both classes has as many as the class with fewer; 0 where a class is missing.
    """
    sets = [np.ones(len(clips.keyword), bool)]
    if measure != "accuracy":
        sets = [clips.keyword, ~clips.keyword]
    found = []
    for chosen in sets:
        sizes = np.bincount(clips.speaker[chosen], minlength=clips.speakers).astype(np.float64)
        found.append(float(sizes.sum() ** 2 / (sizes**2).sum()) if sizes.any() else 0.0)
    return min(found)


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


def _interval(measure: str, whole: float, drawn: Floats, draws: Draws, clips: SortedClips) -> Interval:
    effective = effective_speakers(clips, measure)
    if math.isnan(whole) or effective <= 1.0 + 1e-9:
        reason = "one class only" if math.isnan(whole) else "clips of one speaker only"
        return Interval(math.nan, math.nan, "", reason)
    keyword = int(clips.keyword.sum())
    scale = 1.0
    if measure == "au_fa_fr":
        share = keyword / len(clips.keyword)
        hits = draws.counts @ np.bincount(clips.speaker[clips.keyword], minlength=clips.speakers)
        shares = hits / (draws.counts @ np.bincount(clips.speaker, minlength=clips.speakers))
        scale = share * (1 - share)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = drawn / (shares * (1 - shares))
    error = standard_error(drawn, draws.times, effective)
    if math.isnan(error):
        return Interval(math.nan, math.nan, "", "too few draws with clips of both classes")
    right = measure in SHARES_RIGHT
    figure = (1 - whole if right else whole) / scale
    smallest = len(clips.keyword) if measure == "accuracy" else min(keyword, len(clips.keyword) - keyword)
    low, high, method = _arms(figure, error, effective - 1, smallest)
    if right:
        low, high = 1 - high, 1 - low
    return Interval(scale * low, scale * high, method)


def _arms(figure: float, error: float, freedom: float, clips: int) -> tuple[float, float, str]:
    """The interval of a share of errors from its standard error."""
    if figure > 0.5:
        low, high, method = _arms(1 - figure, error, freedom, clips)
        return 1 - high, 1 - low, method
    # Sums over other orders of clips leave rounding errors where there is neither error nor spread.
    if figure < 1e-12:
        return 0.0, no_error_bound(clips), BOUND
    if error < 1e-12:
        error, method = math.sqrt(figure * (1 - figure) / clips), BOUND
    else:
        method = BOOTSTRAP
    spread = error / (figure * (1 - figure))
    half = float(student.ppf((1 + LEVEL) / 2, freedom)) * spread
    centre = float(logit(figure))
    return float(expit(centre - half)), float(expit(centre + half * (1 + spread / 2))), method


def no_error_bound(clips: int) -> float:
    """The share of errors with which ``clips`` clips are all right 5 % of the time; about 3 / clips.

    Example:
        >>> round(no_error_bound(100), 4)
        0.0295
    """
    return float(1 - (1 - LEVEL) ** (1 / clips))
