"""A ``Crnn`` that rounds in float as the integer model does in integers, and learns through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressors.quant_gru import QuantGRU
from models.crnn import Crnn, CrnnSpec
from models.integer import GATES, INPUT_FORMAT, PRE_BITS

LEAST_SCALE = 2.0**-14


def fake_rows(weight: Tensor, bits: int) -> Tensor:
    """Each row rounded to its own scale in half precision; gradients pass as if it were not.

    Args:
        weight: Shape (out, ...).
        bits: Width of an integer.
    """
    top = 2 ** (bits - 1) - 1
    scale = (weight.detach().flatten(1).abs().amax(1) / top).clamp_min(LEAST_SCALE).half().float()
    zero = torch.zeros_like(scale, dtype=torch.int32)
    rounded: Tensor = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -top, top)
    return rounded


def fake_fixed(values: Tensor, step: float, bits: int, zero: int = 0) -> Tensor:
    """Rounded to multiples of a step and limited to signed integers; gradients pass within the limits."""
    low = -(2 ** (bits - 1))
    rounded: Tensor = torch.fake_quantize_per_tensor_affine(values, step, zero, low, -low - 1)
    return rounded


class QuantLinear(nn.Linear):
    """A linear layer with rounded weights."""

    def __init__(self, inputs: int, outputs: int, bits: int) -> None:
        super().__init__(inputs, outputs)
        self.bits = bits

    def forward(self, input: Tensor) -> Tensor:
        """See the base class."""
        return functional.linear(input, fake_rows(self.weight, self.bits), self.bias)


class QuantConv2d(nn.Conv2d):
    """A convolution of rounded weights, from and to rounded numbers."""

    def __init__(self, spec: CrnnSpec, bits: int, activations: int, step: Callable[[], float]) -> None:
        super().__init__(1, spec.channels, spec.kernel, spec.stride)
        self.bits, self.activations, self.step = bits, activations, step

    def forward(self, input: Tensor) -> Tensor:
        """See the base class."""
        bits, zero = INPUT_FORMAT[self.activations]
        heard = fake_fixed(input, 2.0**-bits, self.activations, zero)
        frames = functional.conv2d(heard, fake_rows(self.weight, self.bits), self.bias, self.stride)
        return fake_fixed(frames, self.step(), self.activations)


class QuantTanh(nn.Tanh):
    """tanh as the next matrix reads it."""

    def __init__(self, activations: int) -> None:
        super().__init__()
        self.activations = activations

    def forward(self, input: Tensor) -> Tensor:
        """See the base class."""
        return fake_fixed(torch.tanh(input), 2.0 ** (1 - self.activations), self.activations)


class QuantCrnn(Crnn):
    """Crnn in training for the integer model: the same parameters under the same names, rounded in use.

    Attributes:
        widths: Bits of each matrix, by the names of ``IntegerSpec.shapes``.
        activations: Bits of what layers read.
        conv_step: One unit of the convolution's output; a buffer, so that it is saved with the weights.
    """

    conv_step: Tensor

    def __init__(self, spec: CrnnSpec, widths: Mapping[str, int], activations: int, conv_step: float) -> None:
        super().__init__(spec)
        self.widths, self.activations = dict(widths), activations
        # A half, as the file stores it.
        self.register_buffer("conv_step", torch.tensor(conv_step).half().float())
        self.conv = QuantConv2d(spec, widths["conv"], activations, self._conv_step)
        self.add_module("gru", self._rounding_gru(self.gru.dropout))
        inner = QuantLinear(spec.hidden, spec.attention_width, widths["attention.inner"])
        energy = QuantLinear(spec.attention_width, 1, widths["attention.energy"])
        self.attention = nn.Sequential(inner, QuantTanh(activations), energy)
        self.classifier = QuantLinear(spec.hidden, spec.n_classes, widths["classifier"])

    def _rounding_gru(self, dropout: float) -> QuantGRU:
        spec, bits = self.spec, self.activations
        return QuantGRU(
            spec.channels * spec.mel_rows,
            spec.hidden,
            spec.layers,
            dropout,
            weight=self._gates,
            pre=lambda values: fake_fixed(values, 2.0**-PRE_BITS, 16),
            state=lambda values: fake_fixed(values, 2.0 ** (1 - bits), bits),
        )

    def _gates(self, name: str, matrix: Tensor) -> Tensor:
        side, layer = name.split("_")[1], name.split("_l")[1]
        bits = [self.widths[f"gru.{layer}.{side}.{gate}"] for gate in GATES]
        if len(set(bits)) == 1:
            return fake_rows(matrix, bits[0])
        return torch.cat([fake_rows(part, width) for part, width in zip(matrix.chunk(3), bits, strict=True)])

    def _conv_step(self) -> float:
        return self.conv_step.item()

    def float_form(self) -> Crnn:
        """The same weights, not rounded, in ordinary layers."""
        with torch.random.fork_rng(devices=[]):
            plain = Crnn(self.spec)
        weights = self.state_dict()
        del weights["conv_step"]
        plain.load_state_dict(weights)
        return plain.train(self.training)
