"""Structured pruning (``sp``): whole units fade away in training and are then cut out for good."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from compressors.base import Compressor, Phase, TrainStep, of_the_model
from compressors.losses import group_penalty
from compressors.registry import register, written
from compressors.surgery import narrow, unit_counts, unit_norms
from models.base import KwsModel, ModelSpec, size_names
from models.errors import ChainError
from models.graph.units import Field, WidthGroup, width_groups, widths_of

# The study's decay is 10; from 1e38 on the penalty is no number in single precision.
STRONGEST = 1e6


@register
@dataclass(frozen=True)
class StructuredPrune(Compressor):
    """Shrinks a model of full width: channels of convolutions, units of GRUs and linear layers.

    Before training the units with the largest weights are chosen to stay; a weight decay drives the
    others to zero while the rest learns to do without them; then they are removed, together with every
    column that read them.

    Attributes:
        keep: Share of the units of each group that stays; a quarter is the study's size.
        widths: Units to keep, by the names that the model's specification has for widths; a tuple has an
            entry for each of the model's. 0: by ``keep``.
        decay: Strength of the weight decay on what goes, a million at most.
    """

    token: ClassVar[str] = "sp"
    summary: ClassVar[str] = "structured pruning of channels and units, cut out for good"
    phase: ClassVar[Phase] = Phase.SURGERY

    keep: float = 0.25
    widths: Mapping[str, Any] = field(default_factory=dict, metadata=of_the_model("widths"))
    decay: float = 10.0

    @classmethod
    def model_options(cls, base: ModelSpec) -> Mapping[str, Any]:
        """The widths that can be cut, by ``keep``."""
        found: dict[str, Any] = {}
        for name in size_names(base):
            entries = [width.at for width in widths_of(base) if width.name == name]
            numbered = [at + 1 for at in entries if at is not None]
            if numbered:
                # It may be empty where its entries follow from another field.
                found[name] = (0,) * max(len(getattr(base, name)), *numbered)
            elif entries:
                found[name] = 0
        return found

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses shares and strengths out of range."""
        if not 0 < self.keep <= 1:
            raise ChainError(f"sp: keep={self.keep} must be above 0 and at most 1")
        cut = widths_of(student)
        for name, open_ in self.model_options(base).items():
            kept = self.widths.get(name, open_)
            if isinstance(kept, tuple) and len(kept) != len(open_):
                raise ChainError(f"sp: {name}={written(kept)} must have {len(open_)} entries; 0: by keep")
        for one, units in self._asked().items():
            if units < 0:
                raise ChainError(f"sp: {one}={units} must be at least 1, or 0 to go by keep")
            if units and one not in cut:
                names = ", ".join(map(str, cut)) or "none"
                raise ChainError(f"sp: {one} is no width that can be cut; these are: {names}")
        if not 0 < self.decay <= STRONGEST:
            raise ChainError(
                f"sp: decay={written(self.decay)} must be above 0 and at most {written(STRONGEST)}"
            )

    def _asked(self) -> dict[Field, int]:
        """Units to keep by each width; 0 where it goes by ``keep``."""
        asked: dict[Field, int] = {}
        for name, kept in self.widths.items():
            several = isinstance(kept, tuple)
            asked |= {Field(name, at): one for at, one in enumerate(kept)} if several else {Field(name): kept}
        return asked

    def width(self, group: WidthGroup) -> int:
        """How many units of a group stay.

        Raises:
            ChainError: More than there are.
        """
        width = self._asked().get(group.field) or max(1, round(self.keep * group.size))
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
