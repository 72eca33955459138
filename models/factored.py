"""A GRU whose matrices are products of two thin ones, sparse where asked: fewer numbers, fewer products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        mask = (self.bitmap.view(-1, 1) >> torch.arange(8)).bitwise_and(1).flatten()[:count].bool()
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


class FactoredGru(nn.Module):
    """``nn.GRU`` with W = U V of low rank, batch first; step for step the same function as with the product.

    Torch's fused kernel runs on the product of the recurrent factors, made once a call, because a step of
    its own for each frame is ten times slower there; a device computes V h and then U of it, which is what
    ``macs_per_frame`` counts. Once the linear layers are converted, each frame is a step over them.

    Source: Prabhavalkar et al., "On the Compression of Recurrent Neural Networks with an Application to
    LVCSR Acoustic Modeling for Embedded Speech Recognition", 2016; Kusupati et al., "FastGRNN", 2018, of
    whose sparse factors this has the last phase, training on a support that stays.

    Attributes:
        input: W of each layer, (3H, I), gates r, z, n.
        recurrent: The matrix that reads the state, (3H, H).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        input_rank: int,
        recurrent_rank: int,
        sparsity: float,
        dropout: float,
    ) -> None:
        """Starts from the SVD of a GRU as torch initialises it; a rank of 0 keeps a matrix whole.

        ``sparsity`` is the share of each factor, or whole matrix, that is zero.
        """
        super().__init__()
        gates, widths = 3 * hidden_size, [input_size] + [hidden_size] * (num_layers - 1)
        self.hidden_size, self.num_layers, self.dropout = hidden_size, num_layers, dropout
        self.input = nn.ModuleList(_matrix(width, gates, input_rank, sparsity) for width in widths)
        self.recurrent = nn.ModuleList(_matrix(hidden_size, gates, recurrent_rank, sparsity) for _ in widths)
        # On the meta device, where only sizes are asked for, there is nothing to fill.
        if not any(parameter.is_meta for parameter in self.parameters()):
            self.load_whole(nn.GRU(input_size, hidden_size, num_layers).state_dict())

    def load_whole(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights of an ``nn.GRU`` of this size, cut to the ranks by a truncated SVD."""
        for name, matrices in (("ih", self.input), ("hh", self.recurrent)):
            for layer, matrix in enumerate(matrices):
                *down, up = _linears(matrix)
                weight = weights[f"weight_{name}_l{layer}"]
                with torch.no_grad():
                    if down:
                        left, right = low_rank(weight, down[0].out_features)
                        _fill(down[0], right)
                        weight = left
                    _fill(up, weight)
                    up.bias.copy_(weights[f"bias_{name}_l{layer}"])

    def whole_weights(self) -> dict[str, Tensor]:
        """The weights of the ``nn.GRU`` that computes the same."""
        weights = {}
        for name, matrices in (("ih", self.input), ("hh", self.recurrent)):
            for layer, matrix in enumerate(matrices):
                weights[f"weight_{name}_l{layer}"] = _product(matrix).detach().clone()
                weights[f"bias_{name}_l{layer}"] = _linears(matrix)[-1].bias.detach().clone()
        return weights

    def input_factors(self) -> list[tuple[Tensor, Tensor]]:
        """U (3H, rank) and V (rank, I) of each layer's ``input``; empty where those are whole."""
        factors = [_linears(matrix) for matrix in self.input]
        return [(pair[1].weight.detach(), pair[0].weight.detach()) for pair in factors if len(pair) == 2]

    @property
    def macs_per_frame(self) -> int:
        """Products and biases of the factors, without those with zeros that are known ahead, and 7
        element-wise steps a unit, as ptflops counts a GRU.
        """
        linears = [linear for matrix in (*self.input, *self.recurrent) for linear in _linears(matrix)]
        products = sum(
            int((linear.values if isinstance(linear, SparseLinear) else linear.weight).numel())
            for linear in linears
        )
        return products + (6 + 7) * self.hidden_size * self.num_layers

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ``nn.GRU``: inputs (B, T, I), state (layers, B, H) -> outputs (B, T, H), the next state."""
        if hidden is None:
            hidden = inputs.new_zeros(self.num_layers, inputs.shape[0], self.hidden_size)
        own = (nn.Linear, SparseLinear)
        converted = any(type(linear) not in own for linear in _linears(self.recurrent[0]))
        run = self._stepped if converted else self._fused
        last = []
        for layer, state in enumerate(hidden.unbind(0)):
            if layer:
                inputs = functional.dropout(inputs, self.dropout, self.training)
            inputs, state = run(layer, inputs, state)
            last.append(state)
        return inputs, torch.stack(last)

    def _fused(self, layer: int, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One layer by torch's kernel."""
        *down, up = _linears(self.input[layer])
        recurrent = self.recurrent[layer]
        for thin in down:
            inputs = thin(inputs)
        weights = [up.weight, _product(recurrent), up.bias, _linears(recurrent)[-1].bias]
        outputs, last = torch.gru(
            inputs, state.unsqueeze(0), weights, True, 1, 0.0, self.training, False, True
        )
        return outputs, last.squeeze(0)

    def _stepped(self, layer: int, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One layer frame by frame, through whatever its linear layers have become."""
        outputs = []
        for frame in inputs.unbind(1):
            in_r, in_z, in_n = self.input[layer](frame).chunk(3, -1)
            rec_r, rec_z, rec_n = self.recurrent[layer](state).chunk(3, -1)
            update = torch.sigmoid(in_z + rec_z)
            candidate = torch.tanh(in_n + torch.sigmoid(in_r + rec_r) * rec_n)
            state = candidate + update * (state - candidate)
            outputs.append(state)
        return torch.stack(outputs, 1), state


def low_rank(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two factors U (n, rank), V (rank, m) whose product is nearest to a matrix (n, m).

    By the truncated singular value decomposition (Eckart and Young, 1936); the singular values are shared
    out evenly, so that both factors train at the same pace.

    Example:
        >>> up, down = low_rank(torch.tensor([[2.0, 4.0], [1.0, 2.0]]), rank=1)
        >>> torch.allclose(up @ down, torch.tensor([[2.0, 4.0], [1.0, 2.0]]), atol=1e-6)
        True
    """
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def _matrix(inputs: int, outputs: int, rank: int, sparsity: float) -> nn.Module:
    if not rank:
        return _linear(inputs, outputs, sparsity)
    return nn.Sequential(_linear(inputs, rank, sparsity, bias=False), _linear(rank, outputs, sparsity))


def _linear(inputs: int, outputs: int, sparsity: float, *, bias: bool = True) -> nn.Module:
    if not sparsity:
        return nn.Linear(inputs, outputs, bias)
    return SparseLinear(inputs, outputs, sparsity, bias=bias)


def _fill(linear: Any, weight: Tensor) -> None:
    if isinstance(linear, SparseLinear):
        linear.fill(weight)
    else:
        linear.weight.copy_(weight)


def _linears(matrix: nn.Module) -> list[Any]:
    """A matrix's factors, first to last; converted ones have another type but the same place."""
    return list(matrix.children()) if isinstance(matrix, nn.Sequential) else [matrix]


def _product(matrix: nn.Module) -> Tensor:
    *down, up = (linear.weight for linear in _linears(matrix))
    return torch.mm(up, down[0]) if down else torch.as_tensor(up)
