from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from bench.quality.metrics import accuracy, auc
from bench.quality.paired import (
    PairedScores,
    holm,
    paired_difference,
    paired_difference_over_tasks,
    verdict,
)

SPEAKERS = np.repeat(np.arange(6), 40)
LABELS = np.tile(np.r_[np.ones(10, int), np.zeros(30, int)], 6)


def scores(quality: float, seed: int) -> np.ndarray:
    return 1 / (1 + np.exp(-(np.random.default_rng(seed).normal(size=240) + quality * (LABELS - 0.5))))


def test_of_equal_speakers_it_is_the_t_test_of_their_means() -> None:
    """The accuracy is a mean: its paired bootstrap by speaker must be SciPy's test over speakers."""
    a, b = scores(3, 0), scores(2, 1)
    found = paired_difference(LABELS, a, b, SPEAKERS, "accuracy", draws=20_000)
    each = [
        accuracy(LABELS[one], b[one]) - accuracy(LABELS[one], a[one])
        for one in (s == SPEAKERS for s in range(6))
    ]
    expected = ttest_1samp(each, 0)
    assert found.difference == pytest.approx(np.mean(each))
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.1)
    low, high = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.002)


def test_the_difference_is_of_the_figures_and_turns_with_the_order() -> None:
    a, b = scores(3, 0), scores(2, 1)
    there = paired_difference(LABELS, a, b, SPEAKERS, "auc")
    back = paired_difference(LABELS, b, a, SPEAKERS, "auc")
    assert there.difference == pytest.approx(auc(LABELS, b) - auc(LABELS, a))
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-there.difference, -there.high, -there.low)
    )
    assert there.p_value == pytest.approx(back.p_value)


def test_equal_scores_do_not_differ_and_perfect_ones_may() -> None:
    a = scores(3, 0)
    same = paired_difference(LABELS, a, a, SPEAKERS)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    perfect = paired_difference(LABELS, 0.1 + 0.8 * LABELS, 0.2 + 0.7 * LABELS, SPEAKERS)
    assert (perfect.difference, perfect.p_value) == (0, 1)
    assert perfect.high == -perfect.low == pytest.approx(1 - 0.05 ** (1 / 60))


def test_one_difference_everywhere_is_not_certain() -> None:
    """Each speaker has one of ten keyword clips wrong: no spread, and yet six clips are not the world."""
    worse = 0.1 + 0.8 * LABELS
    worse[::40] = 0.0
    found = paired_difference(LABELS, 0.1 + 0.8 * LABELS, worse, SPEAKERS, "frr_at_far_1pct")
    assert found.difference == pytest.approx(0.1)
    assert found.low > 0 or found.high > 0.1
    assert 0 < found.p_value < 0.1


def test_the_same_seed_again_adds_nothing() -> None:
    a, b = scores(3, 0), scores(2, 1)
    one = paired_difference(LABELS, a, b, SPEAKERS)
    again = paired_difference_over_tasks([PairedScores(LABELS, [(a, b)] * 3, SPEAKERS)])
    assert again.difference == pytest.approx(one.difference)
    assert again.p_value == pytest.approx(one.p_value)


def test_over_seeds_both_variances_count_with_satterthwaites_freedom() -> None:
    pairs = [(scores(3, 2 * seed), scores(3 - seed, 2 * seed + 1)) for seed in range(3)]
    found = paired_difference_over_tasks([PairedScores(LABELS, pairs, SPEAKERS)], "accuracy", draws=20_000)
    right = np.array([[(one >= 0.5) == LABELS for one in pair] for pair in pairs]).astype(float)
    # Accuracy is a mean over six equal speakers: seeds down, speakers across.
    each = (right[:, 1] - right[:, 0]).reshape(3, 6, 40).mean(axis=2)
    of_speakers, of_seeds = each.mean(axis=0).var(ddof=1) / 6, each.mean(axis=1).var(ddof=1) / 3
    total = of_speakers + of_seeds
    freedom = total**2 / (of_speakers**2 / 5 + of_seeds**2 / 2)
    assert found.difference == pytest.approx(each.mean())
    assert found.p_value == pytest.approx(2 * student.sf(abs(each.mean()) / total**0.5, freedom), rel=0.05)
    assert found.high - found.low == pytest.approx(2 * student.ppf(0.975, freedom) * total**0.5, rel=0.05)
    assert found.low <= each.mean() <= found.high


@pytest.mark.parametrize(
    ("labels", "values", "speakers", "reason"),
    [
        (np.zeros(240, int), scores(1, 0), SPEAKERS, "one class only"),
        (LABELS, np.full(240, np.nan), SPEAKERS, "scores that are no numbers"),
        (LABELS, scores(1, 0), np.zeros(240), "clips of one speaker only"),
    ],
)
def test_what_cannot_be_known_is_no_number(
    labels: np.ndarray, values: np.ndarray, speakers: np.ndarray, reason: str
) -> None:
    found = paired_difference(labels, scores(2, 1), values, speakers)
    assert math.isnan(found.difference)
    assert math.isnan(found.p_value)
    assert found.reason == reason
    assert verdict("A", "B", found.difference, found.p_value, lower_is_better=True) == "no difference shown"


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    with_none = holm([0.02, math.nan, 0.01])
    assert with_none[::2] == pytest.approx([0.02, 0.02])
    assert math.isnan(with_none[1])


@pytest.mark.parametrize(
    ("difference", "p_value", "lower", "expected"),
    [
        (0.1, 0.01, True, "A better"),
        (-0.1, 0.01, True, "B better"),
        (0.1, 0.01, False, "B better"),
        (0.1, 0.05, True, "no difference shown"),
        (0.0, 0.0, True, "no difference shown"),
    ],
)
def test_verdicts(difference: float, p_value: float, lower: bool, expected: str) -> None:
    assert verdict("A", "B", difference, p_value, lower_is_better=lower) == expected


def test_keywords_that_differ_widen_the_interval_of_their_mean() -> None:
    """The variance of two keywords' differences, over two, comes on top of that of the speakers."""
    pairs = [(scores(3, 0), scores(2, 1)), (scores(3, 2), scores(2.5, 3))]
    one, other = (PairedScores(LABELS, [pair], SPEAKERS) for pair in pairs)
    alone = [paired_difference(LABELS, *pair, SPEAKERS) for pair in pairs]
    twice = paired_difference_over_tasks([one, one])
    assert (twice.difference, twice.low, twice.high) == pytest.approx(
        (alone[0].difference, alone[0].low, alone[0].high)
    )
    both = paired_difference_over_tasks([one, other])
    assert both.difference == pytest.approx(np.mean([each.difference for each in alone]))
    # Student's t, back from the half width: at least that of the keywords alone.
    of_keywords = abs(alone[0].difference - alone[1].difference) / 2
    assert (both.high - both.low) / 2 > 1.96 * of_keywords
    with pytest.raises(ValueError, match="different speakers"):
        paired_difference_over_tasks([one, PairedScores(LABELS, [pairs[1]], SPEAKERS + 1)])
