"""Low rank (``lr``): the GRU's matrices become products of two thin ones, trained as such."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from compressors.base import Compressor, Phase
from compressors.registry import register
from models.base import ModelSpec
from models.crnn import CrnnSpec
from models.errors import ChainError

# Compressors that quantize whole GRU matrices and know no factors.
WHOLE_ONLY = frozenset({"qat", "sq"})
# Compressors that know no sparse factors: one would leave them in float, the other finds no units to cut.
DENSE_ONLY = frozenset({"dq", "sp"})


@register
@dataclass(frozen=True)
class LowRank(Compressor):
    """Factors the matrices of the GRU, W = U V, and trains the factors.

    A student with the base's widths starts from the truncated SVD of the trained base; a narrower one, as
    ``kd`` makes it, from that of a fresh GRU. The factors are what is counted and saved; of sparse ones
    the weights that are not zero, and saved beside them a bit for every weight. Which weights are zero is
    settled at the start, by size, and stays.

    Source: Prabhavalkar et al., "On the Compression of Recurrent Neural Networks with an Application to
    LVCSR Acoustic Modeling for Embedded Speech Recognition", 2016; Kusupati et al., "FastGRNN: A Fast,
    Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network", 2018.

    Attributes:
        rank: Rank of all matrices: a whole number, or below 1 a share of the GRU's width. Open: a quarter,
            and with ``sp``, which cuts that width to a quarter, a sixteenth.
        input: Rank of those that read the layer below; 0 keeps them whole, open: ``rank``.
        recurrent: Rank of those that read the state; 0 keeps them whole, open: ``rank``.
        sparsity: Share of the GRU's weights that is zero, the smallest of each factor; 0: none.
    """

    token: ClassVar[str] = "lr"
    summary: ClassVar[str] = "low rank: GRU matrices as products of two thin ones"
    phase: ClassVar[Phase] = Phase.SURGERY

    rank: float | None = None
    input: float | None = None
    recurrent: float | None = None
    sparsity: float = 0.0

    def in_chain(self, tokens: frozenset[str], base: ModelSpec) -> Self:
        """Settles the rank; refuses what knows no factors, or no sparse ones."""
        for token in sorted(tokens & WHOLE_ONLY):
            raise ChainError(
                f"{token} quantizes whole GRU matrices and lr leaves none; use dq after lr, or {token} alone"
            )
        for token in sorted(tokens & DENSE_ONLY) if self.sparsity else ():
            raise ChainError(f"{token} knows no sparse factors; use it with lr, or lr:sparsity alone")
        return replace(self, rank=1 / 16 if "sp" in tokens else 0.25) if self.rank is None else self

    def student(self, spec: ModelSpec) -> ModelSpec:
        """The same widths, with factors.

        Raises:
            ChainError: A rank that is no rank, or a model without a GRU that can be factored.
        """
        if not isinstance(spec, CrnnSpec):
            raise ChainError(f"lr: {type(spec).__name__} has no GRU that can be factored; crnn has")
        assert self.rank is not None
        reads, recurs = (self.rank if own is None else own for own in (self.input, self.recurrent))
        ranks = (_rank("input", reads, spec.hidden), _rank("recurrent", recurs, spec.hidden))
        if not any(ranks):
            raise ChainError("lr: a rank of 0 keeps every matrix whole; give e.g. rank=0.25")
        return replace(spec, input_rank=ranks[0], recurrent_rank=ranks[1], sparsity=self.sparsity)


def _rank(name: str, value: float, hidden: int) -> int:
    """A rank in whole numbers.

    Example:
        >>> _rank("input", 0.25, 64), _rank("input", 4, 64)
        (16, 4)
    """
    if value < 0 or (value > 1 and value != round(value)):
        raise ChainError(
            f"lr: {name} rank {value:g} must be a whole number, or between 0 and 1 a share of the width"
        )
    if value == 0 or value >= 1:
        return round(value)
    return max(1, round(value * hidden))
