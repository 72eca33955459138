"""The interval of a rate against SciPy."""

import numpy as np
import pytest
from scipy import stats

from bench.stream.rates import poisson_interval


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
