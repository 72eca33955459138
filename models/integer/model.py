"""The integer model: what ships, in NumPy, with the arithmetic that every other runtime repeats bit for bit.

``docs/integer-model.md`` says the same in prose. Everything between the quantized input and the logits is
integers; products are summed in double precision below, which is exact as long as no sum reaches 2^53.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.integer.fixed_point import Int, multiplier_of, saturate
from models.integer.formats import (
    CURVES,
    GATE_BITS,
    INPUT_FORMAT,
    LOGIT_BITS,
    PRE,
    PRE_BITS,
    WHOLE_BITS,
    Format,
    formats_of,
    six,
    state_format,
    target,
)
from models.integer.ops import (
    Add,
    Attend,
    Concat,
    Conv,
    Gru,
    MatrixShape,
    Mul,
    Pool,
    Program,
    Shape,
    buffer_frames,
    least_frames,
    shapes_of,
    step_frames,
)
from models.task import UNNAMED, Task

__all__ = [
    "CURVES",
    "GATE_BITS",
    "INPUT_FORMAT",
    "JOIN_BITS",
    "LIMIT",
    "LOGIT_BITS",
    "PRE",
    "PRE_BITS",
    "WHOLE_BITS",
    "Format",
    "IntegerModel",
    "Joining",
    "Layer",
    "Quantized",
    "check",
    "curving",
    "formats_of",
    "joining",
    "layer_of",
    "matrix_formats",
    "scaling",
    "six",
    "state_format",
    "target",
]

LIMIT = 2**31 - 1
# Bits of the factors that bring values to one step.
JOIN_BITS = 15


class Quantized(NamedTuple):
    """One matrix as it is stored.

    Attributes:
        bits: Width of a weight.
        weight: int8, shape (out, in), within +-(2^(bits - 1) - 1).
        scale: Half precision, shape (out,): weight times scale is the real number.
        bias: Half precision, shape (out,), a real number; None where there is none.
    """

    bits: int
    weight: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float16]
    bias: npt.NDArray[np.float16] | None


class Layer(NamedTuple):
    """One matrix ready to run: ``requantize(weight @ x + bias, multiplier, shift)``.

    Attributes:
        weight: int8, shape (out, in).
        bias: int32, shape (out,), in units of the sum.
        multiplier: int32, 2^30 to 2^31 - 1, shape (out,).
        shift: 1 to 62, shape (out,).
    """

    weight: Int
    bias: Int
    multiplier: Int
    shift: Int


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """A quantized model: what the file holds, and what is ready to run.

    Attributes:
        program: The operations, the input first, the logits last.
        activations: Bits of what they hand to each other: 8 or 16.
        steps: Half precision: one unit of each result that has a step of its own, by its place.
        tensors: The matrices of each operation, in the order of ``Op.matrices``.
        task: What is asked of it.
    """

    program: Program
    activations: int
    steps: Mapping[int, np.float16]
    tensors: tuple[tuple[Quantized, ...], ...]
    task: Task = UNNAMED

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Of every value."""
        return shapes_of(self.program)

    @cached_property
    def formats(self) -> tuple[Format, ...]:
        """Of every value."""
        return formats_of(self.program, self.activations, {at: float(one) for at, one in self.steps.items()})

    @property
    def n_mels(self) -> int:
        """Mel bands M."""
        return self.shapes[0].rows

    @property
    def n_classes(self) -> int:
        """Classes K."""
        return self.shapes[-1].size

    @property
    def energies(self) -> int | None:
        """Which value holds the energies of attention; None without."""
        return next((op.inputs[0] for op in self.program if isinstance(op, Attend)), None)

    @property
    def step_frames(self) -> int:
        """Mel frames from one decision to the next."""
        return step_frames(self.program)[-1]

    @property
    def buffer(self) -> int:
        """Frames that a stream looks back on."""
        return buffer_frames(self.step_frames, clip_frames=self.task.frames)

    @property
    def least_frames(self) -> int:
        """Mel frames that a clip must have."""
        return least_frames(self.program)

    def matrices(self, at: int) -> tuple[MatrixShape, ...]:
        """The matrices of an operation."""
        op = self.program[at]
        return op.matrices([self.shapes[one] for one in op.inputs])

    def given(self, at: int) -> list[Format]:
        """The formats that an operation reads."""
        return [self.formats[one] for one in self.program[at].inputs]

    @cached_property
    def layers(self) -> tuple[tuple[Layer, ...], ...]:
        """The matrices of each operation with their integer multipliers.

        Raises:
            ModelError: A sum could leave int32.
        """
        return tuple(
            tuple(
                layer_of(shape.name, tensor, *matrix_formats(self, at, shape.name))
                for shape, tensor in zip(self.matrices(at), own, strict=True)
            )
            for at, own in enumerate(self.tensors)
        )

    def quantize_input(self, log_mel: npt.NDArray[Any]) -> Int:
        """Log-mel of any shape to int8 (or int16): times a power of two, to the nearest, ties to even."""
        bits, zero = INPUT_FORMAT[self.activations]
        scaled = np.rint(log_mel.astype(np.float32) * np.float32(2**bits))
        # Limited as floats first: an infinity is no integer.
        return saturate(np.clip(scaled, -(2**16), 2**16).astype(np.int64) + zero, self.activations)


