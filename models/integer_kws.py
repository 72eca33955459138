"""An integer model under the contract of every keyword spotter: torch tensors in and out, integers inside."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.base import KwsModel, ModelOutput
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.graph.axes import TIME, UNIT, Couplings, axis
from models.graph.layers import Gru, Linear
from models.graph.ops import Call, Operation, Reach, Results, operation
from models.integer import ENERGY_BITS, LOG2_E, LOGIT_BITS, IntegerModel, IntegerSpec

# Clips computed at once: their convolution windows fit in the cache.
BLOCK_CLIPS = 128


class IntegerConvolution(nn.Module):
    """Log-mel (B, M, T) to frames (B, T', C * M') of integers."""

    def __init__(self, integer: IntegerModel) -> None:
        super().__init__()
        self.integer = integer

    def forward(self, log_mel: Tensor) -> Tensor:
        """A block of clips at a time."""
        blocks = [block.numpy() for block in torch.split(log_mel, BLOCK_CLIPS)]
        frames = [self.integer.convolve(self.integer.quantize_input(block)) for block in blocks]
        return torch.from_numpy(np.concatenate(frames))


class IntegerGru(nn.Module):
    """Frames (B, T', in) a state (layers, B, H) to outputs as layers read them (B, T', H), a state."""

    def __init__(self, integer: IntegerModel) -> None:
        super().__init__()
        self.integer = integer

    def forward(self, frames: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ``nn.GRU``."""
        model, outputs = self.integer, []
        state = model.init_state(len(frames)).hidden if hidden is None else hidden.numpy()
        for frame in frames.numpy().swapaxes(0, 1):
            state, frame = model.recur(frame, state)
            outputs.append(frame)
        return torch.from_numpy(np.stack(outputs, 1)), torch.from_numpy(state)


class IntegerEnergy(nn.Module):
    """Outputs (B, T', H) to attention energies (B, T', 1)."""

    def __init__(self, integer: IntegerModel) -> None:
        super().__init__()
        self.integer = integer

    def forward(self, outputs: Tensor) -> Tensor:
        """Each frame by itself."""
        return torch.from_numpy(self.integer.energy(outputs.numpy())).unsqueeze(-1)


class IntegerAttention(nn.Module):
    """Energies (B, T') and outputs (B, T', H) to logits (B, K)."""

    def __init__(self, integer: IntegerModel) -> None:
        super().__init__()
        self.integer = integer

    def forward(self, energies: Tensor, outputs: Tensor) -> Tensor:
        """Over all frames."""
        return torch.from_numpy(self.integer.attend(energies.numpy(), outputs.numpy()))


operation(IntegerGru)(Gru)
operation(IntegerEnergy)(Linear)


@operation(IntegerConvolution)
class Windows(Operation):
    """A convolution and the flatten behind it."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        _, frames, width = call.sizes[0]
        return ((call.inputs[0].axes[0], axis(TIME, frames), axis(UNIT, width)),)

    def reach(self, call: Call) -> Reach:
        """See the base class."""
        spec = call.target.integer.spec
        return Reach(spec.kernel[1], spec.stride[1])


@operation(IntegerAttention)
class Attention(Operation):
    """Softmax, weighted sum and classifier."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        return ((call.inputs[0].axes[0], axis(UNIT, call.sizes[0][1])),)

    def reach(self, call: Call) -> None:
        """See the base class: all of time."""


class IntegerKws(KwsModel):
    """Runs an integer model. Its scales are constants, so a clip's result never depends on the others.

    Attributes:
        integer: The model; its weights are no torch parameters.
    """

    def __init__(self, integer: IntegerModel) -> None:
        super().__init__(float_spec(integer.spec))
        self.integer = integer
        self.convolution, self.gru = IntegerConvolution(integer), IntegerGru(integer)
        self.energy, self.attention = IntegerEnergy(integer), IntegerAttention(integer)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """See the base class.

        Raises:
            ModelError: The clips are shorter than the kernel of the convolution.
        """
        if log_mel.shape[-1] < self.integer.spec.kernel[1]:
            raise ModelError(
                f"clips of {log_mel.shape[-1]} frames; the model needs {self.integer.spec.kernel[1]}"
            )
        outputs, _ = self.gru(self.convolution(log_mel))
        energies = self.energy(outputs).squeeze(-1)
        logits = (self.attention(energies, outputs) / 2**LOGIT_BITS).float()
        return ModelOutput(logits, (energies / (2**ENERGY_BITS * LOG2_E)).float())


def float_spec(sizes: IntegerSpec) -> CrnnSpec:
    """The float architecture of those sizes."""
    return CrnnSpec(
        channels=sizes.channels,
        kernel=sizes.kernel,
        stride=sizes.stride,
        hidden=sizes.hidden,
        attention=sizes.attention,
        layers=sizes.layers,
        n_mels=sizes.n_mels,
        n_classes=sizes.n_classes,
    )
