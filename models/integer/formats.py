"""What the integers of a program stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from models.integer.ops import Act, Gather, Gives, Gru, Input, Last, Op, Pick, Pool, Program, Rounding

PRE_BITS = 12  # fraction bits of what curves read, int16
GATE_BITS = 15  # of gates and states, int16
ENERGY_BITS = 10  # of energies, int16, in powers of two
LOGIT_BITS = 16  # of logits, int32
WHOLE_BITS = 16  # width of what is made of all of time
LOG2_E = 1.4426950408889634
# Fraction bits and zero point of the quantized log-mel, by activation bits: -21 to 10.8 fit in int8.
INPUT_FORMAT = {8: (3, 40), 16: (10, 0)}
# The least scale of a row: smaller ones half precision does not have without loss.
LEAST_SCALE = 2.0**-14
CURVES = frozenset({Act.TANH, Act.SIGMOID, Act.SILU})


class Format(NamedTuple):
    """What an integer stands for: (integer - zero) * step.

    Attributes:
        step: One unit.
        bits: Width of the signed integer.
        zero: The integer that stands for 0.
    """

    step: float
    bits: int
    zero: int = 0


PRE = Format(2.0**-PRE_BITS, 16)


def formats_of(program: Program, activations: int, steps: Mapping[int, float]) -> tuple[Format, ...]:
    """The format of every value.

    Args:
        program: The operations.
        activations: Bits of what they hand to each other, 8 or 16.
        steps: One unit of the results that have a step of their own.
    """
    found: list[Format] = []
    for at, op in enumerate(program):
        found.append(_format(op, [found[one] for one in op.inputs], activations, steps.get(at, 1.0)))
    return tuple(found)


def state_format(activations: int) -> Format:
    """Of what lies within -1 and 1: states, tanh and sigmoid."""
    return Format(2.0 ** (1 - activations), activations)


def _format(op: Op, given: Sequence[Format], activations: int, step: float) -> Format:
    if isinstance(op, Input):
        bits, zero = INPUT_FORMAT[activations]
        return Format(2.0**-bits, activations, zero)
    if isinstance(op, (Pick, Last)) or (isinstance(op, Pool) and op.largest):
        return given[0]
    if isinstance(op, Gru):
        return state_format(activations)
    if isinstance(op, Gather):
        return Format(given[-1].step * 2.0 ** (given[-1].bits - WHOLE_BITS), WHOLE_BITS)
    assert isinstance(op, Rounding)
    if op.gives is Gives.ENERGY:
        return Format(2.0**-ENERGY_BITS / LOG2_E, 16)
    if op.gives is Gives.LOGITS:
        return Format(2.0**-LOGIT_BITS, 32)
    return state_format(activations) if not op.has_step else Format(step, activations)


def target(op: Rounding, gives: Format) -> Format:
    """What a sum is rounded to: the result's format, or that of what its curve reads."""
    return PRE if op.act in CURVES else gives


def six(gives: Format) -> int:
    """Where ReLU6 ends."""
    return int(min(np.rint(6 / gives.step), 2 ** (gives.bits - 1) - 1))
