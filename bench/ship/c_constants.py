"""What the C code holds beside its functions, and how an operation's memory lies in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.ship.c_numbers import Kind
from models.integer.model import Format, IntegerModel
from models.integer.ops import Act, Pool, Window

# The part of ``kws_layers.c`` that an activation needs.
PARTS = {
    Act.RELU: "relu",
    Act.RELU6: "relu6",
    Act.TANH: "act_tanh",
    Act.SIGMOID: "act_sigmoid",
    Act.SILU: "silu",
}


@dataclass
class Constants:
    """What the C code holds beside its functions.

    Attributes:
        structures: The text of the constants.
        parts: Parts of ``kws_layers.c`` that are used.
        asked: Kinds, and the bits of each that are asked for.
        silu: Multiplier and shift of each SiLU.
        weight, scale: Of all matrices.
        starts: Where those of an operation begin, and where they end.
        piece, hidden, rank: The largest of their kind.
        wide_sums: Whether a sum of joined values needs 64 bits.
        reach: How large a number that attention sums can be.
    """

    structures: list[str] = field(default_factory=list)
    parts: set[str] = field(default_factory=lambda: {"always"})
    asked: list[tuple[int, Kind]] = field(default_factory=list)
    silu: list[tuple[int, int]] = field(default_factory=list)
    weight: bytearray = field(default_factory=bytearray)
    scale: list[int] = field(default_factory=list)
    starts: dict[int, tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=dict)
    piece: int = 0
    hidden: int = 0
    rank: int = 0
    wide_sums: bool = False
    reach: int = 0

    def ask(self, kind: int, bits: Kind) -> int:
        """Notes that code asks for these bits of a kind, and gives the kind."""
        self.asked.append((kind, bits))
        return kind

    def always(self) -> tuple[int, int]:
        """The bits that all have that are asked for them, and those that any has."""
        every = [bit for bit in Kind if bit]
        have = {bit: [bool(kind & bit) for kind, bits in self.asked if bits & bit] for bit in every}
        return (
            sum(bit for bit in every if have[bit] and all(have[bit])),
            sum(bit for bit in every if any(have[bit])),
        )


def reads(model: IntegerModel, form: Format) -> Kind:
    """How wide what is read is, beside other values."""
    return width(model, form.bits, Kind.READS_16, Kind.READS_32)


def width(model: IntegerModel, bits: int, half: Kind, whole: Kind) -> Kind:
    """The bit of a width; none where it is that of activations."""
    return Kind.NONE if bits == model.activations else half if bits == 16 else whole


def unchanged(model: IntegerModel, form: Format) -> int:
    """The kind of what gives numbers as it reads them."""
    return int(reads(model, form) | width(model, form.bits, Kind.GIVES_16, Kind.GIVES_32))


def is_kept(op: Window) -> bool:
    """Whether its window is kept in the state: it spans several frames, or has rows of padding."""
    return op.span_time > 1 or op.above > 0 or op.below > 0


def fill_of(model: IntegerModel, at: int) -> int:
    """What stands for padding: the zero point, or what is never the largest."""
    op, form = model.program[at], model.formats[model.program[at].inputs[0]]
    return -(2 ** (form.bits - 1)) if isinstance(op, Pool) and op.largest else form.zero


def one_piece(taps: Mapping[str, int]) -> bool:
    """Whether what one result reads lies in memory in the order of the weights."""
    sizes, steps = [
        [taps[name] for name in names]
        for names in (("channels", "mels", "times"), ("by_channel", "by_mel", "by_time"))
    ]
    expected = 1
    for size, step in zip(reversed(sizes), reversed(steps), strict=True):
        if size > 1 and step != expected:
            return False
        expected *= size
    return True


def strides(order: Sequence[int]) -> tuple[int, int, int, int] | None:
    """An order as two loops, (outer, by_outer, inner, by_inner); None where it is none.

    Examples:
        >>> strides((0, 4, 8, 1, 5, 9)), strides((7, 6, 5)), strides((0, 3, 4))
        ((2, 1, 3, 4), (1, 0, 3, -1), None)
    """
    found: npt.NDArray[np.int64] = np.array(order)
    steps = np.diff(found)
    inner = int(np.argmax(steps != steps[0])) + 1 if len(steps) and (steps != steps[0]).any() else len(order)
    if len(order) % inner:
        return None
    by_inner = int(steps[0]) if inner > 1 else 0
    table = found.reshape(-1, inner)
    by_outer = int(table[1, 0] - table[0, 0]) if len(table) > 1 else 0
    made = table[0, 0] + np.arange(len(table))[:, None] * by_outer + np.arange(inner) * by_inner
    return (len(table), by_outer, inner, by_inner) if (made == table).all() else None
