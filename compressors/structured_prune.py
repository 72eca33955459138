"""Structured pruning (``sp``): whole units fade away in training and are then cut out for good."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from compressors.base import Compressor, Phase, TrainStep
from compressors.losses import group_penalty
from compressors.registry import register, written
from compressors.surgery import narrow, unit_counts, unit_norms
from models.base import KwsModel, ModelSpec
from models.errors import ChainError
from models.graph.units import WidthGroup, width_groups

# The study's decay is 10; from 1e38 on the penalty is no number in single precision.
STRONGEST = 1e6


@register
@dataclass(frozen=True)
class StructuredPrune(Compressor):
    """Shrinks convolution channels, GRU units and attention units of a model of full width.

    Before training the units with the largest weights are chosen to stay; a weight decay drives the
    others to zero while the rest learns to do without them; then they are removed, together with every
    column that read them.

    Attributes:
        keep: Share of the units of each group that stays; a quarter is the study's size.
        channels: Convolution channels to keep; 0: by ``keep``.
        hidden: GRU units to keep in each layer; 0: by ``keep``.
        attention: Units of the attention's inner layer to keep; 0: by ``keep``.
        decay: Strength of the weight decay on what goes, a million at most.
    """

    token: ClassVar[str] = "sp"
    summary: ClassVar[str] = "structured pruning of channels and units, cut out for good"
    phase: ClassVar[Phase] = Phase.SURGERY

    keep: float = 0.25
    channels: int = 0
    hidden: int = 0
    attention: int = 0
    decay: float = 10.0

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses shares and strengths out of range."""
        if not 0 < self.keep <= 1:
            raise ChainError(f"sp: keep={self.keep} must be above 0 and at most 1")
        if min(self.channels, self.hidden, self.attention) < 0:
            raise ChainError("sp: channels, hidden and attention must be at least 1, or 0 to go by keep")
        if not 0 < self.decay <= STRONGEST:
            raise ChainError(
                f"sp: decay={written(self.decay)} must be above 0 and at most {written(STRONGEST)}"
            )

    def width(self, group: WidthGroup) -> int:
        """How many units of a group stay.

        Raises:
            ChainError: More than there are.
        """
        asked = {"channels": self.channels, "hidden": self.hidden, "attention": self.attention}
        width = asked.get(group.field.name) or max(1, round(self.keep * group.size))
        if width > group.size:
            raise ChainError(f"sp: {group.field}={width} is more than the {group.size} of the model")
        return width

    def prepare(self, model: KwsModel) -> KwsModel:
        """Chooses the units that stay, by the norm of all that belongs to them, and remembers them.

        Raises:
            ChainError: The specification names no width, or nothing would be removed.
        """
        groups = width_groups(model)
        if not groups:
            raise ChainError(f"sp: {type(model).__name__} has no width that its specification names")
        if all(self.width(group) == group.size for group in groups):
            raise ChainError("sp: nothing to remove, every unit would stay; ask for fewer, e.g. keep=0.25")
        prepared = deepcopy(model)
        for group in groups:
            strongest = unit_norms(model, group).topk(self.width(group)).indices
            prepared.register_buffer(_buffer(group), strongest.sort().values)
            for name, count in unit_counts(model, group, _others(group, strongest)).items():
                total = getattr(prepared, _fading(name), torch.zeros_like(count))
                prepared.register_buffer(_fading(name), total + count)
        return prepared

    def loss_terms(self, step: TrainStep) -> Mapping[str, Tensor]:
        """The penalty on all units that go."""
        fading = {
            weight: getattr(step.model, _fading(name))
            for name, weight in step.model.named_parameters()
            if hasattr(step.model, _fading(name))
        }
        return {"group_penalty": group_penalty(fading.keys(), fading.values(), self.decay)}

    def surgery(self, model: KwsModel) -> KwsModel:
        """Removes them."""
        return narrow(model, {group.name: kept_units(model, group) for group in width_groups(model)})


def kept_units(model: KwsModel, group: WidthGroup) -> Tensor:
    """The units that ``prepare`` chose to keep, ascending."""
    return model.get_buffer(_buffer(group))


def _others(group: WidthGroup, units: Tensor) -> Tensor:
    """The units of a group that are not among the given ones."""
    mask = torch.ones(group.size, dtype=torch.bool)
    mask[units] = False
    return mask.nonzero().flatten()


def _buffer(group: WidthGroup) -> str:
    return f"sp_keep_{group.name.replace('.', '_')}"


def _fading(parameter: str) -> str:
    """The buffer that says how many of the units that go each entry of a parameter belongs to."""
    return f"sp_fade_{parameter.replace('.', '_')}"
