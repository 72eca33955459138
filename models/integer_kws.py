"""An integer model under the contract of every keyword spotter: torch tensors in and out, integers inside."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.base import KwsModel, ModelOutput
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.integer import ENERGY_BITS, LOG2_E, LOGIT_BITS, IntegerModel, IntegerSpec, IntegerState

# Clips computed at once: their convolution windows fit in the cache.
BLOCK_CLIPS = 128


class IntegerKwsState(NamedTuple):
    """A stream's memory.

    Attributes:
        mel: Frames that the next convolution window still needs, shape (B, M, T).
        steps: Of the integer model.
        max_buffer_len: How many frames attention looks back on; None for all.
        skip: Frames to come that no window needs, where the stride is longer than the kernel.
    """

    mel: Tensor
    steps: IntegerState
    max_buffer_len: int | None
    skip: int = 0


class IntegerKws(KwsModel):
    """Runs an integer model. Its scales are constants, so a clip's result never depends on the others.

    Attributes:
        integer: The model; its weights are no torch parameters.
    """

    def __init__(self, integer: IntegerModel) -> None:
        super().__init__(float_spec(integer.spec))
        self.integer = integer

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """See the base class.

        Raises:
            ModelError: The clips are shorter than the kernel of the convolution.
        """
        if log_mel.shape[-1] < self.integer.spec.kernel[1]:
            raise ModelError(
                f"clips of {log_mel.shape[-1]} frames; the model needs {self.integer.spec.kernel[1]}"
            )
        blocks = [self.integer.clip(block.numpy()) for block in torch.split(log_mel, BLOCK_CLIPS)]
        logits = torch.cat([torch.from_numpy(block[0]) for block in blocks])
        energies = torch.cat([torch.from_numpy(block[1]) for block in blocks])
        return ModelOutput(_real(logits), (energies / (2**ENERGY_BITS * LOG2_E)).float())

    def init_state(self, batch: int, max_buffer_len: int | None = 24) -> IntegerKwsState:
        """See the base class."""
        if max_buffer_len is not None and max_buffer_len < 1:
            raise ModelError(f"a buffer of {max_buffer_len} frames holds nothing; it must be at least 1")
        mel = torch.zeros(batch, self.integer.spec.n_mels, 0)
        return IntegerKwsState(mel, self.integer.init_state(batch), max_buffer_len)

    def stream(self, chunk: Tensor, state: IntegerKwsState) -> tuple[Tensor, IntegerKwsState]:
        """See the base class."""
        spec = self.integer.spec
        mel, steps, at, logits = torch.cat([state.mel, chunk], -1), state.steps, state.skip, []
        while mel.shape[-1] >= at + spec.kernel[1]:
            window = mel[..., at : at + spec.kernel[1]].numpy()
            now, steps = self.integer.step(window, steps, state.max_buffer_len)
            logits.append(_real(torch.from_numpy(now)))
            at += spec.stride[1]
        after = torch.stack(logits, 1) if logits else chunk.new_zeros(len(chunk), 0, spec.n_classes)
        skip = max(0, at - mel.shape[-1])
        return after, IntegerKwsState(mel[..., at:].clone(), steps, state.max_buffer_len, skip)


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


def _real(logits: Tensor) -> Tensor:
    real: Tensor = (logits / 2**LOGIT_BITS).float()
    return real
