"""A program of operations as an ONNX graph, node by node: nothing in it that the computation does not need.

``onnx_layers`` and ``onnx_joins`` hold one function an operation. Imports ``onnx``, of the extra of that
name; ``onnx_export`` asks for it first.
"""

from __future__ import annotations

from onnx import GraphProto, TensorProto, ValueInfoProto, helper

import bench.ship.onnx_joins  # noqa: F401  It registers what it holds.
from bench.ship.onnx_build import Builder
from bench.ship.onnx_layers import write
from bench.ship.onnx_timing import timing_of
from bench.ship.onnx_values import CLIP, LOGITS, NEXT, WINDOW, Sizes, Writer
from bench.ship.onnx_weights import Form, Weights
from models.integer.ops import live_values


def build_graph(weights: Weights, form: Form, max_buffer_len: int, opset: int) -> GraphProto:
    """The whole graph.

    Args:
        weights: Of the model.
        form: ``clip``: ``log_mel`` (B, M, T) -> ``logits`` (B, K). ``stream``: the frames of one step and the
            state -> ``logits`` and the next state.
        max_buffer_len: Frames that what takes all of time looks back on, in ``stream``.
        opset: The version of the operators.

    Raises:
        ModelError: It cannot be streamed.
    """
    timing = timing_of(weights.program) if form == "stream" else None
    writer = Writer(Builder(opset), weights, timing, max_buffer_len)
    live = live_values(weights.program)
    for at, op in enumerate(weights.program):
        if at in live:
            writer.values[at] = write(op, at, writer)
    last = writer.values[len(weights.program) - 1]
    writer.builder.rename(writer.vector(last), LOGITS)
    writer.builder.unpack_halves()
    mels, classes = writer.shapes[0].size, writer.shapes[-1].size
    heard: dict[str, Sizes] = {CLIP: ["B", mels, "T"]}
    if timing is not None:
        heard = {WINDOW: ["B", mels, timing.width]}
    said: dict[str, Sizes] = {LOGITS: ["B", classes]}
    said |= {NEXT + name: shape for name, shape in writer.states.items()}
    return helper.make_graph(
        writer.builder.nodes, "kws", _infos(heard | writer.states), _infos(said), writer.builder.tensors
    )


def _infos(shapes: dict[str, Sizes]) -> list[ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
