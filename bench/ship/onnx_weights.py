"""The weights of a model as an ONNX file holds them: float, or int8 with a scale for each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from compressors.quantization.quantize import integer_spec
from models.crnn import Crnn
from models.factored import input_factors, whole
from models.integer import GATES, IntegerModel, IntegerSpec
from models.integer.kws import float_spec

Array = npt.NDArray[Any]
# Whole clips, or one window of a stream and its state.
Form = Literal["clip", "stream"]
# ONNX wants the gates of a GRU as update, reset, new; torch and the integer model have r, z, n.
ONNX_GATES = (1, 0, 2)


class Matrix(NamedTuple):
    """One weight matrix with its bias.

    Attributes:
        weight: Shape (out, in): float32, or integers.
        scale: Half precision, shape (out,): weight times scale is the real number; None for float.
        bias: Shape (out,): float32, or half precision beside integers.
        bits: Width of an integer; 32 for float.
    """

    weight: Array
    scale: Array | None
    bias: Array
    bits: int

    def real(self) -> Array:
        """The float32 numbers that the weights stand for."""
        weight = self.weight.astype(np.float32)
        return weight if self.scale is None else weight * self.scale.astype(np.float32)[:, None]

    def gates(self) -> Matrix:
        """The rows of a GRU's matrix in ONNX's order.

        Example:
            >>> rows = np.arange(3.0)
            >>> Matrix(rows[:, None], None, rows, 32).gates().bias.tolist()
            [1.0, 0.0, 2.0]
        """
        order = np.concatenate([np.split(np.arange(len(self.bias)), 3)[gate] for gate in ONNX_GATES])
        scale = None if self.scale is None else self.scale[order]
        return Matrix(self.weight[order], scale, self.bias[order], self.bits)


@dataclass(frozen=True, eq=False)
class Weights:
    """What is written.

    Attributes:
        sizes: Of the model.
        matrices: ``conv``, ``gru.L.ih``, ``gru.L.hh`` (gates r, z, n), ``attention.inner``,
            ``attention.energy`` and ``classifier``; of low rank also ``gru.L.down``, the factor that reads
            a layer's input, and then ``gru.L.ih`` is the other one.
    """

    sizes: IntegerSpec
    matrices: Mapping[str, Matrix]


def of_float(model: Crnn) -> Weights:
    """The float weights of a model.

    Factors of matrices that read the state are multiplied out: the GRU operator has no place for them.
    """
    plain = whole(model)
    state = {name: tensor.numpy() for name, tensor in plain.state_dict().items()}
    matrices = {
        name: Matrix(state[weight].reshape(len(state[bias]), -1), None, state[bias], 32)
        for name, (weight, bias) in _places(plain.spec.layers).items()
    }
    for layer, (up, down) in enumerate(input_factors(model)):
        matrices[f"gru.{layer}.ih"] = matrices[f"gru.{layer}.ih"]._replace(weight=up.numpy())
        matrices[f"gru.{layer}.down"] = Matrix(down.numpy(), None, np.zeros(len(down), np.float32), 32)
    return Weights(integer_spec(plain.spec), matrices)


def to_float(weights: Weights) -> Crnn:
    """A float model with the real numbers that weights stand for."""
    with torch.random.fork_rng(devices=[]):
        model = Crnn(float_spec(weights.sizes))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state = {}
    for ours, (weight, bias) in _places(weights.sizes.layers).items():
        matrix = weights.matrices[ours]
        state[weight] = torch.from_numpy(matrix.real()).reshape(shapes[weight])
        state[bias] = torch.from_numpy(matrix.bias.astype(np.float32))
    model.load_state_dict(state)
    return model.eval()


def _places(layers: int) -> dict[str, tuple[str, str]]:
    """Where each matrix and its bias stand in the state_dict of a ``Crnn``."""
    names = {"conv": "conv", "attention.inner": "attention.0", "attention.energy": "attention.2"}
    places = {ours: (f"{theirs}.weight", f"{theirs}.bias") for ours, theirs in names.items()}
    for layer in range(layers):
        for name in ("ih", "hh"):
            places[f"gru.{layer}.{name}"] = (f"gru.weight_{name}_l{layer}", f"gru.bias_{name}_l{layer}")
    return places | {"classifier": ("classifier.weight", "classifier.bias")}


def in_int8(weights: Weights) -> Weights:
    """Float weights rounded to int8, symmetric, the largest of each row being 127 steps."""
    return Weights(weights.sizes, {name: _int8(matrix) for name, matrix in weights.matrices.items()})


def _int8(matrix: Matrix) -> Matrix:
    # No smaller than half precision has them without loss.
    scale = np.maximum(np.abs(matrix.weight).max(1) / 127, 2.0**-14).astype(np.float16)
    steps = np.rint(matrix.weight / scale.astype(np.float32)[:, None])
    return Matrix(np.clip(steps, -127, 127).astype(np.int8), scale, matrix.bias.astype(np.float16), 8)


def of_integer(model: IntegerModel) -> Weights:
    """The weights of an integer model, as they are; its activations become float again."""
    found: dict[str, list[Matrix]] = {}
    for name, tensor in model.tensors.items():
        gate = name.startswith("gru.") and name[-1] in GATES
        bias = np.zeros(len(tensor.scale), np.float16) if tensor.bias is None else tensor.bias
        matrix = Matrix(tensor.weight, tensor.scale, bias, tensor.bits)
        found.setdefault(name[:-2] if gate else name, []).append(matrix)
    return Weights(model.spec, {name: _stacked(parts) for name, parts in found.items()})


def _stacked(parts: list[Matrix]) -> Matrix:
    weight, bias = (np.concatenate([getattr(part, name) for part in parts]) for name in ("weight", "bias"))
    scale = np.concatenate([part.scale for part in parts if part.scale is not None])
    return Matrix(weight, scale, bias, max(part.bits for part in parts))
