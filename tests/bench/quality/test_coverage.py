"""The promise of the intervals and of the test, on scores of known truth.

Margins are two and a half standard errors of the simulation itself: what is outside is no accident.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from bench.quality.coverage import (
    SIZES,
    WORD_SIZES,
    Regime,
    WordsRegime,
    auc_of,
    coverage,
    draw_scores,
    draw_words,
    false_positive_rate,
    truth,
    truth_of_words,
)
from bench.quality.keyword import Misses
from bench.quality.measures import Scored
from models.task import KeywordTask

TEST, VALIDATION, SEVERAL, VOICES = SIZES
MANY = (100, 200, 1800)
SHARES = ("frr_at_far_1pct", "frr_at_far_01pct", "accuracy")


def margin(rate: float, trials: int) -> float:
    return 2.5 * math.sqrt(rate * (1 - rate) / trials)


def test_scores_have_the_truth_that_they_claim() -> None:
    regime = Regime(2000, 20_000, 60_000, 0.95, speaker_share=0.3, keyword_share=0.5)
    drawn = draw_scores(regime, np.random.default_rng(0))
    hits, others = drawn.scores[0][drawn.labels == 1], np.sort(drawn.scores[0][drawn.labels == 0])
    assert roc_auc_score(drawn.labels, drawn.scores[0]) == pytest.approx(0.95, abs=0.004)
    expected = truth(regime)
    assert (hits < 0.5).mean() == pytest.approx(expected["eer"], abs=0.01)
    assert (hits < others[-600]).mean() == pytest.approx(expected["frr_at_far_1pct"], abs=0.02)
    by_speaker = norm.ppf(hits).reshape(2000, 10)
    assert by_speaker.var() == pytest.approx(1, abs=0.04)
    # Of ten clips a speaker a tenth of the variance within is left in their means.
    assert by_speaker.mean(1).var() == pytest.approx(0.5 + 0.5 / 10, abs=0.04)


@pytest.mark.parametrize("miss_rate", [0.0, 0.003, 0.3])
def test_the_area_of_a_miss_rate_is_that_of_the_miss_rate(miss_rate: float) -> None:
    for name, far in (("frr_at_far_1pct", 0.01), ("frr_at_far_01pct", 0.001)):
        assert truth(Regime(4, 40, 1560, auc_of(miss_rate, far)))[name] == pytest.approx(miss_rate)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "auc", "trials"),
    [
        (TEST, 0.95, 800),
        (TEST, 0.99, 800),
        (TEST, 0.999, 800),
        (VALIDATION, 0.95, 700),
        (VALIDATION, 0.99, 700),
        (VALIDATION, 0.999, 700),
        (MANY, 0.99, 300),
        (MANY, 0.999, 300),
    ],
)
def test_the_interval_of_the_area_covers_the_truth(
    sizes: tuple[int, int, int], auc: float, trials: int
) -> None:
    found = coverage(Regime(*sizes, auc), ("one_minus_auc",), trials=trials, draws=150)["one_minus_auc"].held
    assert 0.93 - margin(0.93, trials) <= found <= 0.97 + margin(0.97, trials)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [TEST, VALIDATION])
def test_where_mostly_no_error_is_seen_it_covers_more_than_it_says(sizes: tuple[int, int, int]) -> None:
    """A bound from no error at all never misses, so 97 % cannot be met from above: 98 to 99 % is what is."""
    found = coverage(Regime(*sizes, 0.9999), ("one_minus_auc",), trials=400, draws=150)["one_minus_auc"].held
    assert found >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("miss_rate", "trials"), [(0.01, 50), (0.1, 150), (0.3, 150)])
@pytest.mark.parametrize(("share", "keyword_share", "least"), [(0.3, 0.3, 0.9), (0.1, 0.5, 0.94)])
def test_the_intervals_of_shares_cover_the_truth(
    sizes: tuple[int, int, int],
    miss_rate: float,
    trials: int,
    share: float,
    keyword_share: float,
    least: float,
) -> None:
    """Of speakers that differ much in all, and of such as repeat their word as recorded ones do."""
    regime = Regime(*sizes, auc_of(miss_rate), share, keyword_share)
    found = coverage(regime, SHARES, trials=trials, draws=1)
    assert found["frr_at_far_1pct"].given == found["accuracy"].given == 1
    assert found["frr_at_far_1pct"].held >= 0.95 - margin(0.95, trials)
    assert found["accuracy"].held >= least - margin(least, trials)
    # A tenth of a per cent is two clips, or four of many speakers: the others say nothing of the threshold.
    rare = found["frr_at_far_01pct"]
    assert rare.given > 0.9 if sizes == VOICES else rare.given == 0
    assert not rare.held < 0.94 - margin(0.94, trials)


@pytest.mark.parametrize(
    ("sizes", "most"), [(TEST, 0.15), (VALIDATION, 0.1), (SEVERAL, 0.04), (VOICES, 0.015)]
)
def test_of_a_model_that_never_errs_little_is_said(sizes: tuple[int, int, int], most: float) -> None:
    drawn = draw_scores(Regime(*sizes, auc_of(0.0)), np.random.default_rng(0))
    scored = Scored.of(KeywordTask(""), drawn.labels, drawn.scores[0], drawn.speakers)
    found = Misses("1").interval(scored)
    assert found.low == 0
    # Not below what independent clips leave open.
    assert 1 - 0.025 ** (1 / sizes[1]) <= found.high <= most


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "trials"), [(TEST, 600), (VALIDATION, 400), (MANY, 250)])
@pytest.mark.parametrize("auc", [0.95, 0.999])
def test_equal_models_are_rarely_called_different(
    sizes: tuple[int, int, int], trials: int, auc: float
) -> None:
    found = false_positive_rate(Regime(*sizes, auc), "one_minus_auc", trials=trials, draws=150)
    assert found <= 0.05 + margin(0.05, trials)


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["frr_at_far_1pct", "eer"])
def test_equal_models_of_few_errors_are_rarely_called_different(measure: str) -> None:
    found = false_positive_rate(Regime(*SEVERAL, auc_of(0.003)), measure, trials=300, draws=100)
    assert found <= 0.05 + margin(0.05, 300)


@pytest.mark.parametrize("each", [(5, 5, 5, 5, 5), (1, 2, 4, 8, 16)])
def test_words_have_the_truth_that_they_claim(each: tuple[int, ...]) -> None:
    regime = WordsRegime(2000, each, 0.8, speaker_share=0.3)
    (drawn,) = draw_words(regime, np.random.default_rng(0))
    said, expected = drawn.probabilities.argmax(axis=1), truth_of_words(regime)
    assert accuracy_score(drawn.labels, said) == pytest.approx(expected["accuracy"], abs=0.01)
    assert f1_score(drawn.labels, said, average="macro") == pytest.approx(expected["macro_f1"], abs=0.01)
    assert np.bincount(drawn.labels).tolist() == [2000 * count for count in each]


def test_speakers_of_words_differ_as_much_as_they_should() -> None:
    """By themselves all clips of a speaker would be right equally often, but for chance."""
    spread = []
    for share in (0.0, 0.3):
        (drawn,) = draw_words(WordsRegime(2000, (10,) * 5, 0.8, share), np.random.default_rng(0))
        right = (drawn.probabilities.argmax(axis=1) == drawn.labels).reshape(2000, 50).mean(axis=1)
        spread.append(right.var() / (0.8 * 0.2 / 50))
    assert spread[0] == pytest.approx(1, abs=0.1)
    assert spread[1] > 1.5


@pytest.mark.slow
@pytest.mark.parametrize(("speakers", "each"), WORD_SIZES)
@pytest.mark.parametrize("accuracy", [0.7, 0.97])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_intervals_of_words_cover_the_truth(
    speakers: int, each: tuple[int, ...], accuracy: float, share: float
) -> None:
    regime = WordsRegime(speakers, each, accuracy, share)
    found = coverage(regime, ("accuracy", "macro_f1"), trials=250, draws=150)
    assert found["accuracy"].given == found["macro_f1"].given == 1
    assert found["accuracy"].held >= 0.96 - margin(0.96, 250)
    assert 0.94 - margin(0.94, 250) <= found["macro_f1"].held <= 0.98 + margin(0.98, 250)


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["accuracy", "macro_f1"])
@pytest.mark.parametrize(("speakers", "each"), WORD_SIZES[:3])
def test_equal_models_of_words_are_rarely_called_different(
    measure: str, speakers: int, each: tuple[int, ...]
) -> None:
    found = false_positive_rate(WordsRegime(speakers, each, 0.9), measure, trials=300, draws=150)
    assert found <= 0.05 + margin(0.05, 300)
