"""Matrices as products of two thin ones, sparse where asked: fewer numbers, fewer products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

Whole = nn.Linear | nn.Conv1d | nn.Conv2d


def most_rank(rows: int, columns: int) -> int:
    """The greatest rank whose two factors hold fewer numbers than the matrix.

    Examples:
        >>> most_rank(36, 12)  # 9 (36 + 12) are as many as 36 x 12
        8
    """
    return (rows * columns - 1) // (rows + columns)


def is_pointwise(layer: nn.Module) -> TypeGuard[Whole]:
    """Whether a layer is one matrix: linear, or a convolution of all channels at one position."""
    if type(layer) is nn.Linear:
        return True
    if type(layer) not in (nn.Conv1d, nn.Conv2d):
        return False
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return layer.groups == 1 and set(layer.kernel_size) == {1}


def sides(layer: Whole) -> tuple[int, int]:
    """The size (out, in) of its matrix."""
    return layer.weight.shape[0], layer.weight.shape[1]


def low_rank(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two factors U (n, rank), V (rank, m) whose product is nearest to a matrix (n, m).

    By the truncated singular value decomposition (Eckart and Young, 1936); the singular values are shared
    out evenly, so that both factors train at the same pace.

    Examples:
        >>> up, down = low_rank(torch.tensor([[2.0, 4.0], [1.0, 2.0]]), rank=1)
        >>> torch.allclose(up @ down, torch.tensor([[2.0, 4.0], [1.0, 2.0]]), atol=1e-6)
        True
    """
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    root = values[:rank].sqrt()
    missing = max(0, rank - len(root))  # beyond the smaller side there is nothing left to say
    up, down = left[:, :rank] * root, root[:, None] * right[:rank]
    return functional.pad(up, (0, missing)), functional.pad(down, (0, 0, 0, missing))


class SparseLinear(nn.Module):
    """``nn.Linear`` of which a share of the weights is zero for good: the smallest when it was filled.

    Trained, counted and saved are the others, and a bitmap of where they stand.

    Attributes:
        values: The weights that are not zero, row by row, shape (1, n): a matrix, as their bytes are payload.
        bitmap: One bit a weight, row by row, the first in the lowest bit; uint8, shape (1, out * in / 8).
        bias: Shape (out,); None without one.
    """

    bitmap: Tensor

    def __init__(self, inputs: int, outputs: int, sparsity: float, *, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        count = inputs * outputs
        self.values = nn.Parameter(torch.zeros(1, max(1, round((1 - sparsity) * count))))
        self.register_buffer("bitmap", torch.zeros(1, -(-count // 8), dtype=torch.uint8))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @property
    def weight(self) -> Tensor:
        """With its zeros, shape (out, in); gradients reach the values."""
        count = self.in_features * self.out_features
        mask = (
            (self.bitmap.view(-1, 1) >> torch.arange(8, device=self.bitmap.device))
            .bitwise_and(1)
            .flatten()[:count]
            .bool()
        )
        dense = self.values.new_zeros(count).masked_scatter(mask, self.values)
        return dense.view(self.out_features, self.in_features)

    def fill(self, weight: Tensor) -> None:
        """Takes the weights of a matrix (out, in) that are largest in size, and forgets the others."""
        flat = weight.detach().flatten()
        kept = flat.abs().topk(self.values.numel()).indices.sort().values
        bits = torch.zeros(8 * self.bitmap.numel(), dtype=torch.uint8)
        bits[kept] = 1
        with torch.no_grad():
            self.values.copy_(flat[kept].view(1, -1))
        self.bitmap.copy_((bits.view(-1, 8) << torch.arange(8)).sum(1).view(1, -1))

    def forward(self, inputs: Tensor) -> Tensor:
        """As ``nn.Linear``."""
        return functional.linear(inputs, self.weight, self.bias)


class Factors(nn.Sequential):
    """Two thin layers in place of one, W = U V: first V, without a bias, then U.

    They are linear layers, or pointwise convolutions, of which the first steps and pads as the one did.

    Args:
        down: V, (rank, in).
        up: U, (out, rank).
    """

    def __init__(self, down: nn.Module, up: nn.Module) -> None:
        super().__init__(down, up)

    @classmethod
    def like(cls, layer: Whole, rank: int) -> Factors:
        """Factors with the sizes of a layer, and none of its weights yet."""
        bias = layer.bias is not None
        if isinstance(layer, nn.Linear):
            down: nn.Module = nn.Linear(layer.in_features, rank, bias=False)
            return cls(down, nn.Linear(rank, layer.out_features, bias))
        kind: Any = type(layer)
        moves = {"stride": layer.stride, "padding": layer.padding, "padding_mode": layer.padding_mode}
        down = kind(layer.in_channels, rank, layer.kernel_size, bias=False, **moves)
        return cls(down, kind(rank, layer.out_channels, 1, bias=bias))

    def load_whole(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights of the one layer, cut to the rank by a truncated SVD."""
        fill(self, weights["weight"], weights.get("bias"))

    def whole_weights(self) -> dict[str, Tensor]:
        """The weights of the one layer that computes the same."""
        up = linears(self)[-1]
        weight = product(self).detach()
        weights = {"weight": weight.view(*weight.shape, *up.weight.shape[2:]).clone()}
        return weights if up.bias is None else weights | {"bias": up.bias.detach().clone()}


def thin_linear(inputs: int, outputs: int, rank: int, sparsity: float) -> nn.Module:
    """A linear layer as two factors of a rank, or as itself where that is 0; sparse where asked."""
    if not rank:
        return _linear(inputs, outputs, sparsity)
    return Factors(_linear(inputs, rank, sparsity, bias=False), _linear(rank, outputs, sparsity))


def _linear(inputs: int, outputs: int, sparsity: float, *, bias: bool = True) -> nn.Module:
    if not sparsity:
        return nn.Linear(inputs, outputs, bias)
    return SparseLinear(inputs, outputs, sparsity, bias=bias)


def linears(matrix: nn.Module) -> list[Any]:
    """A matrix's factors, first to last; converted ones have another type but the same place."""
    return list(matrix.children()) if isinstance(matrix, nn.Sequential) else [matrix]


def product(matrix: nn.Module) -> Tensor:
    """The matrix (out, in) that the factors come to."""
    *down, up = (linear.weight.flatten(1) for linear in linears(matrix))
    return torch.mm(up, down[0]) if down else torch.as_tensor(up)


def fill(matrix: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Gives a matrix, factored or not, the weights (out, in) that are nearest to the given ones."""
    *down, up = linears(matrix)
    with torch.no_grad():
        if down:
            weight, right = low_rank(weight.flatten(1), len(down[0].weight))
            _fill_one(down[0], right)
        _fill_one(up, weight)
        if bias is not None:
            up.bias.copy_(bias)


def _fill_one(linear: Any, weight: Tensor) -> None:
    if isinstance(linear, SparseLinear):
        linear.fill(weight)
    else:
        linear.weight.copy_(weight.view_as(linear.weight))
