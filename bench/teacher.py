"""The trained base as a teacher: run in every step, or heard once and then remembered."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.base import ModelOutput

BLOCK_CLIPS = 512


@dataclass(frozen=True, eq=False)
class Teacher:
    """Answers what the base gives for a batch.

    Attributes:
        model: The base, in evaluation mode.
        remembered: Its outputs on the flat bank of features, (V * n, K) and (V * n, T'); None to run it on
            what the student sees.
    """

    model: nn.Module
    remembered: ModelOutput | None = None

    @classmethod
    def of_bank(cls, model: nn.Module, bank: Tensor) -> Teacher:
        """Listens to every version of every training clip once.

        Args:
            model: The trained base.
            bank: Log-mel in half precision, shape (V, n, M, T).
        """
        with torch.no_grad():
            blocks = [model(block.float()) for block in torch.split(bank.flatten(0, 1), BLOCK_CLIPS)]
        energies = None if blocks[0].energies is None else torch.cat([block.energies for block in blocks])
        return cls(model, ModelOutput(torch.cat([block.logits for block in blocks]), energies))

    def answer(self, features: Tensor, rows: Tensor | None) -> ModelOutput:
        """The teacher's output for a batch.

        Args:
            features: What the student sees, shape (B, M, T).
            rows: Entries of the flat bank, shape (B,); None where the features are not of the bank.
        """
        if self.remembered is None or rows is None:
            with torch.no_grad():
                output: ModelOutput = self.model(features)
            return output
        logits, energies = self.remembered
        return ModelOutput(logits[rows], None if energies is None else energies[rows])
