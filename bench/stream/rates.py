"""Intervals of rates that are counted: alarms an hour, and a share of clips that come from few speakers.

Pure functions, without torch; 95 % throughout.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2


def poisson_interval(counts: npt.ArrayLike, exposure: float) -> Floats:
    """The exact interval of the rate behind counts of independent events; nothing seen leaves an upper bound.

    Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28 (1936), by quantiles of chi
    squared, which also take a count that is a mean of several. Without an event the bound is 3.7 over the
    exposure; one-sided it would be the "rule of three".

    Args:
        counts: Events, of any shape (...).
        exposure: Hours watched.

    Returns:
        Lower and upper end, an hour, of shape (2, ...).

    Example:
        >>> poisson_interval(0, 1.0).round(2).tolist()
        [0.0, 3.69]
    """
    seen = np.asarray(counts, np.float64)
    low = np.where(seen > 0, stats.chi2.ppf(TAIL, 2 * np.maximum(seen, 1e-9)) / 2, 0.0)
    high = stats.chi2.ppf(1 - TAIL, 2 * (seen + 1)) / 2
    return np.stack([low, high]) / exposure


def share_interval(shares: npt.ArrayLike, speakers: npt.ArrayLike) -> Floats:
    """The interval of a mean share over clips, as wide as speakers differ.

    Clopper and Pearson's exact interval for as many clips as the clustered ones are worth (Korn and
    Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data", Survey Methodology 24, 1998): their count over the design effect, that is the variance
    between speakers over that of independent clips, and corrected by Student's t for how few speakers tell
    it. A share of 0 or 1 shows no such variance, and counts its clips as independent.

    Args:
        shares: What is averaged, within [0, 1], of shape (..., N).
        speakers: Of the clips, of shape (N,).

    Returns:
        Lower and upper end, of shape (2, ...).

    Example:
        >>> share_interval([0, 0, 0, 0, 0, 0], list("aabbcc")).round(3).tolist()
        [0.0, 0.459]
    """
    values = np.asarray(shares, np.float64)
    names, which = np.unique(np.asarray(speakers), return_inverse=True)
    clips, groups = values.shape[-1], len(names)
    mean = values.mean(-1)
    # How far each speaker's sum is from what the mean would make it.
    belongs = np.eye(groups)[which]
    off = values @ belongs - mean[..., None] * belongs.sum(0)
    independent = mean * (1 - mean) * clips
    varied = (mean > 0) & (mean < 1)
    worth = np.full(mean.shape, float(clips))
    if groups > 1:
        effect = np.square(off).sum(-1) * groups / (groups - 1) / np.where(varied, independent, 1.0)
        few = (stats.t.ppf(1 - TAIL, clips - 1) / stats.t.ppf(1 - TAIL, groups - 1)) ** 2
        worth = np.where(varied, np.minimum(clips / np.maximum(effect, 1e-9) * few, clips), worth)
    return _clopper_pearson(mean * worth, worth)


def _clopper_pearson(hits: Floats, count: Floats) -> Floats:
    low = np.where(hits > 0, stats.beta.ppf(TAIL, np.maximum(hits, 1e-9), count - hits + 1), 0.0)
    rest = count - hits
    high = np.where(rest > 1e-9, stats.beta.ppf(1 - TAIL, hits + 1, np.maximum(rest, 1e-9)), 1.0)
    return np.stack([low, high])