def matrix_formats(model: IntegerModel, at: int, name: str) -> tuple[Format, Format]:
    """What a matrix reads and what its sums are rounded to."""
    op, (given,) = model.program[at], model.given(at)
    if isinstance(op, Gru):
        state = state_format(model.activations)
        inner = Format(float(model.steps[at]), model.activations) if op.rank else state
        if name == "hh.down":
            return state, inner
        return (given if name.startswith("ih") else inner), PRE
    assert isinstance(op, Conv)
    return given, target(op, model.formats[at])


def layer_of(name: str, tensor: Quantized, given: Format, gives: Format) -> Layer:
    """A matrix with its integer multipliers.

    Raises:
        ModelError: A sum could leave int32, or a number is none.
    """
    scale = tensor.scale.astype(np.float64)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelError(f"{name}: a scale is not above 0")
    weight = tensor.weight.astype(np.int64)
    bias = np.zeros(len(scale)) if tensor.bias is None else tensor.bias.astype(np.float64)
    if not np.isfinite(bias).all():
        raise ModelError(f"{name}: a bias is no number")
    units = np.rint(bias / (scale * given.step))
    units = units - given.zero * weight.sum(1)
    reach = np.abs(weight).sum(1) << (given.bits - 1)
    # In doubles: a bias of a damaged file can be beyond 64 bits.
    if (reach + np.abs(units)).max() > LIMIT:
        raise ModelError(f"{name}: a sum would not fit in 32 bits; fewer activation bits would")
    return Layer(weight, units.astype(np.int64), *multiplier_of(scale * (given.step / gives.step)))


class Joining(NamedTuple):
    """How values come to one step: ``(sum of (value - zero) * factor + half) >> shift``.

    Attributes:
        factors: One a value, negative where it is subtracted.
        shift: 1 to 46.
    """

    factors: tuple[int, ...]
    shift: int


def joining(model: IntegerModel, at: int) -> Joining:
    """The factors of a sum or a concatenation."""
    op = model.program[at]
    assert isinstance(op, (Add, Concat))
    gives = target(op, model.formats[at])
    ratios = [given.step / gives.step for given in model.given(at)]
    minus = op.minus if isinstance(op, Add) else 0
    # The largest takes all bits; what needs no shift at all loses nothing.
    shift = JOIN_BITS - int(np.frexp(max(ratios))[1])
    if shift < 1:
        raise ModelError(f"operation {at}: what it adds is too coarse for its result")
    shift = min(shift, 31 + JOIN_BITS)
    factors = [int(np.rint(ratio * 2.0**shift)) for ratio in ratios]
    return Joining(tuple(-one if minus >> i & 1 else one for i, one in enumerate(factors)), shift)


def scaling(model: IntegerModel, at: int) -> tuple[int, int]:
    """Multiplier and shift of a product, or of a mean over a window."""
    op, given = model.program[at], model.given(at)
    assert isinstance(op, (Mul, Pool))
    step = float(np.prod([one.step for one in given]))
    count = op.kernel_mel * op.kernel_time if isinstance(op, Pool) else 1
    return _one(step / count / target(op, model.formats[at]).step)


def curving(model: IntegerModel, at: int) -> tuple[int, int]:
    """Multiplier and shift from a number times its sigmoid, 27 fraction bits, to the result."""
    return _one(2.0 ** -(PRE_BITS + GATE_BITS) / model.formats[at].step)


def check(model: IntegerModel) -> None:
    """Refuses what cannot be computed.

    Raises:
        ModelError: A sum could leave int32, or the steps of what meets are too far apart.
    """
    _ = model.layers
    for at, op in enumerate(model.program):
        if isinstance(op, (Add, Concat)):
            joining(model, at)
        elif isinstance(op, Mul) or (isinstance(op, Pool) and not op.largest):
            scaling(model, at)


def _one(ratio: float) -> tuple[int, int]:
    multiplier, shift = multiplier_of(np.array([ratio]))
    return int(multiplier[0]), int(shift[0])
