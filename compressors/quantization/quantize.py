"""From float weights to an integer model: scales and rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.integer.formats import LEAST_SCALE
from models.integer.model import IntegerModel, Quantized, matrix_formats
from models.integer.ops import Program

Array = npt.NDArray[Any]


def scale_of(weight: Array, bits: int, bias: Array | None, step_in: float) -> npt.NDArray[np.float16]:
    """A scale in half precision for each row: the largest weight is the largest integer.

    A row of weights that are tiny against its bias gets a coarser scale, so that the bias fits 30 bits.
    """
    widest = np.abs(weight).max(1) / (2 ** (bits - 1) - 1)
    floor = np.full(len(weight), LEAST_SCALE)
    if bias is not None:
        floor = np.maximum(floor, np.abs(bias) / (2.0**29 * step_in))
    scale: npt.NDArray[np.float16] = np.maximum(widest, floor).astype(np.float16)
    return scale


def quantized(weight: Array, bias: Array | None, bits: int, scale: npt.NDArray[np.float16]) -> Quantized:
    """One matrix, rounded to the nearest, ties to even, and limited to a symmetric range."""
    top = 2 ** (bits - 1) - 1
    whole = np.rint(weight.astype(np.float64) / scale.astype(np.float64)[:, None])
    half = None if bias is None else bias.astype(np.float16)
    return Quantized(bits, np.clip(whole, -top, top).astype(np.int8), scale, half)


def quantize(
    program: Program,
    matrices: Sequence[Sequence[tuple[Array, Array | None]]],
    *,
    widths: Sequence[Sequence[int]],
    steps: Mapping[int, float],
    activations: int = 8,
) -> IntegerModel:
    """An integer model of float weights.

    Args:
        program: The operations.
        matrices: Of each operation, (rows, columns) with the bias (rows,) or None.
        widths: Bits of each.
        steps: One unit of each result that has a step of its own.
        activations: Bits of what operations hand to each other.
    """
    halves = {at: np.float16(step) for at, step in steps.items()}
    empty = IntegerModel(program, activations, halves, ())
    tensors = []
    for at, own in enumerate(matrices):
        shapes = empty.matrices(at)
        reads = [matrix_formats(empty, at, shape.name)[0].step for shape in shapes]
        tensors.append(
            tuple(
                quantized(weight, bias, bits, scale_of(weight, bits, bias, step))
                for (weight, bias), bits, step in zip(own, widths[at], reads, strict=True)
            )
        )
    return IntegerModel(program, activations, halves, tuple(tensors))


def best_step(values: Array, bits: int) -> float:
    """The step whose rounding to so many bits, limits included, errs least on some values.

    Args:
        values: Of any shape, not all zero.
        bits: Width of the signed integers.

    Returns:
        The least mean square error's among 41 steps from a fifth of the range to all of it.
    """
    sample = values.ravel()[:: max(1, values.size // 200_000)].astype(np.float64)
    low = -(2 ** (bits - 1))
    widest = max(float(np.abs(sample).max()) / -low, LEAST_SCALE)
    steps = [widest * share for share in np.linspace(0.2, 1, 41)]
    errors = [np.square(np.clip(np.rint(sample / s), low, -low - 1) * s - sample).mean() for s in steps]
    return float(steps[int(np.argmin(errors))])
