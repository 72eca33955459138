"""Integer models with random weights, small ones that hold every operation; for tests of what runs them."""

from __future__ import annotations

import numpy as np

from models.integer.model import CURVES, IntegerModel, Quantized, formats_of, state_format
from models.integer.ops import (
    Act,
    Add,
    Attend,
    Concat,
    Conv,
    Gives,
    Gru,
    Input,
    Last,
    MeanTime,
    Mul,
    Pick,
    Pool,
    Program,
    shapes_of,
)

MELS = 40


def filled(program: Program, activations: int = 8, bits: int = 8, seed: int = 0) -> IntegerModel:
    """A model of those operations; scales make its sums fill their formats."""
    rng = np.random.default_rng(seed)
    shapes, top = shapes_of(program), 2 ** (bits - 1) - 1
    size, loud = (0.05, 30) if activations == 8 else (0.0002, 7500)
    steps = {at: np.float16(size * rng.uniform(0.5, 2)) for at, op in enumerate(program) if op.has_step}
    formats = formats_of(program, activations, {at: float(one) for at, one in steps.items()})
    tensors = []
    for at, op in enumerate(program):
        own = []
        for one in op.matrices([shapes[each] for each in op.inputs]):
            reads = state_format(activations) if one.name.startswith("hh") else formats[op.inputs[0]]
            full = loud * formats[at].step
            wide = 2.0 if isinstance(op, Gru) or getattr(op, "act", 0) in CURVES else full
            wide = 2.0 if getattr(op, "gives", 0) else wide
            weight = rng.integers(-top, top + 1, (one.rows, one.columns)).astype(np.int8)
            typical = reads.step * 2 ** (reads.bits - 3) * top * np.sqrt(one.columns)
            scale = (wide / typical * rng.uniform(0.5, 2, one.rows)).clip(2.0**-14).astype(np.float16)
            bias = (wide * rng.uniform(-0.5, 0.5, one.rows)).astype(np.float16) if one.biased else None
            own.append(Quantized(bits, weight, scale, bias))
        tensors.append(tuple(own))
    return IntegerModel(program, activations, steps, tuple(tensors))


def _logits(program: Program) -> Program:
    return (*program, Conv(inputs=(len(program) - 1,), rows=1, channels=2, gives=Gives.LOGITS))


