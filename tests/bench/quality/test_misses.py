"""Miss rates against scikit-learn; their intervals against exact ones, where one of two doubts is small."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import det_curve

from bench.quality.metrics import frr_at_far
from bench.quality.misses import miss_rates

Clips = tuple[np.ndarray, np.ndarray, np.ndarray]


def clips(seed: int, *, tied: bool = False) -> Clips:
    """Labels, scores and speakers of 900 clips of 7 speakers, some 120 of them the keyword."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(900) < 0.13).astype(float)
    scores = 1 / (1 + np.exp(-rng.normal(2.5 * labels, 1)))
    return labels, scores.round(1) if tied else scores, np.array([f"s{n % 7}" for n in range(900)])


def separate(words: int, others: int, rng: np.random.Generator) -> Clips:
    """Every clip of a speaker of its own."""
    labels = np.repeat([1, 0], [words, others])
    return labels, rng.normal(2.0 * labels, 1), np.arange(words + others)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_rates_are_those_of_scikit_learn(seed: int, tied: bool) -> None:
    labels, scores, speakers = clips(seed, tied=tied)
    alarms, misses, _ = det_curve(labels, scores)
    # Where several thresholds give the same alarms, the one that misses fewest is meant.
    expected = [misses[alarms <= alarm].min() for alarm in alarms]
    assert miss_rates([(labels, scores, speakers)], alarms).rate == pytest.approx(expected)
    for far in (0.0, 0.001, 0.01, 0.07, 0.5, 1.0):
        found = miss_rates([(labels, scores, speakers)], [far])
        assert found.rate[0] == frr_at_far(labels, scores, far)
        assert not found.low[0] > found.rate[0]
        assert not found.high[0] < found.rate[0]


def test_a_rate_of_whole_clips_allows_them_all() -> None:
    others, words = np.arange(49) / 100, np.arange(49) / 100 + 0.005
    run = (np.repeat([0, 1], 49), np.concatenate([others, words]), np.arange(98))
    # Just above the next other, k others are detected, and the k + 1 words that are each just above one.
    expected = [1 - min(k + 1, 49) / 49 for k in range(50)]
    assert miss_rates([run], np.arange(50) / 49).rate == pytest.approx(expected)


def test_where_the_threshold_is_sure_it_is_the_interval_of_a_share() -> None:
    run = separate(100, 200_000, np.random.default_rng(0))
    rate, low, high = (float(end[0]) for end in miss_rates([run], [0.2]))
    exact = stats.binomtest(round(rate * 100), 100).proportion_ci(0.95, "exact")
    assert 0.05 < rate < 0.2
    # Nearly: n - 1 in a variance, and Student's t.
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.002)


def test_where_the_misses_are_sure_it_is_the_exact_interval_of_a_quantile() -> None:
    """The threshold stands between two order statistics of the others, whatever their distribution is."""
    labels, scores, speakers = separate(200_000, 1500, np.random.default_rng(1))
    _, low, high = (float(end[0]) for end in miss_rates([(labels, scores, speakers)], [0.02]))
    fewest, most = stats.binom.ppf([0.025, 0.975], 1500, 0.02)
    others = np.sort(scores[labels == 0])[::-1]
    expected = [(scores[labels == 1] < others[int(count)]).mean() for count in (most, fewest)]
    assert (low, high) == pytest.approx(expected, abs=0.03)
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.1)


def test_speakers_that_are_missed_and_alarm_widen_it() -> None:
    """The same misses and the same alarms by speaker, once of the same ones and once of each other's."""
    rng = np.random.default_rng(2)
    who, labels = np.repeat(np.arange(30), 110), np.tile(np.repeat([1, 0], [10, 100]), 30)
    worse = np.linspace(-1, 1, 30)[who]
    scores = rng.normal(size=3300) + np.where(labels == 1, 2.5 - worse, worse)
    crossed = np.where(labels == 1, who, 29 - who)
    _, low, high = miss_rates([(labels, scores, who)], [0.05])
    _, low_crossed, high_crossed = miss_rates([(labels, scores, crossed)], [0.05])
    assert low[0] < low_crossed[0] - 0.02
    assert high_crossed[0] + 0.02 < high[0]


def test_equal_scores_alarm_in_equal_parts() -> None:
    """Of 80 others on top 40 are allowed: whether they are all equal, or their speakers take turns."""
    rng = np.random.default_rng(3)
    labels, speakers = np.repeat([1, 0], 4000), np.arange(8000) % 20
    scores = np.concatenate([rng.uniform(0.7, 2, 4000), np.ones(80), rng.uniform(0, 0.8, 3920)])
    turns = scores - np.where((labels == 0) & (scores == 1), np.arange(8000) / 1e9, 0.0)
    # At .015 the lax end lies below them all.
    equal, apart = (np.stack(miss_rates([(labels, of, speakers)], [0.01, 0.015])) for of in (scores, turns))
    assert equal == pytest.approx(apart, abs=1e-9)
    assert equal[1, 1] < equal[0, 1] - 0.1


def test_too_few_others_for_a_threshold_give_no_interval() -> None:
    labels, scores, speakers = np.repeat([0, 1], [200, 60]), np.arange(260.0), np.tile(list("abcd"), 65)
    rate, low, high = miss_rates([(labels, scores, speakers)], [0.001, 0.01, 0.2])
    assert rate.tolist() == [0, 0, 0]
    # None of .2, two, forty.
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, True, False]
    assert low[2] == 0
    assert 0 < high[2] < 0.15
    alone = miss_rates([(labels, scores, np.zeros(260))], [0.2])
    assert alone.rate[0] == 0
    assert np.isnan([alone.low[0], alone.high[0]]).all()


def test_the_order_of_equal_clips_is_no_news() -> None:
    labels, scores, speakers = clips(4, tied=True)
    rates = [0.02, 0.05, 0.3]
    mixed = np.random.default_rng(0).permutation(900)
    expected = miss_rates([(labels, scores, speakers)], rates)
    found = miss_rates([(labels[mixed], scores[mixed], speakers[mixed])], rates)
    assert np.stack(found) == pytest.approx(np.stack(expected))


def test_of_runs_it_is_the_mean() -> None:
    runs, rates = [clips(5), clips(5)[:1] + clips(6)[1:]], [0.05, 0.1]
    each = [[frr_at_far(labels, scores, rate) for rate in rates] for labels, scores, _ in runs]
    found = miss_rates(runs, rates)
    assert found.rate == pytest.approx(np.mean(each, 0))
    assert (found.low < found.rate).all()
    assert (found.rate < found.high).all()
    once, twice = miss_rates(runs[:1], rates), miss_rates(runs[:1] * 2, rates)
    assert np.stack(twice) == pytest.approx(np.stack(once))
