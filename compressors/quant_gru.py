"""A GRU whose weights and activations can be rounded on the way: what torch has for LSTM only."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.graph.layers import Gru
from models.graph.ops import operation

Round = Callable[[Tensor], Tensor]


def as_it_is(values: Tensor) -> Tensor:
    """Rounds nothing."""
    return values


class QuantGRU(nn.Module):
    """``nn.GRU`` with ``batch_first``, parameter by parameter and step by step, and places to round at.

    Without rounding it gives what ``nn.GRU`` gives. All projections of the input are one product for each
    layer, so a step costs one product of (B, H) and a few operations on (B, H).

    Args:
        inputs: Width of the input.
        hidden: Width H of the state.
        layers: Stacked layers.
        dropout: Between layers, in training.
        weight: Rounds a matrix (3 H, in), given its name such as ``weight_hh_l0``.
        pre: Rounds projections, before the gates.
        state: Rounds a state as matrices read it; the state itself is kept as it is.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        layers: int,
        dropout: float = 0.0,
        *,
        weight: Callable[[str, Tensor], Tensor] = lambda name, matrix: matrix,
        pre: Round = as_it_is,
        state: Round = as_it_is,
    ) -> None:
        super().__init__()
        self.hidden, self.layers, self.dropout = hidden, layers, dropout
        self._weight, self._pre, self._state = weight, pre, state
        bound = 1 / math.sqrt(hidden)
        for layer in range(layers):
            for name, shape in (
                ("weight_ih", (3 * hidden, hidden if layer else inputs)),
                ("weight_hh", (3 * hidden, hidden)),
                ("bias_ih", (3 * hidden,)),
                ("bias_hh", (3 * hidden,)),
            ):
                parameter = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
                self.register_parameter(f"{name}_l{layer}", parameter)

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames (B, T', in) and a first state (layers, B, H) -> rounded states (B, T', H), last state."""
        last = []
        for layer in range(self.layers):
            first = inputs.new_zeros(len(inputs), self.hidden) if hidden is None else hidden[layer]
            if layer:
                inputs = functional.dropout(inputs, self.dropout, self.training)
            inputs, state = self._run(layer, inputs, first)
            last.append(state)
        return inputs, torch.stack(last)

    def _run(self, layer: int, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One layer over all frames."""
        ih, hh = (self._matrix(f"weight_{side}_l{layer}") for side in ("ih", "hh"))
        bias_ih, bias_hh = (self.get_parameter(f"bias_{side}_l{layer}") for side in ("ih", "hh"))
        # r and z have one bias in all, with the input, as the integer model has it.
        gates = 2 * self.hidden
        merged = torch.cat([bias_ih[:gates] + bias_hh[:gates], bias_ih[gates:]])
        bias_new = torch.cat([torch.zeros_like(bias_hh[:gates]), bias_hh[gates:]])
        projected = self._pre(functional.linear(inputs, ih, merged)).unbind(1)
        hh, read, outputs = hh.t(), self._state(state), []
        for frame in projected:
            before = self._pre(torch.addmm(bias_new, read, hh))
            reset, update = torch.sigmoid(frame[:, :gates] + before[:, :gates]).chunk(2, 1)
            new = torch.tanh(torch.addcmul(frame[:, gates:], reset, before[:, gates:]))
            state = torch.lerp(new, state, update)
            read = self._state(state)
            outputs.append(read)
        return torch.stack(outputs, 1), state

    def _matrix(self, name: str) -> Tensor:
        return self._weight(name, self.get_parameter(name))


operation(QuantGRU)(Gru)
