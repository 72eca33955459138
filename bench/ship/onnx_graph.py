"""A ``Crnn`` as an ONNX graph, node by node: nothing in it that the computation does not need.

Imports ``onnx``, of the extra of that name; ``onnx_export`` asks for it first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from bench.ship.onnx_weights import Form, Matrix, Weights
from models.integer import IntegerSpec

# Names of the graph's inputs and outputs; a state NAME comes back as ``next_NAME``.
CLIP, WINDOW, LOGITS = "log_mel", "window", "logits"
ENERGIES, OUTPUTS, NEXT = "energies", "outputs", "next_"
# Constants: axis 0, axis 1.
ZERO, ONE = "zero", "one"


@dataclass(eq=False)
class Builder:
    """Nodes and tensors of a graph that grows.

    Attributes:
        nodes: In the order of computation.
        tensors: Weights and constants.
        halves: Half-precision numbers by name; one tensor holds them all, see ``unpack_halves``.
    """

    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    halves: dict[str, npt.NDArray[np.float16]] = field(default_factory=dict)

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        attributes: Mapping[str, int | list[int]] | None = None,
        outputs: Sequence[str] = (),
    ) -> str:
        """A node; returns its last output, which gets a short name where it has none."""
        outputs = outputs or [f"t{len(self.nodes)}"]
        node = helper.make_node(kind, inputs, outputs)
        node.attribute.extend(helper.make_attribute(*entry) for entry in (attributes or {}).items())
        self.nodes.append(node)
        return outputs[-1]

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """A tensor that is part of the file."""
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def numbers(self, name: str, values: npt.NDArray[Any]) -> str:
        """Scales or a bias: float32 stays a tensor of its own, half precision joins the others."""
        if values.dtype != np.float16:
            return self.constant(name, values)
        self.halves[name] = values
        return name

    def weight(self, name: str, matrix: Matrix, shape: Sequence[int], axis: int) -> str:
        """A weight tensor, its outputs along an axis: float, or integers behind DequantizeLinear."""
        if matrix.scale is None:
            return self.constant(name, matrix.weight.reshape(shape))
        stored = f"{name}q"
        if matrix.bits > 4:
            self.constant(stored, matrix.weight.reshape(shape))
        else:
            self.tensors.append(_nibbles(stored, matrix.weight, shape))
        scale = self.numbers(f"{name}s", matrix.scale)
        return self.add("DequantizeLinear", [stored, scale], {"axis": axis}, [name])

    def unpack_halves(self) -> None:
        """Puts in front what makes float tensors of all half-precision numbers: one Cast, one Split."""
        if self.halves:
            halves = self.constant("halves", np.concatenate(list(self.halves.values())))
            sizes = self.constant("sizes", np.array([len(part) for part in self.halves.values()], np.int64))
            cast = helper.make_node("Cast", [halves], ["floats"], to=TensorProto.FLOAT)
            self.nodes[:0] = [cast, helper.make_node("Split", ["floats", sizes], list(self.halves), axis=0)]


def _nibbles(name: str, values: npt.NDArray[Any], shape: Sequence[int]) -> TensorProto:
    """Integers of 4 bits, two to a byte, the first in the lower half."""
    low = np.pad(values.flatten(), (0, values.size % 2)).astype(np.uint8) & 15
    packed = (low[::2] | low[1::2] << 4).tobytes()
    return helper.make_tensor(name, TensorProto.INT4, list(shape), packed, raw=True)


def build_graph(weights: Weights, form: Form, max_buffer_len: int) -> GraphProto:
    """The whole graph.

    Args:
        weights: Of the model.
        form: ``clip``: ``log_mel`` (B, M, T) -> ``logits`` (B, K). ``stream``: one window of the
            convolution and the state -> ``logits`` and the next state, see ``state_shapes``.
        max_buffer_len: Frames that attention looks back on, in ``stream``.
    """
    builder, sizes = Builder(), weights.sizes
    for name, axis in ((ZERO, 0), (ONE, 1)):
        builder.constant(name, np.array([axis], np.int64))
    frames = _convolution(builder, weights, CLIP if form == "clip" else WINDOW)
    for layer in range(sizes.layers):
        frames = _gru(builder, weights, layer, frames, form)
    energies = _energies(builder, weights, frames)
    if form == "stream":
        builder.constant("end", np.array([max_buffer_len + 1], np.int64))
        energies = _buffered(builder, ENERGIES, energies)
        frames = _buffered(builder, OUTPUTS, frames)
    _attend(builder, weights, energies, frames)
    builder.unpack_halves()
    inputs, outputs = _interface(sizes, form, max_buffer_len)
    return helper.make_graph(
        builder.nodes,
        "kws",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        builder.tensors,
    )


def state_shapes(sizes: IntegerSpec, max_buffer_len: int) -> dict[str, list[int | str]]:
    """The tensors of a stream's state, B streams at once; zeros at first, ``energies`` minus infinity.

    Example:
        >>> sizes = IntegerSpec(2, (5, 20), (2, 8), 10, 10, 1, 40, 2)
        >>> state_shapes(sizes, 24)
        {'hidden_0': [1, 'B', 10], 'energies': [24, 'B', 1], 'outputs': [24, 'B', 10]}
    """
    hidden: dict[str, list[int | str]] = {
        f"hidden_{layer}": [1, "B", sizes.hidden] for layer in range(sizes.layers)
    }
    return hidden | {
        ENERGIES: [max_buffer_len, "B", 1],
        OUTPUTS: [max_buffer_len, "B", sizes.hidden],
    }


def _interface(
    sizes: IntegerSpec, form: Form, max_buffer_len: int
) -> tuple[dict[str, list[int | str]], dict[str, list[int | str]]]:
    """Names and shapes of inputs and outputs."""
    logits: dict[str, list[int | str]] = {LOGITS: ["B", sizes.n_classes]}
    if form == "clip":
        return {CLIP: ["B", sizes.n_mels, "T"]}, logits
    state = state_shapes(sizes, max_buffer_len)
    inputs: dict[str, list[int | str]] = {WINDOW: ["B", sizes.n_mels, sizes.kernel[1]]}
    return inputs | state, logits | {NEXT + name: shape for name, shape in state.items()}


def _convolution(builder: Builder, weights: Weights, audio: str) -> str:
    """(B, M, T) -> (T', B, C * M')."""
    sizes, matrix = weights.sizes, weights.matrices["conv"]
    weight = builder.weight("c", matrix, [sizes.channels, 1, *sizes.kernel], 0)
    bias = builder.numbers("cb", matrix.bias)
    image = builder.add("Unsqueeze", [audio, ONE])
    maps = builder.add("Conv", [image, weight, bias], {"strides": list(sizes.stride)})
    width = builder.constant("rows", np.array([0, sizes.channels * sizes.mel_rows, -1], np.int64))
    return builder.add("Transpose", [builder.add("Reshape", [maps, width])], {"perm": [2, 0, 1]})


def _gru(builder: Builder, weights: Weights, layer: int, frames: str, form: Form) -> str:
    """(T', B, I) -> (T', B, H); ONNX has the directions on an axis of their own."""
    ih, hh = (weights.matrices[f"gru.{layer}.{name}"].gates() for name in ("ih", "hh"))
    if down := weights.matrices.get(f"gru.{layer}.down"):
        frames = builder.add("MatMul", [frames, _right_factor(builder, f"d{layer}", down)])
    bias = builder.numbers(f"b{layer}", np.concatenate([ih.bias, hh.bias]))
    inputs = [
        frames,
        builder.weight(f"w{layer}", ih, [1, *ih.weight.shape], 1),
        builder.weight(f"r{layer}", hh, [1, *hh.weight.shape], 1),
        builder.add("Unsqueeze", [bias, ZERO]),
    ]
    # The candidate's reset gate acts after the product with the state, as it does in torch.
    how: dict[str, int | list[int]] = {"hidden_size": weights.sizes.hidden, "linear_before_reset": 1}
    if form == "clip":
        return builder.add("Squeeze", [builder.add("GRU", inputs, how), ONE])
    state = f"hidden_{layer}"
    return builder.add("GRU", [*inputs, "", state], how, ["", NEXT + state])


def _energies(builder: Builder, weights: Weights, frames: str) -> str:
    """(T', B, H) -> (T', B, 1), but for a constant that the softmax does not see: the last bias."""
    inner, energy = weights.matrices["attention.inner"], weights.matrices["attention.energy"]
    product = builder.add("MatMul", [frames, _right_factor(builder, "a", inner)])
    tanh = builder.add("Tanh", [builder.add("Add", [product, builder.numbers("ab", inner.bias)])])
    return builder.add("MatMul", [tanh, _right_factor(builder, "e", energy)])


def _right_factor(builder: Builder, name: str, matrix: Matrix) -> str:
    """A matrix as (1, in, out). ONNX Runtime makes of DequantizeLinear and a MatMul with two axes a
    product that rounds the activations to int8 as well (MatMulNBits); with three axes it stays float.
    """
    turned = matrix._replace(weight=matrix.weight.T)
    return builder.weight(name, turned, [1, *turned.weight.shape], 2)


def _buffered(builder: Builder, name: str, latest: str) -> str:
    """The buffer of a state with the latest frame behind it, and without the oldest one."""
    longer = builder.add("Concat", [name, latest], {"axis": 0})
    return builder.add("Slice", [longer, ONE, "end", ZERO], {}, [NEXT + name])


def _attend(builder: Builder, weights: Weights, energies: str, frames: str) -> None:
    """Energies (T', B, 1) and outputs (T', B, H) -> logits (B, K)."""
    share = builder.add("Softmax", [energies], {"axis": 0})
    weighted = builder.add("Mul", [share, frames])
    context = builder.add("ReduceSum", [weighted, ZERO], {"keepdims": 0})
    matrix = weights.matrices["classifier"]
    weight = builder.weight("k", matrix, matrix.weight.shape, 0)
    builder.add("Gemm", [context, weight, builder.numbers("kb", matrix.bias)], {"transB": 1}, [LOGITS])
