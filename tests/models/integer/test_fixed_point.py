from fractions import Fraction
from math import floor

import numpy as np
import pytest

from models.errors import ModelError
from models.integer.fixed_point import (
    multiplier_of,
    power,
    requantize,
    rounded_shift,
    saturate,
    sigmoid,
    tanh,
)

EVERY = np.arange(-32768, 32768)


def test_curves_are_within_their_step_of_the_exact_ones() -> None:
    exact = EVERY / 4096
    assert np.abs(sigmoid(EVERY) / 32768 - 1 / (1 + np.exp(-exact))).max() < 1e-4
    # Beyond 4 the doubled argument is at its limit: 1 - tanh(4) = 6.7e-4.
    assert np.abs(tanh(EVERY) / 32768 - np.tanh(exact)).max() < 7e-4
    below = np.arange(65536)
    assert np.abs(power(below) / 32768 - 2.0 ** (-below / 1024)).max() < 1.2e-4


def test_curves_stay_in_16_bits_and_never_fall() -> None:
    for values, low, high in ((sigmoid(EVERY), 0, 32767), (tanh(EVERY), -32768, 32767)):
        assert low <= values.min()
        assert values.max() <= high
        assert (np.diff(values) >= 0).all()
    assert power(np.array([0, 1024, 15 * 1024, 16 * 1024, 65535])).tolist() == [32768, 16384, 1, 0, 0]


def test_rounding_is_to_the_nearest_and_ties_go_up() -> None:
    assert rounded_shift(np.array([-6, -5, -3, -2, 1, 2, 3, 6]), 2).tolist() == [-1, -1, -1, 0, 0, 1, 1, 2]
    assert saturate(np.array([-129, -128, 127, 128]), 8).tolist() == [-128, -128, 127, 127]


def test_requantization_is_the_exact_product_rounded() -> None:
    rng = np.random.default_rng(0)
    totals = rng.integers(-(2**31) + 1, 2**31, 300)
    multiplier, shift = multiplier_of(2.0 ** rng.uniform(-30, 3, 300))
    assert (multiplier >= 2**30).all()
    assert (multiplier < 2**31).all()
    found = requantize(totals, multiplier, shift, 32)
    for total, m, s, value in zip(totals.tolist(), multiplier.tolist(), shift.tolist(), found, strict=True):
        exact = floor(Fraction(total * m, 2**s) + Fraction(1, 2))
        assert value == min(max(exact, -(2**31)), 2**31 - 1)


def test_multipliers_at_the_edges() -> None:
    ratios = np.array([1.0, 0.5, 1 - 2.0**-40, 2.0**-60])
    multiplier, shift = multiplier_of(ratios)
    assert multiplier.tolist() == [2**30] * 4
    assert shift.tolist() == [30, 31, 30, 62]
    with pytest.raises(ModelError, match="too large"):
        multiplier_of(np.array([2.0**31]))
