"""From float weights to an integer model: scales, rounding, and the names of what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.crnn import CrnnSpec
from models.integer import GATES, IntegerModel, IntegerSpec, Quantized

Array = npt.NDArray[Any]


def integer_spec(spec: CrnnSpec, activations: int = 8) -> IntegerSpec:
    """The sizes of an integer model of that architecture."""
    return IntegerSpec(
        spec.channels,
        spec.kernel,
        spec.stride,
        spec.hidden,
        spec.attention_width,
        spec.layers,
        spec.n_mels,
        spec.n_classes,
        activations,
    )


def matrices(weights: Mapping[str, Array], layers: int) -> dict[str, tuple[Array, Array | None]]:
    """The weights of a ``Crnn`` by the names of the integer model, each (out, in) with its bias (out,).

    The two biases of the gates r and z are added up and stand with the input's projection.
    """
    found: dict[str, tuple[Array, Array | None]] = {}
    conv = weights["conv.weight"]
    found["conv"] = (conv.reshape(len(conv), -1), weights["conv.bias"])
    for layer in range(layers):
        ih, hh, bias_ih, bias_hh = (
            np.split(weights[f"gru.{name}_l{layer}"], 3)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        for gate, name in enumerate(GATES):
            merged = bias_ih[gate] if name == "n" else bias_ih[gate] + bias_hh[gate]
            found[f"gru.{layer}.ih.{name}"] = (ih[gate], merged)
        for gate, name in enumerate(GATES):
            found[f"gru.{layer}.hh.{name}"] = (hh[gate], bias_hh[gate] if name == "n" else None)
    for name, key in (
        ("attention.inner", "attention.0"),
        ("attention.energy", "attention.2"),
        ("classifier", "classifier"),
    ):
        found[name] = (weights[f"{key}.weight"], weights[f"{key}.bias"])
    return found


def scale_of(weight: Array, bits: int, bias: Array | None, step_in: float) -> npt.NDArray[np.float16]:
    """A scale in half precision for each row: the largest weight is the largest integer.

    A row of weights that are tiny against its bias gets a coarser scale, so that the bias fits 30 bits.
    """
    widest = np.abs(weight).max(1) / (2 ** (bits - 1) - 1)
    floor = np.full(len(weight), 2.0**-14)
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
    weights: Mapping[str, Array],
    spec: CrnnSpec,
    *,
    widths: Mapping[str, int],
    conv_step: float,
    activations: int = 8,
) -> IntegerModel:
    """An integer model of float weights.

    Args:
        weights: The state_dict of a ``Crnn``, as arrays.
        spec: Its architecture.
        widths: Bits of each matrix, by the names of ``IntegerSpec.shapes``.
        conv_step: What one unit of the convolution's output stands for.
        activations: Bits of what layers read.
    """
    sizes = integer_spec(spec, activations)
    empty = IntegerModel(sizes, np.float16(conv_step), {})
    tensors = {
        name: quantized(
            weight, bias, widths[name], scale_of(weight, widths[name], bias, empty.steps(name)[0])
        )
        for name, (weight, bias) in matrices(weights, spec.layers).items()
    }
    return IntegerModel(sizes, np.float16(conv_step), tensors)


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
    widest = max(float(np.abs(sample).max()) / -low, 2.0**-14)
    steps = [widest * share for share in np.linspace(0.2, 1, 41)]
    errors = [np.square(np.clip(np.rint(sample / s), low, -low - 1) * s - sample).mean() for s in steps]
    return float(steps[int(np.argmin(errors))])
