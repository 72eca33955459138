"""The trained base as a teacher: run in every step, or heard once and then remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from bench.device import CPU
from compressors.taps import Tap, listening
from models.base import KwsModel, ModelOutput, device_of

BLOCK_CLIPS = 512


class Answer(NamedTuple):
    """What the base gives for a batch.

    Attributes:
        output: Its output.
        heard: What was heard of its layers, by the names of the taps, shapes (B, ...).
    """

    output: ModelOutput
    heard: Mapping[str, Tensor]

    def to(self, device: torch.device) -> Answer:
        """The same on another device."""
        logits, energies = self.output
        output = ModelOutput(logits.to(device), None if energies is None else energies.to(device))
        return Answer(output, {name: tensor.to(device) for name, tensor in self.heard.items()})


@dataclass(frozen=True, eq=False)
class Teacher:
    """Answers what the base gives for a batch.

    Attributes:
        model: The base, in evaluation mode.
        remembered: Its answers on the flat bank of features, (V * n, K) and (V * n, T'); what was heard of
            layers in half precision, as the bank is. None to run it on what the student sees.
        taps: What to hear of its layers.
    """

    model: KwsModel
    remembered: Answer | None = None
    taps: Mapping[str, Tap] = field(default_factory=dict)

    @classmethod
    def of_bank(cls, model: KwsModel, bank: Tensor, taps: Mapping[str, Tap] | None = None) -> Teacher:
        """Listens to every version of every training clip once.

        Args:
            model: The trained base.
            bank: Log-mel in half precision, on the CPU, shape (V, n, M, T); so are the answers.
            taps: What to hear of its layers.
        """
        teacher = cls(model, taps=taps or {})
        blocks, device = [], device_of(model)
        for block in torch.split(bank.flatten(0, 1), BLOCK_CLIPS):
            output, heard = teacher.answer(block.to(device).float(), None)
            halves = {name: tensor.half() for name, tensor in heard.items()}
            blocks.append(Answer(output, halves).to(CPU))
        logits = torch.cat([output.logits for output, _ in blocks])
        several = [output.energies for output, _ in blocks if output.energies is not None]
        heard = {name: torch.cat([one.heard[name] for one in blocks]) for name in teacher.taps}
        output = ModelOutput(logits, torch.cat(several) if several else None)
        return cls(model, Answer(output, heard), teacher.taps)

    def answer(self, features: Tensor, rows: Tensor | None) -> Answer:
        """The teacher's answer for a batch.

        Args:
            features: What the student sees, shape (B, M, T); the answer is where they are.
            rows: Entries of the flat bank, on the CPU, shape (B,); None where the features are
                not of the bank.
        """
        if self.remembered is None or rows is None:
            with torch.no_grad(), listening(self.model, self.taps) as heard:
                output: ModelOutput = self.model(features)
            return Answer(output, heard)
        (logits, energies), known = self.remembered
        output = ModelOutput(logits[rows], None if energies is None else energies[rows])
        heard = {name: tensor[rows] for name, tensor in known.items()}
        there = Answer(output, heard).to(features.device)
        return there._replace(heard={name: tensor.float() for name, tensor in there.heard.items()})
