"""Figures of a spotter's errors, as pure functions of labels and scores.

For a keyword ``labels`` are 1 and for all else 0, ``scores`` are higher for the keyword, both of shape (N,),
and a clip counts as detected when its score is at or above the threshold. For K classes labels are their
numbers, and probabilities of shape (N, K).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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

    Examples:
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

    Examples:
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

    Examples:
        >>> frr_at_far([0, 1, 0, 1], [0.1, 0.9, 0.6, 0.4], far=0.0)
        0.5
    """
    curve = det(labels, scores)
    if not curve.negatives or not curve.positives:
        return float("nan")
    allowed = curve.false_alarms <= far * curve.negatives
    return float(curve.false_rejects[allowed].min() / curve.positives)


def accuracy(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Share of clips that are taken for what they are; see ``right``.

    Examples:
        >>> accuracy([0, 1, 0, 1], [0.1, 0.9, 0.6, 0.4]), accuracy([2, 1], [[0.5, 0.3, 0.2], [0, 1, 0]])
        (0.5, 0.5)
    """
    found = right(labels, probabilities)
    return float(found.mean()) if len(found) else float("nan")


def right(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether each clip is taken for what it is, shape (N,).

    Args:
        labels: Classes, shape (N,).
        probabilities: Of the keyword, shape (N,), which is said from one half on; or of each class, (N, K).
    """
    truth, values = np.asarray(labels), np.asarray(probabilities)
    taken: npt.NDArray[np.bool_] = (values >= 0.5 if values.ndim == 1 else said(values)) == truth
    return taken


def said(probabilities: npt.ArrayLike) -> Ints:
    """The class that each clip is taken for, shape (N,), from probabilities (N, K); the first of equals."""
    found: Ints = np.asarray(probabilities).argmax(axis=1).astype(np.int64)
    return found


def confusion_counts(labels: npt.ArrayLike, taken_for: npt.ArrayLike, classes: int) -> Ints:
    """How many clips of each class (rows) are taken for each (columns), shape (K, K).

    Examples:
        >>> confusion_counts([0, 1, 1], [0, 0, 1], classes=2).tolist()
        [[1, 0], [1, 1]]
    """
    place = np.asarray(labels, np.int64) * classes + np.asarray(taken_for, np.int64)
    return np.bincount(place, minlength=classes**2).reshape(classes, classes)


def macro_f1(counts: npt.ArrayLike) -> Floats:
    """Mean over classes of the harmonic mean of precision and recall, from counts (..., K, K), shape (...).

    Classes that no clip is of, nor is taken for, are left out, as in scikit-learn; NaN without any.

    Examples:
        >>> float(macro_f1([[2, 0], [1, 1]]).round(3))
        0.733
    """
    table = np.asarray(counts, np.float64)
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    seen = table.sum(axis=-1) + table.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        scores = np.where(seen > 0, 2 * hits / np.where(seen > 0, seen, 1), 0.0).sum(-1) / (seen > 0).sum(-1)
    return np.asarray(scores, np.float64)


def one_vs_rest(labels: npt.ArrayLike, probabilities: npt.ArrayLike, number: int) -> tuple[Ints, Floats]:
    """One class against all others: labels 0 and 1, and its probability, each of shape (N,)."""
    truth, values = np.asarray(labels), np.asarray(probabilities, np.float64)
    return (truth == number).astype(np.int64), values[:, number]


def two_classes(probabilities: npt.ArrayLike) -> Floats:
    """Probabilities of all else and of the keyword, shape (N, 2), from those of the keyword, shape (N,)."""
    of_keyword = np.asarray(probabilities, np.float64)
    return np.stack([1 - of_keyword, of_keyword], axis=1)
