"""Low rank (``lr``): matrices become products of two thin ones, trained as such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from compressors.base import Compressor, Phase
from compressors.registry import register
from models.base import ADDED_LATER, KwsModel, ModelSpec
from models.budget import layers_of
from models.errors import ChainError
from models.factored import grus, pointwise
from models.graph.layers import Convolution, Gru, Linear
from models.graph.trace import graph_of
from models.thin import most_rank, sides

# Compressors that know no sparse factors: some would store their zeros, dq leave them in float, and sp finds
# no units to cut.
MOST_RANK = 2**16
DENSE_ONLY = frozenset({"dq", "sq", "qat", "sp"})


@register
@dataclass(frozen=True)
class LowRank(Compressor):
    """Factors the matrices of GRUs, or of linear layers and pointwise convolutions, W = U V, and trains them.

    A student with the base's widths starts from the truncated SVD of the trained base; a narrower one, as
    ``kd`` makes it, from that of fresh layers. The factors are what is counted and saved; of sparse ones
    the weights that are not zero, and saved beside them a bit for every weight. Which weights are zero is
    settled at the start, by size, and stays. The layer that gives the logits is left whole.

    Source: Prabhavalkar et al., "On the Compression of Recurrent Neural Networks with an Application to
    LVCSR Acoustic Modeling for Embedded Speech Recognition", 2016; Kusupati et al., "FastGRNN: A Fast,
    Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network", 2018.

    Attributes:
        rank: Rank of all matrices: a whole number, or below 1 a share of the GRU's width, or of another
            layer's smaller side. Open: a quarter, and with ``sp``, which cuts widths to a quarter, a
            sixteenth.
        input: Rank of the GRU's that read the layer below; 0 keeps them whole, open: ``rank``.
        recurrent: Rank of those that read the state; 0 keeps them whole, open: ``rank``.
        sparsity: Share of the GRU's weights that is zero, the smallest of each factor; 0: none.
        layers: Rank of linear layers and pointwise convolutions; those that it makes no smaller stay whole.
            Open: ``rank`` in a model without a GRU, and 0 beside one.
    """

    token: ClassVar[str] = "lr"
    summary: ClassVar[str] = "low rank: matrices as products of two thin ones"
    phase: ClassVar[Phase] = Phase.SURGERY

    rank: float | None = None
    input: float | None = None
    recurrent: float | None = None
    sparsity: float = 0.0
    layers: float | None = field(default=None, metadata=ADDED_LATER)

    def in_chain(self, tokens: frozenset[str], base: ModelSpec) -> Self:
        """Settles the rank; refuses what knows no sparse factors."""
        for token in sorted(tokens & DENSE_ONLY) if self.sparsity else ():
            raise ChainError(f"{token} knows no sparse factors; use it with lr, or lr:sparsity alone")
        return replace(self, rank=1 / 16 if "sp" in tokens else 0.25) if self.rank is None else self

    def student(self, spec: ModelSpec) -> ModelSpec:
        """The same widths, with factors.

        Raises:
            ChainError: A rank that is no rank, or a model without a layer that gets smaller.
        """
        assert self.rank is not None
        model = layers_of(spec)
        name, recurrent = type(model).__name__, grus(model).values()
        reads, recurs = (self.rank if own is None else own for own in (self.input, self.recurrent))
        others = self.layers
        if not recurrent:
            if (self.input, self.recurrent, self.sparsity) != (None, None, 0):
                raise ChainError(
                    f"lr: {name} has no GRU; give rank or layers, not input, recurrent, sparsity"
                )
            reads, recurs, others = 0, 0, self.rank if others is None else others
        width = min((gru.hidden_size for gru in recurrent), default=0)
        ranks = (_rank("input", reads, width), _rank("recurrent", recurs, width))
        if not any((*ranks, others)):
            raise ChainError("lr: a rank of 0 keeps every matrix whole; give e.g. rank=0.25")
        own = _layer_ranks(model, others) if others else ()
        return replace(
            spec, input_rank=ranks[0], recurrent_rank=ranks[1], sparsity=self.sparsity, layer_ranks=own
        )


def _layer_ranks(model: KwsModel, rank: float) -> tuple[int, ...]:
    """A rank for each linear layer and pointwise convolution; 0 where it makes nothing smaller."""
    layers, last = pointwise(model), _last_layers(model)
    most = {path: 0 if path in last else most_rank(*sides(layer)) for path, layer in layers.items()}
    asked = {path: _rank("layer", rank, min(sides(layer))) for path, layer in layers.items()}
    found = tuple(asked[path] if asked[path] <= most[path] else 0 for path in layers)
    if not any(found):
        raise ChainError(
            f"lr: {type(model).__name__} has no layer that {rank:g} makes smaller; {_hint(most)}"
        )
    return found


def _hint(most: Mapping[str, int]) -> str:
    """What could be factored."""
    possible = ", ".join(f"{path} (1 to {rank})" for path, rank in most.items() if rank)
    if possible:
        return f"a rank as a whole number that does: {possible}"
    return "a GRU could be, or a linear layer or 1x1 convolution that does not give the logits"


def _last_layers(model: KwsModel) -> set[str]:
    """The layers with weights that the logits come from directly."""
    found, waiting = set(), [graph_of(model).logits]
    while waiting:
        node = waiting.pop()
        if isinstance(node.operation, Linear | Convolution | Gru):
            found.add(node.path)
        else:
            waiting += node.inputs
    return found


def _rank(name: str, value: float, width: int) -> int:
    """A rank in whole numbers.

    Examples:
        >>> _rank("input", 0.25, 64), _rank("input", 4, 64)
        (16, 4)
    """
    if value < 0 or (value > 1 and value != round(value)):
        raise ChainError(
            f"lr: {name} rank {value:g} must be a whole number, or between 0 and 1 a share of the width"
        )
    if value > MOST_RANK:
        raise ChainError(f"lr: {name} rank {value:g} is more than any matrix has; at most {MOST_RANK}")
    if value == 0 or value >= 1:
        return round(value)
    return max(1, round(value * width))