# Convolution, GRU, attention: what the reference family is.
ATTENTION: Program = _logits(
    (
        Input(mels=MELS),
        Conv(inputs=(0,), channels=2, kernel_mel=5, kernel_time=20, stride_mel=2, stride_time=8),
        Gru(inputs=(1,), hidden=10),
        Gru(inputs=(2,), hidden=10),
        Conv(inputs=(3,), channels=10, act=Act.TANH),
        Conv(inputs=(4,), channels=1, gives=Gives.ENERGY),
        Attend(inputs=(5, 3)),
    )
)
# An image: a padded stem, depthwise and pointwise, means over mel and time.
DEPTHWISE: Program = _logits(
    (
        Input(mels=MELS),
        Conv(
            inputs=(0,),
            channels=6,
            kernel_mel=10,
            kernel_time=4,
            stride_mel=2,
            stride_time=2,
            above=4,
            below=4,
            before=1,
            after=2,
            act=Act.RELU,
        ),
        Conv(
            inputs=(1,),
            channels=6,
            kernel_mel=3,
            kernel_time=3,
            above=1,
            below=1,
            before=1,
            after=1,
            groups=0,
            act=Act.RELU6,
        ),
        Conv(inputs=(2,), channels=5, act=Act.RELU),
        Pool(inputs=(3,), kernel_mel=20),
        MeanTime(inputs=(4,)),
    )
)
# Mel bands as channels: strides, a shortcut that waits, a sum.
RESIDUAL: Program = _logits(
    (
        Input(mels=MELS),
        Conv(inputs=(0,), rows=1, channels=6, kernel_time=3, before=1, after=1, act=Act.RELU),
        Conv(inputs=(1,), channels=7, kernel_time=9, stride_time=2, before=4, after=4, act=Act.RELU),
        Conv(inputs=(2,), channels=7, kernel_time=9, before=4, after=4),
        Conv(inputs=(1,), channels=7, stride_time=2, act=Act.RELU),
        Add(inputs=(3, 4), act=Act.RELU),
        MeanTime(inputs=(5,)),
    )
)
# Dilations, groups, a mean over rows that is added back, curves, products, parts, a pool.
SPLIT: Program = _logits(
    (
        Input(mels=MELS),
        Conv(
            inputs=(0,),
            channels=4,
            kernel_mel=3,
            stride_mel=2,
            above=1,
            below=1,
            kernel_time=3,
            before=1,
            after=1,
            act=Act.RELU,
        ),
        Conv(inputs=(1,), rows=4, channels=20, groups=0, biased=True),
        Pool(inputs=(2,), rows=20, kernel_mel=20),
        Conv(
            inputs=(3,), channels=4, kernel_time=3, dilation_time=2, before=2, after=2, groups=0, act=Act.SILU
        ),
        Conv(inputs=(4,), channels=4, groups=2, biased=False),
        Add(inputs=(2, 5), rows=20, channels=4, act=Act.RELU),
        Conv(inputs=(6,), channels=4, kernel_mel=3, dilation_mel=2, act=Act.SIGMOID),
        Conv(inputs=(6,), channels=4, kernel_mel=5, act=Act.TANH),
        Mul(inputs=(7, 8)),
        Pool(inputs=(9,), kernel_mel=2, stride_mel=2, kernel_time=3, before=1, after=1, largest=True),
        Pool(inputs=(10,), kernel_mel=2, stride_mel=2, kernel_time=2, stride_time=2, act=Act.SILU),
        Pick(inputs=(11,), order=tuple(c * 4 + r for r in range(3) for c in range(4)), rows=4),
        Concat(inputs=(12, 11), act=Act.RELU6),
        Add(inputs=(13, 13), minus=2, act=Act.SIGMOID),
        Concat(inputs=(14, 12)),
        MeanTime(inputs=(15,)),
    )
)
# A causal convolution, a factored GRU, the last frame beside attention.
CAUSAL: Program = _logits(
    (
        Input(mels=MELS),
        Conv(inputs=(0,), rows=1, channels=6, kernel_time=3, dilation_time=2, before=4, act=Act.TANH),
        Conv(inputs=(1,), channels=3, biased=False),
        Gru(inputs=(2,), hidden=5, rank=2),
        Conv(inputs=(3,), channels=1),
        Add(inputs=(4,), gives=Gives.ENERGY),
        Attend(inputs=(5, 3)),
        Last(inputs=(3,)),
        Concat(inputs=(6, 7), act=Act.TANH),
        Mul(inputs=(8, 8), channels=10, rows=1, act=Act.SILU),
        Conv(inputs=(9,), channels=10, act=Act.RELU),
    )
)
# Every operation on the input as it is, whose 0 is not the number 0.
DIRECT: Program = _logits(
    (
        Input(mels=MELS),
        Pick(inputs=(0,), order=(0, 5, 5, 10, 39, 20, 25, 30), rows=4),
        Pool(inputs=(1,), kernel_mel=2, above=1, kernel_time=2, before=1, largest=True),
        Pool(inputs=(0,), kernel_mel=7, stride_mel=5, above=2, kernel_time=2, before=1),
        Conv(inputs=(1,), rows=1, channels=1, gives=Gives.ENERGY),
        Attend(inputs=(4, 2)),
        Mul(inputs=(1, 2)),
        Add(inputs=(1, 2, 6), minus=1),
        Concat(inputs=(7, 1)),
        MeanTime(inputs=(8,)),
        MeanTime(inputs=(2,)),
        Gru(inputs=(0,), hidden=3),
        Last(inputs=(11,)),
        Last(inputs=(0,)),
        MeanTime(inputs=(3,)),
        Concat(inputs=(5, 9, 10, 12, 13, 14)),
    )
)
PROGRAMS: dict[str, Program] = {
    "attention": ATTENTION,
    "depthwise": DEPTHWISE,
    "residual": RESIDUAL,
    "split": SPLIT,
    "causal": CAUSAL,
    "direct": DIRECT,
}
