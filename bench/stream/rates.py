"""The interval of a rate that is counted, such as alarms an hour; 95 %, without torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from bench.quality.shares import TAIL

Floats = npt.NDArray[np.float64]


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

    Examples:
        >>> poisson_interval(0, 1.0).round(2).tolist()
        [0.0, 3.69]
    """
    seen = np.asarray(counts, np.float64)
    low = np.where(seen > 0, stats.chi2.ppf(TAIL, 2 * np.maximum(seen, 1e-9)) / 2, 0.0)
    high = stats.chi2.ppf(1 - TAIL, 2 * (seen + 1)) / 2
    return np.stack([low, high]) / exposure
