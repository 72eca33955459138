"""The promise of the intervals and of the test, on scores of known truth.

Margins are two and a half standard errors of the simulation itself: what is outside is no accident.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.statistics.coverage import Regime, coverage, draw_scores, false_positive_rate, truth

TEST = (4, 40, 1560)
VALIDATION = (6, 60, 2340)
MANY = (100, 200, 1800)


def margin(rate: float, trials: int) -> float:
    return 2.5 * math.sqrt(rate * (1 - rate) / trials)


def test_scores_have_the_truth_that_they_claim() -> None:
    regime = Regime(2000, 20_000, 60_000, 0.95, speaker_share=0.3)
    drawn = draw_scores(regime, np.random.default_rng(0))
    hits, others = drawn.scores[0][drawn.labels == 1], np.sort(drawn.scores[0][drawn.labels == 0])
    assert roc_auc_score(drawn.labels, drawn.scores[0]) == pytest.approx(0.95, abs=0.004)
    expected = truth(regime)
    assert (hits < 0.5).mean() == pytest.approx(expected["eer"], abs=0.01)
    assert (hits < others[-600]).mean() == pytest.approx(expected["frr_at_far_1pct"], abs=0.02)


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
    found = coverage(Regime(*sizes, auc), ("one_minus_auc",), trials=trials, draws=150)["one_minus_auc"]
    assert 0.93 - margin(0.93, trials) <= found <= 0.97 + margin(0.97, trials)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [TEST, VALIDATION])
def test_where_mostly_no_error_is_seen_it_covers_more_than_it_says(sizes: tuple[int, int, int]) -> None:
    """A bound from no error at all never misses, so 97 % cannot be met from above: 98 to 99 % is what is."""
    found = coverage(Regime(*sizes, 0.9999), ("one_minus_auc",), trials=400, draws=150)["one_minus_auc"]
    assert found >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "trials"), [(TEST, 600), (VALIDATION, 400), (MANY, 250)])
@pytest.mark.parametrize("auc", [0.95, 0.999])
def test_equal_models_are_rarely_called_different(
    sizes: tuple[int, int, int], trials: int, auc: float
) -> None:
    found = false_positive_rate(Regime(*sizes, auc), "one_minus_auc", trials=trials, draws=150)
    assert found <= 0.05 + margin(0.05, trials)
