"""The integer model: what ships, in NumPy, with the arithmetic that every other runtime repeats bit for bit.

``docs/integer-model.md`` says the same in prose. Everything between the quantized input and the logits is
integers; products are summed in double precision below, which is exact as long as no sum reaches 2^53.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.fixed_point import Int, multiplier_of, power, requantize, rounded_shift, saturate, sigmoid, tanh

PRE_BITS = 12  # fraction bits of pre-activations, int16
GATE_BITS = 15  # of gates, states and the context, int16
ENERGY_BITS = 10  # of energies, int16, in powers of two
LOGIT_BITS = 16  # of logits, int32
LOG2_E = 1.4426950408889634
# Fraction bits and zero point of the quantized log-mel, by activation bits: -21 to 10.8 fit in int8.
INPUT_FORMAT = {8: (3, 40), 16: (10, 0)}
GATES = ("r", "z", "n")
LIMIT = 2**31 - 1


@dataclass(frozen=True)
class IntegerSpec:
    """The sizes of an integer model; see ``CrnnSpec``.

    Attributes:
        channels: Channels C of the convolution.
        kernel: Its extent on (mel, time).
        stride: Its step on (mel, time).
        hidden: Width H of the GRU.
        attention: Width of the attention's inner layer.
        layers: GRU layers.
        n_mels: Mel bands M.
        n_classes: Classes K.
        activations: Bits of what layers read: 8 or 16.
    """

    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    hidden: int
    attention: int
    layers: int
    n_mels: int
    n_classes: int
    activations: int = 8

    @property
    def mel_rows(self) -> int:
        """Rows M' that the convolution leaves of the mel axis."""
        return (self.n_mels - self.kernel[0]) // self.stride[0] + 1

    @property
    def state_bits(self) -> int:
        """Fraction bits of a state as layers read it."""
        return self.activations - 1

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Every weight matrix (out, in), in the order of the file; a convolution is one row a channel."""
        shapes = {"conv": (self.channels, self.kernel[0] * self.kernel[1])}
        for layer in range(self.layers):
            width = self.hidden if layer else self.channels * self.mel_rows
            shapes |= {f"gru.{layer}.ih.{gate}": (self.hidden, width) for gate in GATES}
            shapes |= {f"gru.{layer}.hh.{gate}": (self.hidden, self.hidden) for gate in GATES}
        shapes |= {"attention.inner": (self.attention, self.hidden), "attention.energy": (1, self.attention)}
        return shapes | {"classifier": (self.n_classes, self.hidden)}


def has_bias(name: str) -> bool:
    """Whether a matrix has a bias: gates r and z have one in all, with the input's projection."""
    return ".hh." not in name or name.endswith(".n")


class Quantized(NamedTuple):
    """One matrix as it is stored.

    Attributes:
        bits: Width of a weight.
        weight: int8, shape (out, in), within +-(2^(bits - 1) - 1).
        scale: Half precision, shape (out,): weight times scale is the real number.
        bias: Half precision, shape (out,), a real number; None where there is none.
    """

    bits: int
    weight: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float16]
    bias: npt.NDArray[np.float16] | None


class Layer(NamedTuple):
    """One matrix ready to run: ``requantize(weight @ x + bias, multiplier, shift)``.

    Attributes:
        weight: int8, shape (out, in).
        bias: int32, shape (out,), in units of the sum.
        multiplier: int32, 2^30 to 2^31 - 1, shape (out,).
        shift: 1 to 62, shape (out,).
    """

    weight: Int
    bias: Int
    multiplier: Int
    shift: Int


