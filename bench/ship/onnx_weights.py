"""The operations and weights of a model as an ONNX file holds them: float, or int8 with a scale a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.ship.real_kws import RealKws
from models.base import KwsModel
from models.graph.fold import folded
from models.integer.formats import LEAST_SCALE
from models.integer.lower import lowered
from models.integer.model import IntegerModel
from models.integer.ops import Gru, Program

Array = npt.NDArray[Any]
# Whole clips, or one step of a stream and its state.
Form = Literal["clip", "stream"]


class Matrix(NamedTuple):
    """One weight matrix with its bias.

    Attributes:
        weight: Shape (rows, columns): float32, or integers.
        scale: Half precision, shape (rows,): weight times scale is the real number; None for float.
        bias: Shape (rows,): float32, or half precision beside integers; None where there is none.
        bits: Width of an integer; 32 for float.
    """

    weight: Array
    scale: Array | None
    bias: Array | None
    bits: int

    def real(self) -> Array:
        """The float32 numbers that the weights stand for."""
        weight = self.weight.astype(np.float32)
        return weight if self.scale is None else weight * self.scale.astype(np.float32)[:, None]

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """The same and the bias, for torch."""
        bias = None if self.bias is None else torch.from_numpy(self.bias.astype(np.float32))
        return torch.from_numpy(self.real()), bias


@dataclass(frozen=True, eq=False)
class Weights:
    """What is written.

    Attributes:
        program: The operations; no GRU among them has factors, for the operator has no place for them.
        matrices: Of each operation, in the order of ``Op.matrices``.
    """

    program: Program
    matrices: tuple[tuple[Matrix, ...], ...]

    def model(self) -> RealKws:
        """A torch model with the real numbers that the weights stand for."""
        matrices = [tuple(one.tensors() for one in own) for own in self.matrices]
        return RealKws(self.program, matrices).eval()


def of_float(model: KwsModel) -> Weights:
    """The float weights of a model, norms folded in.

    Raises:
        ModelError: An operation of it is not known.
    """
    plain = folded(model.running())
    found = lowered(plain)
    with torch.no_grad():
        matrices = [
            [Matrix(_array(weight), None, None if bias is None else _array(bias), 32) for weight, bias in own]
            for own in found.matrices(plain)
        ]
    return _multiplied_out(found.program, matrices)


def _array(tensor: Tensor) -> Array:
    return tensor.detach().float().numpy()


def of_integer(model: IntegerModel) -> Weights:
    """The weights of an integer model, as they are; its activations become float again."""
    matrices = [[Matrix(one.weight, one.scale, one.bias, one.bits) for one in own] for own in model.tensors]
    return _multiplied_out(model.program, matrices)


def _multiplied_out(program: Program, matrices: Sequence[Sequence[Matrix]]) -> Weights:
    """Factors of matrices that read a state become their product, in float."""
    ops, found = [], []
    for op, own in zip(program, matrices, strict=True):
        if isinstance(op, Gru) and op.rank:
            *ih, down, r, z, n = own
            own = [*ih, *(_product(one, down) for one in (r, z, n))]
            op = replace(op, rank=0)
        ops.append(op)
        found.append(tuple(own))
    return Weights(tuple(ops), tuple(found))


def _product(up: Matrix, down: Matrix) -> Matrix:
    bias = None if up.bias is None else up.bias.astype(np.float32)
    return Matrix(up.real() @ down.real(), None, bias, 32)


def in_float(weights: Weights) -> Weights:
    """The real numbers that weights stand for."""
    return _each(weights, lambda one: Matrix(one.real(), None, _as(one.bias, np.float32), 32))


def in_int8(weights: Weights) -> Weights:
    """Float weights rounded to int8, symmetric, the largest of each row being 127 steps."""
    return _each(weights, _int8)


def _each(weights: Weights, how: Callable[[Matrix], Matrix]) -> Weights:
    return Weights(weights.program, tuple(tuple(how(one) for one in own) for own in weights.matrices))


def _int8(matrix: Matrix) -> Matrix:
    # No smaller than half precision has them without loss.
    scale = np.maximum(np.abs(matrix.weight).max(1) / 127, LEAST_SCALE).astype(np.float16)
    steps = np.rint(matrix.weight / scale.astype(np.float32)[:, None])
    return Matrix(np.clip(steps, -127, 127).astype(np.int8), scale, _as(matrix.bias, np.float16), 8)


def _as(bias: Array | None, kind: type[np.floating[Any]]) -> Array | None:
    return None if bias is None else bias.astype(kind)
