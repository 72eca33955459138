"""Fixed-point arithmetic, integers in and out: multipliers, shifts, and curves from tables."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.errors import ModelError

Int = npt.NDArray[np.int64]

# Linear interpolation between 257 values on [-8, 8], and between 33 on one octave.
SIGMOID: Int = np.rint(32768 / (1 + np.exp(-(np.arange(257) - 128) / 16))).astype(np.int64)
POWER: Int = np.rint(32768 * 2.0 ** (-np.arange(33) / 32)).astype(np.int64)


def multiplier_of(ratio: npt.NDArray[np.float64]) -> tuple[Int, Int]:
    """Integers with ratio = multiplier / 2^shift: the 31 leading bits of the ratio, to the nearest.

    Raises:
        ModelError: A ratio that no shift from 1 to 62 reaches.

    Examples:
        >>> multiplier_of(np.array([0.75]))
        (array([1610612736]), array([31]))
    """
    fraction, exponent = np.frexp(ratio)
    multiplier = np.rint(fraction * 2.0**31).astype(np.int64)
    carried = multiplier == 2**31
    multiplier, exponent = np.where(carried, 2**30, multiplier), exponent + carried
    shift = 31 - exponent.astype(np.int64)
    # What is too small for a shift rounds to zero anyway.
    multiplier, shift = np.where(shift > 62, 2**30, multiplier), np.minimum(shift, 62)
    if (shift < 1).any():
        raise ModelError("a scale is too large for the integer model")
    return multiplier, shift


def rounded_shift(value: Int, bits: int | Int) -> Int:
    """Divides by 2^bits, to the nearest, ties upwards: an arithmetic shift after adding a half."""
    return (value + (np.int64(1) << (np.asarray(bits) - 1))) >> bits


def saturate(value: Int, bits: int) -> Int:
    """Limits to the range of a signed integer."""
    # Half the time of np.clip, which is most of a small layer's.
    limited: Int = np.minimum(np.maximum(value, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)
    return limited


def requantize(total: Int, multiplier: Int, shift: Int, bits: int) -> Int:
    """A sum in 32 bits to another scale, by a product in 64 bits."""
    return saturate(rounded_shift(total * multiplier, shift), bits)


def sigmoid(value: Int) -> Int:
    """Pre-activation, int16 with 12 fraction bits, to 15 fraction bits."""
    index, rest = (value + 32768) >> 8, (value + 32768) & 255
    low: Int = SIGMOID[index]
    between: Int = low + (((SIGMOID[index + 1] - low) * rest + 128) >> 8)
    return between


def tanh(value: Int) -> Int:
    """By the same table and in the same formats as ``sigmoid``: 2 sigmoid(2 x) - 1."""
    return 2 * sigmoid(saturate(2 * value, 16)) - 32768


def power(below: Int) -> Int:
    """2^-below for differences with 10 fraction bits, 0 and up; with 15 fraction bits, so 32768 is 1."""
    index, rest = (below & 1023) >> 5, below & 31
    high: Int = POWER[index]
    between = high - (((high - POWER[index + 1]) * rest + 16) >> 5)
    shifted: Int = between >> np.minimum(below >> 10, 62)
    return shifted
