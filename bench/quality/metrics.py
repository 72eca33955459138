"""Measures of a keyword spotter's errors, as pure functions of labels and scores.

Everywhere ``labels`` are 1 for the keyword and 0 for all else, ``scores`` are higher for the keyword,
both of shape (N,), and a clip counts as detected when its score is at or above the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Det(NamedTuple):
    """Errors over thresholds, from the most permissive threshold to the strictest.

    Attributes:
        thresholds: Ascending, shape (n,); the last one, infinity, detects nothing.
        false_alarms: Clips of other words detected, counts, shape (n,).
        false_rejects: Clips of the keyword missed, counts, shape (n,).
        negatives: Clips of other words.
        positives: Clips of the keyword.
    """

    thresholds: Floats
    false_alarms: Floats
    false_rejects: Floats
    negatives: int
    positives: int


def det(labels: npt.ArrayLike, scores: npt.ArrayLike) -> Det:
    """Errors at every threshold that makes a difference, in O(N log N).

    Raises:
        ValueError: Shapes differ, a label is neither 0 nor 1, or a score is not a number.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} must be of one shape (N,)")
    if not ((truth == 0) | (truth == 1)).all() or np.isnan(values).any():
        raise ValueError("labels must be 0 or 1, and scores numbers")
    order = np.argsort(values)
    values, hits = values[order], np.cumsum(truth[order], dtype=np.int64)
    # Equal scores fall together: only the last of them ends a step of the curve.
    last = (
        np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.empty(0, np.int64)
    )
    below = np.concatenate([[0], hits[last]])
    positives = int(below[-1])
    negatives = len(values) - positives
    above = negatives - (np.concatenate([[0], last + 1]) - below)
    thresholds = np.append(values[last], np.inf)
    return Det(thresholds, above.astype(np.float64), below.astype(np.float64), negatives, positives)


def au_fa_fr(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """The area under false rejects over false alarms, both as shares of ALL clips; lower is better.

    For every threshold in {0} + probabilities + {1}: FA = false alarms / N, FR = false rejects / N; the
    area by the trapezoid rule. It equals pi (1 - pi) (1 - AUC), pi being the share of keyword clips (up
    to clips whose probability is exactly 1, which no threshold rejects), so it cannot be compared
    between sets of different pi. Source: the reference study.

    Args:
        labels: 0 or 1, shape (N,).
        probabilities: Of the keyword, within [0, 1], shape (N,).

    Returns:
        The area; NaN where either class is missing.

    Example:
        >>> au_fa_fr([0, 1, 0, 1], [0.1, 0.9, 0.6, 0.4])
        0.0625
    """
    curve = det(labels, probabilities)
    total = curve.negatives + curve.positives
    if not curve.negatives or not curve.positives:
        return float("nan")
    # The strictest threshold of the definition is 1, not infinity.
    reached = min(int(np.searchsorted(curve.thresholds, 1.0)), len(curve.thresholds) - 1)
    alarms = curve.false_alarms[: reached + 1] / total
    rejects = curve.false_rejects[: reached + 1] / total
    # Alarms fall along the curve.
    return float(np.trapezoid(rejects[::-1], alarms[::-1]))


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: the chance that a keyword clip scores above another; ties count half.

    Example:
        >>> auc([0, 1, 0, 1], [0.1, 0.9, 0.6, 0.4])
        0.75
    """
    curve = det(labels, scores)
    if not curve.negatives or not curve.positives:
        return float("nan")
    misses = float(np.trapezoid(curve.false_rejects[::-1], curve.false_alarms[::-1]))
    return 1.0 - misses / (curve.negatives * curve.positives)


def eer(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Equal error rate: where the miss rate equals the false-alarm rate, on the line between thresholds."""
    curve = det(labels, scores)
    if not curve.negatives or not curve.positives:
        return float("nan")
    alarm, miss = curve.false_alarms / curve.negatives, curve.false_rejects / curve.positives
    # alarm - miss falls from 1 to -1; find where it passes zero.
    after = int(np.argmax(alarm <= miss))
    gap_before, gap_after = alarm[after - 1] - miss[after - 1], alarm[after] - miss[after]
    part = gap_before / (gap_before - gap_after)
    return float(alarm[after - 1] + part * (alarm[after] - alarm[after - 1]))


def frr_at_far(labels: npt.ArrayLike, scores: npt.ArrayLike, far: float) -> float:
    """The least miss rate at a false-alarm rate of at most ``far``, a share of the other words.

    Example:
        >>> frr_at_far([0, 1, 0, 1], [0.1, 0.9, 0.6, 0.4], far=0.0)
        0.5
    """
    curve = det(labels, scores)
    if not curve.negatives or not curve.positives:
        return float("nan")
    allowed = curve.false_alarms <= far * curve.negatives
    return float(curve.false_rejects[allowed].min() / curve.positives)


def accuracy(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Share of clips on the right side of one half."""
    truth, values = np.asarray(labels), np.asarray(probabilities)
    return float(((values >= 0.5) == (truth == 1)).mean()) if len(truth) else float("nan")


@dataclass(frozen=True)
class Quality:
    """How well one set of clips is told apart.

    Attributes:
        au_fa_fr: Area under false rejects over false alarms, shares of all clips; lower is better.
        auc: Area under the ROC curve.
        one_minus_auc: 1 - AUC, which compares between sets of different shares of the keyword.
        eer: Equal error rate.
        frr_at_far_1pct: Miss rate at 1 % false alarms.
        frr_at_far_01pct: Miss rate at 0.1 % false alarms.
        accuracy: At a threshold of one half.
        clips: Clips in the set.
        keyword_clips: Clips of the keyword among them.
    """

    au_fa_fr: float
    auc: float
    one_minus_auc: float
    eer: float
    frr_at_far_1pct: float
    frr_at_far_01pct: float
    accuracy: float
    clips: int
    keyword_clips: int


def quality(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Quality:
    """All measures of one set of clips."""
    truth = np.asarray(labels)
    area = auc(truth, probabilities)
    return Quality(
        au_fa_fr=au_fa_fr(truth, probabilities),
        auc=area,
        one_minus_auc=1.0 - area,
        eer=eer(truth, probabilities),
        frr_at_far_1pct=frr_at_far(truth, probabilities, 0.01),
        frr_at_far_01pct=frr_at_far(truth, probabilities, 0.001),
        accuracy=accuracy(truth, probabilities),
        clips=len(truth),
        keyword_clips=int(truth.sum()),
    )
