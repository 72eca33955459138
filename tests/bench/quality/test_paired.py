from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp
from sklearn.metrics import f1_score

from bench.quality.measures import _PLUGINS, Measure, Scored, register
from bench.quality.metrics import accuracy, auc
from bench.quality.paired import (
    PairedScores,
    holm,
    paired_difference,
    paired_difference_over_tasks,
    verdict,
)
from models.task import WordsTask

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


WORDS = WordsTask(("no", "up", "yes"))


def of_words(quality: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes of 240 clips, and their probabilities (N, 3)."""
    labels = np.tile(np.arange(3), 80)
    values = np.exp(np.random.default_rng(seed).normal(size=(240, 3)) + quality * np.eye(3)[labels])
    return labels, values / values.sum(axis=1, keepdims=True)


def test_accuracy_of_words_is_the_t_test_of_equal_speakers() -> None:
    (labels, a), (_, b) = of_words(2, 0), of_words(1, 1)
    found = paired_difference(labels, a, b, SPEAKERS, "accuracy", task=WORDS, draws=20_000)
    right = [(one.argmax(axis=1) == labels).astype(float).reshape(6, 40).mean(axis=1) for one in (a, b)]
    expected = ttest_1samp(right[1] - right[0], 0)
    assert found.difference == pytest.approx(np.mean(right[1] - right[0]))
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.1)


def test_macro_f1_of_words_differs_as_scikit_learn_says() -> None:
    (labels, a), (_, b) = of_words(2, 0), of_words(1, 1)
    found = paired_difference(labels, a, b, SPEAKERS, "macro_f1", task=WORDS)
    f1 = [f1_score(labels, one.argmax(axis=1), average="macro") for one in (a, b)]
    assert found.difference == pytest.approx(f1[1] - f1[0])
    assert found.low < found.difference < found.high < 0
    back = paired_difference(labels, b, a, SPEAKERS, "macro_f1", task=WORDS)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_one_word_of_several_is_a_keyword_against_the_rest() -> None:
    (labels, a), (_, b) = of_words(2, 0), of_words(1, 1)
    found = paired_difference(labels, a, b, SPEAKERS, "frr_at_far_1pct_up", task=WORDS)
    alone = paired_difference(labels == 1, a[:, 1], b[:, 1], SPEAKERS, "frr_at_far_1pct")
    assert found == alone
    assert found.difference > 0


def test_a_measure_that_the_task_has_not_is_refused() -> None:
    labels, a = of_words(2, 0)
    with pytest.raises(KeyError):
        paired_difference(labels, a, a, SPEAKERS, "auc", task=WORDS)


def test_figures_that_are_no_shares_may_differ_by_more_than_one() -> None:
    """Points lost a clip, from 0 to 100: their mean over equal speakers again, and no end at 1."""

    class Points(Measure):
        name, text, lower_is_better = "points", "points", True

        def value(self, scored: Scored) -> float:
            return 100 * float((scored.probabilities.argmax(axis=1) != scored.labels).mean())

    (labels, a), (_, b) = of_words(2, 0), of_words(1, 1)
    register(Points)
    try:
        found = paired_difference(labels, a, b, SPEAKERS, "points", task=WORDS)
        shares = paired_difference(labels, b, a, SPEAKERS, "accuracy", task=WORDS)
    finally:
        _PLUGINS.clear()
    assert (found.difference, found.low, found.high) == pytest.approx(
        (100 * shares.difference, 100 * shares.low, 100 * shares.high)
    )
    assert found.p_value == pytest.approx(shares.p_value)


def test_a_difference_of_shares_is_at_most_one() -> None:
    labels, values = np.tile([1, 0], 120), np.random.default_rng(0).random(240)
    speakers = np.repeat(np.arange(3), 80)
    worse = np.where((labels == 1) & (speakers == 0), 1 - labels, 1.0 * labels)
    found = paired_difference(labels, 0.5 * values + 0.5 * labels, worse, speakers, "frr_at_far_1pct")
    assert found.difference > 0.3
    assert (found.low, found.high) == (-1, 1)