class IntegerState(NamedTuple):
    """A stream's memory.

    Attributes:
        hidden: int16 with 15 fraction bits, shape (layers, B, H).
        energies: int16, of the last frames, shape (B, T').
        outputs: States of the last GRU layer as layers read them, shape (B, T', H).
    """

    hidden: Int
    energies: Int
    outputs: Int


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """A quantized model: what the file holds, and the arithmetic on it.

    Attributes:
        spec: The sizes.
        conv_scale: Half precision: one step of the convolution's output.
        tensors: Every matrix of ``spec.shapes()``, in that order.
    """

    spec: IntegerSpec
    conv_scale: np.float16
    tensors: Mapping[str, Quantized]

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The matrices with their integer multipliers.

        Raises:
            ModelError: A sum could leave int32.
        """
        return {name: self._layer(name, tensor) for name, tensor in self.tensors.items()}

    def _layer(self, name: str, tensor: Quantized) -> Layer:
        step_in, step_out = self.steps(name)
        scale = tensor.scale.astype(np.float64)
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ModelError(f"{name}: a scale is not above 0")
        weight = tensor.weight.astype(np.int64)
        bias = np.zeros(len(scale)) if tensor.bias is None else tensor.bias.astype(np.float64)
        if not np.isfinite(bias).all():
            raise ModelError(f"{name}: a bias is no number")
        units = np.rint(bias / (scale * step_in))
        if name == "conv":
            units = units - INPUT_FORMAT[self.spec.activations][1] * weight.sum(1)
        reach = np.abs(weight).sum(1) << (15 if name == "classifier" else self.spec.activations - 1)
        # In doubles: a bias of a damaged file can be beyond 64 bits.
        if (reach + np.abs(units)).max() > LIMIT:
            raise ModelError(f"{name}: a sum would not fit in 32 bits; fewer activation bits would")
        whole = units.astype(np.int64)
        return Layer(weight, whole, *multiplier_of(scale * (step_in / step_out)))

    def steps(self, name: str) -> tuple[float, float]:
        """What one unit of a matrix's input and of its output stands for."""
        state, pre = 2.0**-self.spec.state_bits, 2.0**-PRE_BITS
        conv = float(self.conv_scale)
        known = {
            "conv": (2.0 ** -INPUT_FORMAT[self.spec.activations][0], conv),
            "attention.energy": (state, 2.0**-ENERGY_BITS / LOG2_E),
            "classifier": (2.0**-GATE_BITS, 2.0**-LOGIT_BITS),
        }
        return known.get(name, (conv if name.startswith("gru.0.ih") else state, pre))

    def quantize_input(self, log_mel: npt.NDArray[Any]) -> Int:
        """Log-mel of any shape to int8 (or int16): times a power of two, to the nearest, ties to even."""
        bits, zero = INPUT_FORMAT[self.spec.activations]
        scaled = np.rint(log_mel.astype(np.float32) * np.float32(2**bits))
        # Limited as floats first: an infinity is no integer.
        return saturate(np.clip(scaled, -(2**16), 2**16).astype(np.int64) + zero, self.spec.activations)

    def convolve(self, mel: Int) -> Int:
        """Quantized mel (B, M, T) to frames (B, T', C * M'), channel-major, of ``activations`` bits."""
        spec = self.spec
        windows = np.lib.stride_tricks.sliding_window_view(mel, spec.kernel, (1, 2))
        windows = windows[:, :: spec.stride[0], :: spec.stride[1]].transpose(0, 2, 1, 3, 4)
        batch, frames, rows = windows.shape[:3]
        out = self._apply("conv", windows.reshape(batch, frames, rows, -1), spec.activations)
        return out.transpose(0, 1, 3, 2).reshape(batch, frames, -1)

    def cell(self, layer: int, frame: Int, hidden: Int) -> Int:
        """One GRU layer, one frame: input (B, in) as layers read it, state (B, H) -> state (B, H)."""
        state = self.read_state(hidden)
        x = {gate: self._apply(f"gru.{layer}.ih.{gate}", frame, 16) for gate in GATES}
        h = {gate: self._apply(f"gru.{layer}.hh.{gate}", state, 16) for gate in GATES}
        reset = sigmoid(saturate(x["r"] + h["r"], 16))
        update = sigmoid(saturate(x["z"] + h["z"], 16))
        new = tanh(saturate(x["n"] + rounded_shift(reset * h["n"], GATE_BITS), 16))
        return rounded_shift(update * hidden + (2**GATE_BITS - update) * new, GATE_BITS)

    def read_state(self, values: Int) -> Int:
        """Values with 15 fraction bits as layers read them: rounded to ``activations`` bits."""
        return values if self.spec.activations == 16 else saturate(rounded_shift(values, 8), 8)

    def energy(self, output: Int) -> Int:
        """Outputs (..., H) to attention energies (...), int16 with 10 fraction bits, in powers of two."""
        inner = self.read_state(tanh(self._apply("attention.inner", output, 16)))
        return self._apply("attention.energy", inner, 16)[..., 0]

    def attend(self, energies: Int, outputs: Int) -> Int:
        """Energies (B, T'), outputs (B, T', H) -> logits (B, K), int32 with 16 fraction bits."""
        weights = power(energies.max(1, keepdims=True) - energies)
        total = weights.sum(1)[:, None]
        summed = (weights[:, :, None] * outputs).sum(1)
        size = (np.abs(summed) << (GATE_BITS - self.spec.state_bits)) + (total >> 1)
        context = saturate(np.sign(summed) * (size // total), 16)
        return self._apply("classifier", context, 32)

    def clip(self, log_mel: npt.NDArray[Any]) -> tuple[Int, Int]:
        """Whole clips: log-mel (B, M, T) -> logits (B, K) and energies (B, T'), all frames attended to."""
        frames = self.convolve(self.quantize_input(log_mel))
        state = self.init_state(len(frames))
        for index in range(frames.shape[1]):
            state = self._recur(frames[:, index], state)
        return self.attend(state.energies, state.outputs), state.energies

    def init_state(self, batch: int) -> IntegerState:
        """The state before the first frame."""
        hidden = np.zeros((self.spec.layers, batch, self.spec.hidden), np.int64)
        return IntegerState(
            hidden, np.zeros((batch, 0), np.int64), np.zeros((batch, 0, hidden.shape[2]), np.int64)
        )

    def step(
        self, window: npt.NDArray[Any], state: IntegerState, max_buffer_len: int | None = 24
    ) -> tuple[Int, IntegerState]:
        """One window of log-mel (B, M, kernel on time) -> logits (B, K) and the next state."""
        state = self._recur(self.convolve(self.quantize_input(window))[:, 0], state)
        if max_buffer_len is not None:
            energies, outputs = state.energies[:, -max_buffer_len:], state.outputs[:, -max_buffer_len:]
            state = IntegerState(state.hidden, energies, outputs)
        return self.attend(state.energies, state.outputs), state

    def recur(self, frame: Int, hidden: Int) -> tuple[Int, Int]:
        """All GRU layers, one frame (B, in): states (layers, B, H), and the last one's as layers read it."""
        states = []
        for layer in range(self.spec.layers):
            states.append(self.cell(layer, frame, hidden[layer]))
            frame = self.read_state(states[-1])
        return np.stack(states), frame

    def _recur(self, frame: Int, state: IntegerState) -> IntegerState:
        hidden, frame = self.recur(frame, state.hidden)
        energies = np.concatenate([state.energies, self.energy(frame)[:, None]], 1)
        return IntegerState(hidden, energies, np.concatenate([state.outputs, frame[:, None]], 1))

    def _apply(self, name: str, x: Int, bits: int) -> Int:
        weight, bias, multiplier, shift = self.layers[name]
        return requantize(_dot(x, weight) + bias, multiplier, shift, bits)


def _dot(x: Int, weight: Int) -> Int:
    """Sums of products, exact: below 2^31 in size, and doubles hold integers up to 2^53."""
    product: Int = (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)
    return product
