"""Intervals against SciPy, and against streams of known rates."""

import numpy as np
import pytest
from scipy import stats

from bench.stream.rates import poisson_interval, share_interval


@pytest.mark.parametrize("count", [0, 1, 3, 17, 250])
def test_poisson_interval_leaves_a_fortieth_on_either_side(count: int) -> None:
    low, high = poisson_interval(count, exposure=0.55) * 0.55
    assert stats.poisson.cdf(count, high) == pytest.approx(0.025)
    if count:
        assert stats.poisson.sf(count - 1, low) == pytest.approx(0.025)
    else:
        assert low == 0


def test_poisson_interval_of_several_counts_and_of_a_mean() -> None:
    low, high = poisson_interval([0, 2, 2.5, 3], 2.0)
    assert (np.diff(low) > 0).all()
    assert (np.diff(high) > 0).all()
    assert high[0] == pytest.approx(3.689 / 2, abs=1e-3)


def test_one_speaker_a_clip_is_clopper_and_pearson_with_students_t() -> None:
    shares = np.array([1, 0, 0, 0, 0, 0, 0, 1, 0, 0], float)
    # As many speakers as clips: the variance between them is that of independent clips, n / (n - 1) times.
    worth = 10 / (10 / 9)
    low, high = share_interval(shares, np.arange(10).astype(str))
    assert low == pytest.approx(stats.beta.ppf(0.025, 0.2 * worth, 0.8 * worth + 1))
    assert high == pytest.approx(stats.beta.ppf(0.975, 0.2 * worth + 1, 0.8 * worth))


@pytest.mark.parametrize("missed", [0, 12])
def test_all_found_or_all_missed_is_an_exact_binomial(missed: int) -> None:
    exact = stats.binomtest(missed, 12).proportion_ci(0.95, "exact")
    interval = share_interval(np.full(12, missed / 12), list("aaabbbcccddd"))
    assert interval == pytest.approx([exact.low, exact.high])


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
