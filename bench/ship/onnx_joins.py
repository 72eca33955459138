"""The operations of a program as ONNX nodes: what joins values, chooses numbers, or takes all of time.

Imports ``onnx``, of the extra of that name; ``onnx_export`` asks for it first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.ship.onnx_layers import finished, write
from bench.ship.onnx_values import ENERGIES, OUTPUTS, Layout, Value, Writer
from models.integer.ops import Add, Attend, Concat, Join, Last, MeanTime, Mul, Pick, Shape, repeated

# Energies of frames that are none: less than any other, and still a number when all are.
NO_ENERGY = -1e30


def _common(given: Sequence[Value], size: int) -> Layout:
    """Where values of one layout and one size need no other; else an image."""
    layouts = {value.layout for value in given}
    plain = layouts in ({Layout.SEQUENCE}, {Layout.VECTOR}) and {value.shape.size for value in given} == {
        size
    }
    return layouts.pop() if plain else Layout.IMAGE


def _spread(value: Value, gives: Shape, layout: Layout, writer: Writer) -> str:
    """A value for a join; what is repeated has a length of 1."""
    if layout is not Layout.IMAGE:
        return value.name
    steps = repeated(value.shape.size, gives.channels, gives.rows)
    return writer.image(value, gives.channels if steps[0] else 1, gives.rows if steps[1] else 1)


def _joined(op: Join, at: int, writer: Writer) -> tuple[Layout, list[str]]:
    gives, given = writer.shapes[at], writer.given(at)
    layout = _common(given, gives.size)
    names = [_spread(value, gives, layout, writer) for value in given]
    if all(value.shape.size < gives.size for value in given):
        whole = writer.builder.integers(1, gives.channels, gives.rows, 1)
        names[0] = writer.builder.add("Expand", [names[0], whole])
    return layout, names


@write.register
def _(op: Add, at: int, writer: Writer) -> Value:
    layout, (total, *names) = _joined(op, at, writer)
    total = writer.builder.add("Neg", [total]) if op.minus & 1 else total
    for i, name in enumerate(names, 1):
        total = writer.builder.add("Sub" if op.minus >> i & 1 else "Add", [total, name])
    return finished(op, at, writer, total, layout)


@write.register
def _(op: Mul, at: int, writer: Writer) -> Value:
    layout, names = _joined(op, at, writer)
    return finished(op, at, writer, writer.builder.add("Mul", names), layout)


@write.register
def _(op: Concat, at: int, writer: Writer) -> Value:
    given, gives, builder = writer.given(at), writer.shapes[at], writer.builder
    layouts = {value.layout for value in given}
    if layouts in ({Layout.SEQUENCE}, {Layout.VECTOR}):
        whole = builder.add(
            "Concat", [value.name for value in given], {"axis": 2 - (Layout.VECTOR in layouts)}
        )
        return finished(op, at, writer, whole, layouts.pop())
    rows = gives.rows if {value.shape.rows for value in given} == {gives.rows} else 1
    names = [writer.image(value, value.shape.size // rows, rows) for value in given]
    return finished(op, at, writer, builder.add("Concat", names, {"axis": 1}), Layout.IMAGE)


@write.register
def _(op: Pick, at: int, writer: Writer) -> Value:
    (value,), gives, builder = writer.given(at), writer.shapes[at], writer.builder
    order = builder.constant(np.array(op.order, np.int32))
    if value.layout in (Layout.SEQUENCE, Layout.VECTOR):
        axis = 2 if value.layout is Layout.SEQUENCE else 1
        return Value(builder.add("Gather", [value.name, order], {"axis": axis}), value.layout, gives)
    flat = writer.image(value, value.shape.size, 1)
    picked = builder.add("Gather", [flat, order], {"axis": 1})
    whole = Value(picked, Layout.IMAGE, Shape(gives.size, 1, gives.moving))
    return Value(writer.image(whole, gives.channels, gives.rows), Layout.IMAGE, gives)


@write.register
def _(op: Last, at: int, writer: Writer) -> Value:
    (value,), builder = writer.given(at), writer.builder
    newest = builder.constant(np.array(-1, np.int64))
    last = builder.add("Gather", [writer.sequence(value), newest], {"axis": 0})
    return Value(last, Layout.VECTOR, writer.shapes[at])


@write.register
def _(op: MeanTime, at: int, writer: Writer) -> Value:
    (value,), builder, timing = writer.given(at), writer.builder, writer.timing
    frames = writer.sequence(value)
    if timing is None:
        return Value(builder.mean(frames, 0), Layout.VECTOR, writer.shapes[at])
    first = timing.first[at]
    heard = writer.masked(frames, 0.0, first, 1)
    last = writer.buffered(f"frames_{at}", Value(heard, Layout.SEQUENCE, value.shape))
    total = builder.add("ReduceSum", [last, builder.integers(0)], {"keepdims": 0})
    # As many as there are, from one to all that are kept.
    heard_of = builder.add("Add", [writer.calls(), builder.real(first + 1)])
    limits = [builder.constant(np.array(limit, np.float32)) for limit in (1, writer.kept)]
    mean = builder.add("Div", [total, builder.add("Clip", [heard_of, *limits])])
    return Value(mean, Layout.VECTOR, writer.shapes[at])


@write.register
def _(op: Attend, at: int, writer: Writer) -> Value:
    (energies, frames), builder, timing = writer.given(at), writer.builder, writer.timing
    weighed, values = writer.sequence(energies), writer.sequence(frames)
    if timing is not None:
        more = f"_{at}" if ENERGIES in writer.states else ""
        weighed = writer.masked(weighed, NO_ENERGY, timing.first[at], 1)
        weighed = writer.buffered(ENERGIES + more, Value(weighed, Layout.SEQUENCE, energies.shape))
        values = writer.buffered(OUTPUTS + more, Value(values, Layout.SEQUENCE, frames.shape))
    share = builder.add("Softmax", [weighed], {"axis": 0})
    weighted = builder.add("Mul", [share, values])
    context = builder.add("ReduceSum", [weighted, builder.integers(0)], {"keepdims": 0})
    return Value(context, Layout.VECTOR, writer.shapes[at])
