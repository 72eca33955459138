"""95 % intervals of quality figures, for new clips of new speakers; each measure says which one is its own.

Areas and the equal error rate have that of a bootstrap by speaker (``interval_of_draws``), as has any figure
of which nothing else is known. The accuracy and the miss rates are shares of clips, and of a share with one
error in 60 the logit tells nothing: 0 to 1. They have the intervals of ``bench.quality.shares`` and
``.misses``. There is none where so few other clips leave the threshold of a miss rate open.

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

Of five classes, that are right 70 to 99 % of the time, of as many speakers, the worst is covered, for a tenth
and for three tenths of the logits' variance between speakers:

==================  ====  ====
accuracy            97 %  96 %
macro F1            94 %  94 %
==================  ====  ====
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri, stdtrit  # scipy.stats takes half a second to import

from bench.quality.metrics import Floats
from bench.quality.misses import Run, miss_rates
from bench.quality.shares import LEVEL, effective_number, interval_of_counts

DRAWS = 1000
BOOTSTRAP = "speaker bootstrap t"
SYMMETRIC = "symmetric speaker bootstrap t"
SHARE = "share of clustered clips"
# How far few errors skew the interval, in squared standard errors of the logit: (2 z^2 + 1) / 6, which is
# Johnson's (1978) correction for a skewness of one standard error, about that of a gamma's logarithm.
SKEW = (2 * float(ndtri((1 + LEVEL) / 2)) ** 2 + 1) / 6
# The least standard error of the equal error rate, in units of the binomial one of the rarer class; half is
# Bengio and Mariethoz's (2004), who hold the threshold fixed.
EER_FLOOR = 0.35
BOUND = "bound without spread"
ROUNDING = 1e-12
# With fewer, speakers do not differ: there is one.
LEAST_SPEAKERS = 1 + 1e-9
ONE_SPEAKER, ONE_CLASS = "clips of one speaker only", "one class only"
NO_NUMBERS = "scores that are no numbers"


@dataclass(frozen=True)
class Interval:
    """Where the true figure is, with 95 % confidence.

    Attributes:
        low: Lower end; NaN where nothing can be said.
        high: Upper end; NaN where nothing can be said.
        method: ``speaker bootstrap t``, ``bound without spread``, ``share of clustered clips``,
            ``symmetric speaker bootstrap t``, or empty.
        reason: Why nothing can be said, else empty.
    """

    low: float
    high: float
    method: str = ""
    reason: str = ""


class Behind(NamedTuple):
    """The clips that a figure hangs on.

    Attributes:
        speakers: How many speakers of equal size theirs are worth, by Kish's formula; 0 where there are none.
        clips: How many there are, of the class with fewest where all are needed.
    """

    speakers: float
    clips: int


def nothing(reason: str) -> Interval:
    """No interval, and why."""
    return Interval(math.nan, math.nan, "", reason)


def interval_of_share(hits: Floats, clips: Floats) -> Interval:
    """The interval of a share of clips, by speaker, both of shape (S,); see ``shares.interval_of_counts``."""
    if effective_number(clips) <= LEAST_SPEAKERS:
        return nothing(ONE_SPEAKER)
    # Of errors, which are few: what has none ends there.
    low, high = map(float, interval_of_counts(clips - hits, clips))
    return Interval(1 - high, 1 - low, SHARE)


def interval_of_misses(run: Run, far: float, behind: Behind) -> Interval:
    """The interval of the miss rate at a false-alarm rate; see ``misses.miss_rates``."""
    if behind.speakers <= LEAST_SPEAKERS:
        return nothing(ONE_SPEAKER if behind.speakers else ONE_CLASS)
    _, low, high = (float(end[0]) for end in miss_rates([run], [far]))
    if math.isnan(low):
        others = int((np.asarray(run[0]) == 0).sum())
        return nothing(f"{others} other clips do not say where the highest {100 * far:g} % begin")
    return Interval(low, high, SHARE)


def interval_of_draws(
    whole: float,
    drawn: Floats,
    times: npt.NDArray[np.int64],
    behind: Behind,
    *,
    lower_is_better: bool,
    least_error: float = 0.0,
) -> Interval:
    """The interval of a figure from its resamples, for new clips of new speakers.

    The standard error is that of a bootstrap that draws speakers with replacement, each with all its clips
    (Field and Welsh 2007; rescaled by S / (S - 1) as in Rao and Wu 1988). The interval of a figure within
    0 and 1 is symmetric around its logit (Obuchowski and Lieber 2002 recommend it for areas near 1), that of
    another around itself, with Student's t of as many degrees of freedom as there are speakers less one,
    unequal ones counted by Kish's effective number (Carter, Schnepel and Steigerwald 2017). Percentiles of
    the same bootstrap are not used: of four speakers they cover the truth 50 to 80 % of the time. Few errors
    make even the logit skewed, so the arm away from zero errors is longer by ``SKEW`` squared standard
    errors.

    Where no speaker shows an error, or none differs, there is no spread to see: the interval then reaches
    from 0 to the share of errors that would still leave so many clips without one, 5 % of the time (the
    rule of three, Hanley and Lippman-Hand 1983). For the area under the curve the clips are those of the
    keyword, which bounds it from above.

    Args:
        whole: The figure of all clips.
        drawn: The figure in each draw, shape (D,); NaN where it is undefined.
        times: How often each draw came out, shape (D,).
        behind: The clips that it hangs on.
        lower_is_better: Whether no error is 0, and not 1.
        least_error: The least that the standard error can be, in units of the binomial one.
    """
    if math.isnan(whole) or behind.speakers <= LEAST_SPEAKERS:
        return nothing(ONE_CLASS if math.isnan(whole) else ONE_SPEAKER)
    error = standard_error(drawn, times, behind.speakers)
    if math.isnan(error):
        return nothing("too few draws with clips of all classes")
    if not within_one(np.append(drawn, whole)):
        half = error * float(stdtrit(behind.speakers - 1, (1 + LEVEL) / 2))
        return Interval(whole - half, whole + half, SYMMETRIC) if half else nothing("no speaker differs")
    # Where more is better the interval is that of what lacks to 1.
    figure = whole if lower_is_better else 1 - whole
    floor = least_error * math.sqrt(max(figure * (1 - figure), 0) / behind.clips)
    low, high, method = _arms(figure, (error, floor), behind.speakers - 1, behind.clips)
    return Interval(low, high, method) if lower_is_better else Interval(1 - high, 1 - low, method)


def within_one(figures: Floats) -> bool:
    """Whether figures are shares, as far as they are defined; sums may be beyond by rounding."""
    known = figures[~np.isnan(figures)]
    return bool(((known >= -ROUNDING) & (known <= 1 + ROUNDING)).all())


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


def _arms(figure: float, errors: tuple[float, float], freedom: float, clips: int) -> tuple[float, float, str]:
    """The interval of a share of errors, from its standard error and the least that it can be."""
    if figure > 0.5:
        low, high, method = _arms(1 - figure, errors, freedom, clips)
        return 1 - high, 1 - low, method
    # Sums over other orders of clips leave rounding errors where there is neither error nor spread.
    if figure < ROUNDING:
        return 0.0, no_error_bound(clips), BOUND
    error, floor = errors
    method = BOOTSTRAP
    if error < ROUNDING:
        floor, method = math.sqrt(figure * (1 - figure) / clips), BOUND
    slope = figure * (1 - figure)
    half = max(error * float(stdtrit(freedom, (1 + LEVEL) / 2)), floor * float(ndtri((1 + LEVEL) / 2)))
    centre, half, spread = float(logit(figure)), half / slope, max(error, floor) / slope
    return float(expit(centre - half)), float(expit(centre + half + SKEW * spread**2)), method


def no_error_bound(clips: int) -> float:
    """The share of errors with which ``clips`` clips are all right 5 % of the time; about 3 / clips.

    Examples:
        >>> round(no_error_bound(100), 4)
        0.0295
    """
    return float(1 - (1 - LEVEL) ** (1 / clips))
