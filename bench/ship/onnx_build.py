"""The nodes and tensors of an ONNX graph that grows. Imports ``onnx``; ``onnx_export`` asks for it first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bench.ship.onnx_weights import Matrix

Attributes = Mapping[str, int | list[int]]


@dataclass(eq=False)
class Builder:
    """Nodes and tensors of a graph that grows.

    Attributes:
        opset: The version of the operators.
        nodes: In the order of computation.
        tensors: Weights and constants.
        halves: Half-precision numbers by name; one tensor holds them all, see ``unpack_halves``.
    """

    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    halves: dict[str, npt.NDArray[np.float16]] = field(default_factory=dict)
    _constants: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        attributes: Attributes | None = None,
        outputs: Sequence[str] = (),
    ) -> str:
        """A node; returns its last output, which gets a short name where it has none."""
        outputs = outputs or [f"t{len(self.nodes)}"]
        node = helper.make_node(kind, inputs, outputs)
        node.attribute.extend(helper.make_attribute(*entry) for entry in (attributes or {}).items())
        self.nodes.append(node)
        return outputs[-1]

    def tensor(self, name: str, values: npt.NDArray[Any]) -> str:
        """A tensor that is part of the file."""
        self.tensors.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def constant(self, values: npt.NDArray[Any]) -> str:
        """A constant; the same numbers are stored once."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._constants:
            self._constants[key] = self.tensor(f"k{len(self._constants)}", values)
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """A constant of whole numbers: axes, shapes."""
        return self.constant(np.array(values, np.int64))

    def real(self, *values: float) -> str:
        """A constant of real numbers."""
        return self.constant(np.array(values, np.float32))

    def numbers(self, name: str, values: npt.NDArray[Any]) -> str:
        """Scales or a bias: float32 stays a tensor of its own, half precision joins the others."""
        if values.dtype != np.float16:
            return self.tensor(name, values)
        self.halves[name] = values
        return name

    def weight(self, name: str, matrix: Matrix, shape: Sequence[int], axis: int) -> str:
        """A weight tensor, its outputs along an axis: float, or integers behind DequantizeLinear."""
        if matrix.scale is None:
            return self.tensor(name, matrix.weight.reshape(shape))
        stored = f"{name}q"
        if matrix.bits > 4:
            self.tensor(stored, matrix.weight.reshape(shape))
        else:
            self.tensors.append(_nibbles(stored, matrix.weight, shape))
        scale = self.numbers(f"{name}s", matrix.scale)
        return self.add("DequantizeLinear", [stored, scale], {"axis": axis}, [name])

    def cut(self, x: str, axis: int, start: int, end: int = 2**31, name: str = "") -> str:
        """Part of a value along an axis; a negative start counts from its end."""
        limits = [self.integers(start), self.integers(end), self.integers(axis)]
        return self.add("Slice", [x, *limits], outputs=[name] if name else ())

    def mean(self, x: str, axis: int) -> str:
        """The mean along an axis, which goes; what is an attribute first is an input from version 18 on."""
        if self.opset < 18:
            return self.add("ReduceMean", [x], {"axes": [axis], "keepdims": 0})
        return self.add("ReduceMean", [x, self.integers(axis)], {"keepdims": 0})

    def rename(self, old: str, new: str) -> None:
        """Gives a result the name of an output."""
        node = next((node for node in self.nodes if old in node.output), None)
        if node is None or not old.startswith("t"):
            self.add("Identity", [old], outputs=[new])
            return
        for names in (names for node in self.nodes for names in (node.input, node.output)):
            names[:] = [new if name == old else name for name in names]

    def unpack_halves(self) -> None:
        """Puts in front what makes float tensors of all half-precision numbers: one Cast, one Split."""
        if self.halves:
            halves = self.tensor("halves", np.concatenate(list(self.halves.values())))
            sizes = self.tensor("sizes", np.array([len(part) for part in self.halves.values()], np.int64))
            cast = helper.make_node("Cast", [halves], ["floats"], to=TensorProto.FLOAT)
            self.nodes[:0] = [cast, helper.make_node("Split", ["floats", sizes], list(self.halves), axis=0)]


def _nibbles(name: str, values: npt.NDArray[Any], shape: Sequence[int]) -> TensorProto:
    """Integers of 4 bits, two to a byte, the first in the lower half."""
    low = np.pad(values.flatten(), (0, values.size % 2)).astype(np.uint8) & 15
    packed = (low[::2] | low[1::2] << 4).tobytes()
    return helper.make_tensor(name, TensorProto.INT4, list(shape), packed, raw=True)
