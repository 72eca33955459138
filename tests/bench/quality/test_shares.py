"""Intervals of shares against SciPy, and against populations of speakers."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from bench.quality.shares import LEAST_ALIKE, effective_number, share_interval


def test_one_speaker_a_clip_is_clopper_and_pearson_with_students_t() -> None:
    shares = np.array([1, 0, 0, 0, 0, 0, 0, 1, 0, 0], float)
    # As many speakers as clips: the variance between them is that of independent clips, n / (n - 1) times.
    worth = 10 / (10 / 9)
    low, high = share_interval(shares, np.arange(10).astype(str))
    assert low == pytest.approx(stats.beta.ppf(0.025, 0.2 * worth, 0.8 * worth + 1))
    assert high == pytest.approx(stats.beta.ppf(0.975, 0.2 * worth + 1, 0.8 * worth))


@pytest.mark.parametrize("missed", [0, 12])
def test_all_found_or_all_missed_by_as_many_speakers_is_an_exact_binomial(missed: int) -> None:
    exact = stats.binomtest(missed, 12).proportion_ci(0.95, "exact")
    interval = share_interval(np.full(12, missed / 12), np.arange(12))
    assert interval == pytest.approx([exact.low, exact.high])


@pytest.mark.parametrize(("speakers", "each"), [(4, 10), (6, 10), (4, 400), (130, 2)])
def test_where_none_is_missed_clips_count_as_much_as_alike_scores_make_them(speakers: int, each: int) -> None:
    """The bound against SciPy's bivariate normal and a root of the whole equation."""
    alike = stats.multivariate_normal(cov=[[1, LEAST_ALIKE], [LEAST_ALIKE, 1]])

    def gap(share: float) -> float:
        both = alike.cdf([stats.norm.ppf(share)] * 2)
        effect = 1 + (each - 1) * (both - share**2) / (share * (1 - share))
        return float(stats.beta.ppf(0.975, 1, speakers * each / effect)) - share

    low, high = share_interval(np.zeros(speakers * each), np.repeat(np.arange(speakers), each))
    assert low == 0
    assert high == pytest.approx(brentq(gap, 1e-6, 0.5), rel=1e-4)
    assert share_interval(np.ones(40), np.repeat(np.arange(4), 10))[1] == 1


def test_one_miss_in_sixty_is_neither_nothing_nor_everything() -> None:
    missed, speakers = np.zeros(60), np.repeat(np.arange(4), 15)
    missed[7] = 1
    # One miss in four speakers: sums (1, 0, 0, 0) about a mean of 1 / 60.
    variance = 4 / 3 * ((1 - 1 / 4) ** 2 + 3 * (1 / 4) ** 2) / 60**2
    worth = 1 / 60 * 59 / 60 / variance * (stats.t.ppf(0.975, 59) / stats.t.ppf(0.975, 3)) ** 2
    low, high = share_interval(missed, speakers)
    assert high == pytest.approx(stats.beta.ppf(0.975, worth / 60 + 1, worth * 59 / 60))
    assert low < 1 / 60 < 0.1 < high < 0.2


def test_unequal_speakers_count_as_fewer_equal_ones() -> None:
    assert effective_number(np.array([5.0, 5, 5, 0])) == pytest.approx(3)
    assert effective_number(np.array([30.0, 10])) == pytest.approx(1600 / 1000)
    missed = np.tile([1.0, 0, 0, 0], 15)
    even, uneven = (np.repeat(np.arange(4), sizes) for sizes in ([15] * 4, [48, 4, 4, 4]))
    (low, high), (low_uneven, high_uneven) = (share_interval(missed, who) for who in (even, uneven))
    assert low_uneven < low < 0.25 < high < high_uneven


def test_clips_of_one_voice_count_for_less() -> None:
    speakers = np.repeat(list("abcdefgh"), 5)
    together = np.repeat([1, 1, 0, 0, 0, 0, 0, 0], 5).astype(float)
    spread = np.tile([1, 0, 0, 0, 0], 8).astype(float)
    spread[[1, 6]] = 1
    assert together.mean() == spread.mean()
    (low, high), (low_spread, high_spread) = (share_interval(s, speakers) for s in (together, spread))
    assert low < low_spread < 0.25 < high_spread < high


def test_share_interval_row_by_row() -> None:
    rows = np.random.default_rng(0).random((4, 12)).round()
    speakers = list("aaabbbcccddd")
    expected = np.stack([share_interval(row, speakers) for row in rows], axis=1)
    assert share_interval(rows, speakers) == pytest.approx(expected)


@pytest.mark.parametrize(("speakers", "rate"), [(6, 0.2), (30, 0.05)])
def test_share_interval_covers_the_rate_of_a_population_of_speakers(speakers: int, rate: float) -> None:
    rng = np.random.default_rng(1)
    of_each = rng.beta(8 * rate, 8 * (1 - rate), (600, speakers))
    missed = (rng.random((600, speakers, 10)) < of_each[..., None]).reshape(600, -1)
    low, high = share_interval(missed, np.repeat(np.arange(speakers), 10))
    assert 0.92 <= ((low <= rate) & (rate <= high)).mean() <= 0.995
