"""Miss rates at stated false-alarm rates; the intervals know that the threshold is from the same clips.

Shape letters: N clips, S speakers, K false-alarm rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.quality.metrics import Floats, Ints
from bench.quality.shares import effective_number, interval_of_counts

# Labels, 1 for the keyword, scores, higher for it, and speakers, each of shape (N,).
Run = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]


class MissRates(NamedTuple):
    """The least miss rate at false-alarm rates of at most so much.

    Attributes:
        rate: Mean of the runs, shape (K,).
        low: Lower end of the 95 % interval, shape (K,); NaN where there is none.
        high: Upper end, likewise.
    """

    rate: Floats
    low: Floats
    high: Floats


class _Ranked(NamedTuple):
    """The clips of a run from the highest score to the lowest, speakers as numbers."""

    words: Floats
    word_speakers: Ints
    others: Floats
    other_speakers: Ints


def miss_rates(runs: Sequence[Run], rates: npt.ArrayLike) -> MissRates:
    """Miss rates, as ``metrics.frr_at_far`` defines them, with intervals for new clips of new speakers.

    There are two doubts. At the threshold that was chosen, the misses are a share of the keyword's clips,
    with the interval of ``bench.quality.shares``. And that threshold has another false-alarm rate than
    the stated one among all other clips that there could be: the interval of that share says how much too
    lax or too strict it may be, and the curve itself what is missed at thresholds that would make up for it.
    Both are put together by squares, an arm at a time (MOVER: Zou and Donner, "Construction of confidence
    limits about effect measures", Statistics in Medicine 27, 2008), with the correlation over speakers of
    misses and false alarms where that makes the arm longer.

    Where making up for it would leave less than one false alarm, the clips do not say where the threshold
    is: there is no interval.

    Args:
        runs: Models on the same clips, whose mean is meant.
        rates: Shares of the clips of other words, shape (K,).

    Returns:
        NaN ends too where a class comes from one speaker only.

    Examples:
        >>> found = miss_rates([([0] * 900 + [1] * 60, [0.1] * 900 + [0.9] * 60, list("abcd") * 240)], [0.01])
        >>> [end.round(3).tolist() for end in found]
        [[0.0], [0.0], [0.087]]
    """
    asked = np.asarray(rates, np.float64)
    names = np.unique(np.concatenate([np.asarray(speakers) for _, _, speakers in runs]))
    ranked = [_rank(run, names) for run in runs]
    words, others = (
        _mean([np.bincount(one[part], minlength=len(names)) for one in ranked]) for part in (1, 3)
    )

    def rate_at(far: Floats) -> Floats:
        return _mean([_miss_rate(one, _allowed(one, far)) for one in ranked])

    rate = rate_at(asked)
    if min(effective_number(words), effective_number(others)) <= 1 + 1e-9:
        return MissRates(rate, np.full_like(rate, np.nan), np.full_like(rate, np.nan))
    misses = _mean([_misses_by_speaker(one, _allowed(one, asked), len(names)) for one in ranked])
    alarms = _mean([_alarms_by_speaker(one, _allowed(one, asked), len(names)) for one in ranked])
    low, high = interval_of_counts(misses * words.sum(), words)
    least, most = interval_of_counts(alarms * others.sum(), others)
    share = alarms.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        strict, lax = asked * share / most, np.minimum(asked * share / least, 1.0)
    bounded = strict * others.sum() >= 1 - 1e-9
    fewer, more = (rate_at(np.where(bounded, far, 0.0)) - rate for far in (lax, strict))
    # How far each speaker is from what the share of all would make it.
    together = _correlation(
        misses - np.outer(rate, words / words.sum()), alarms - np.outer(share, others / others.sum())
    )
    lower = np.maximum(rate - _arm(rate - low, -fewer, together), 0.0)
    upper = np.minimum(rate + _arm(high - rate, more, together), 1.0)
    return MissRates(rate, np.where(bounded, lower, np.nan), np.where(bounded, upper, np.nan))


def _rank(run: Run, names: npt.NDArray[np.generic]) -> _Ranked:
    labels, scores, speakers = np.asarray(run[0]), np.asarray(run[1], np.float64), np.asarray(run[2])
    order = np.argsort(-scores, kind="stable")
    word, scores, which = labels[order] == 1, scores[order], np.searchsorted(names, speakers[order])
    return _Ranked(scores[word], which[word], scores[~word], which[~word])


def _allowed(run: _Ranked, rates: Floats) -> Ints:
    """False alarms that a rate allows; a rate of 3 / n times n may be just below 3."""
    return np.floor(rates * len(run.others) + 1e-9).astype(np.int64)


def _found(run: _Ranked, allowed: Ints) -> Ints:
    """Keyword clips above the next other clip, which would be one false alarm too many."""
    next_other = np.append(run.others, -np.inf)[allowed]
    found: Ints = np.searchsorted(-run.words, -next_other).astype(np.int64)
    return found


def _miss_rate(run: _Ranked, allowed: Ints) -> Floats:
    rate: Floats = (len(run.words) - _found(run, allowed)) / len(run.words)
    return rate


def _misses_by_speaker(run: _Ranked, allowed: Ints, speakers: int) -> Floats:
    """Shares of the keyword's clips, shape (K, S)."""
    missed = [np.bincount(run.word_speakers[n:], minlength=speakers) for n in _found(run, allowed)]
    return np.array(missed, np.float64) / len(run.words)


def _alarms_by_speaker(run: _Ranked, allowed: Ints, speakers: int) -> Floats:
    """The highest other clips, as many as are allowed, equal ones in equal parts; shares of all, (K, S)."""
    found = np.zeros((len(allowed), speakers))
    for row, count in zip(found, allowed, strict=True):
        if count:
            above, upto = (
                int(np.searchsorted(-run.others, -run.others[count - 1], side)) for side in ("left", "right")
            )
            row += np.bincount(run.other_speakers[:above], minlength=speakers)
            equal = np.bincount(run.other_speakers[above:upto], minlength=speakers)
            row += equal * (count - above) / (upto - above)
    return found / len(run.others)


def _correlation(one: Floats, other: Floats) -> Floats:
    """Of two deviations over speakers, shape (K,); 0 where it is negative or there is none."""
    scale = np.sqrt(np.square(one).sum(1) * np.square(other).sum(1))
    found: Floats = np.maximum((one * other).sum(1) / np.where(scale > 1e-12, scale, np.inf), 0.0)
    return found


def _arm(own: Floats, of_threshold: Floats, together: Floats) -> Floats:
    arm: Floats = np.sqrt(own**2 + of_threshold**2 + 2 * together * own * of_threshold)
    return arm


def _mean(of_runs: Sequence[npt.NDArray[np.float64] | npt.NDArray[np.int64]]) -> Floats:
    return np.asarray(np.mean(of_runs, axis=0), np.float64)
