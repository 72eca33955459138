"""Distillation: a small student learns from the base's logits (``kd``) and from its attention (``ad``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from compressors.base import NOT_AN_OPTION, Compressor, TrainStep
from compressors.losses import softened_kl
from compressors.registry import register, written
from models.base import ModelSpec
from models.crnn import CrnnSpec
from models.errors import ChainError

# The students of the reference study. With attention, both models need the same frames over time.
KD_STUDENT: Mapping[str, Any] = {"channels": 4, "kernel": (15, 5), "hidden": 21}
AD_STUDENT: Mapping[str, Any] = {"channels": 2, "kernel": (5, 20), "hidden": 10}
# Beyond, T^2 KL is rounding noise in single precision, or vanishes.
COLDEST, HOTTEST = 0.001, 1000
# One second, the length of a clip.
CLIP_FRAMES = 101


@dataclass(frozen=True)
class Distillation(Compressor):
    """What both kinds of distillation share: the student's size and the weight of the teacher.

    Attributes:
        channels: Convolution channels of the student; open: the study's student.
        kernel: Its kernel on (mel, time), written 15x5.
        hidden: Its GRU and attention width.
        alpha: Weight of what the teacher says against the labels. With ``kd`` and ``ad`` in a chain each
            has half of its own.
        temperature: Softens teacher and student before they are compared, 0.001 to 1000.
    """

    channels: int | None = None
    kernel: tuple[int, int] | None = None
    hidden: int | None = None
    alpha: float = 0.95
    temperature: float = 2.0
    share: float = field(default=1.0, metadata=NOT_AN_OPTION)

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses options out of range, and a student that there is nothing to teach."""
        if not 0 < self.alpha <= 1:
            raise ChainError(f"{self.token}: alpha={self.alpha} must be above 0 and at most 1")
        if not COLDEST <= self.temperature <= HOTTEST:
            raise ChainError(
                f"{self.token}: temperature={written(self.temperature)} must be from {COLDEST} to {HOTTEST}"
            )

    def _sizes(self) -> dict[str, Any]:
        given = {"channels": self.channels, "kernel": self.kernel, "hidden": self.hidden}
        return {name: value for name, value in given.items() if value is not None}

    def _with_default_sizes(self, sizes: Mapping[str, Any], base: ModelSpec) -> Self:
        """Fills the sizes that were left open; the study's students are of one family."""
        return replace(self, **{**sizes, **self._sizes()}) if isinstance(base, CrnnSpec) else self

    def student(self, spec: ModelSpec) -> ModelSpec:
        """The base's specification with the sizes of the student.

        Raises:
            ChainError: The base's family has no such size.
        """
        known = [known_field.name for known_field in fields(spec)]
        for name in self._sizes():
            if name not in known:
                raise ChainError(f"{self.token}: this model has no {name!r}; it has: {', '.join(known)}")
        return replace(spec, **self._sizes())

    def needs_teacher(self) -> bool:
        """Always."""
        return True

    def task_share(self) -> float:
        """See the base class."""
        return self.alpha * self.share


@register
@dataclass(frozen=True)
class DarkKD(Distillation):
    """Dark-knowledge distillation: the student also learns the teacher's softened probabilities."""

    token: ClassVar[str] = "kd"
    summary: ClassVar[str] = "distillation of the base's softened logits into a small student"

    def in_chain(self, tokens: frozenset[str], base: ModelSpec) -> Self:
        """The study's student, unless pruning starts from the full width."""
        shared = replace(self, share=0.5) if "ad" in tokens else self
        if "sp" in tokens:
            return shared
        return shared._with_default_sizes(AD_STUDENT if "ad" in tokens else KD_STUDENT, base)

    def loss_terms(self, step: TrainStep) -> Mapping[str, Tensor]:
        """Alpha T^2 KL of the logits."""
        assert step.teacher is not None
        divergence = softened_kl(step.student.logits, step.teacher.logits, self.temperature)
        return {"dark_knowledge": self.task_share() * divergence}


@register
@dataclass(frozen=True)
class AttentionKD(Distillation):
    """Attention distillation: the student learns where in time the teacher looks."""

    token: ClassVar[str] = "ad"
    summary: ClassVar[str] = "distillation of the base's attention over time"

    def in_chain(self, tokens: frozenset[str], base: ModelSpec) -> Self:
        """The study's student where neither ``kd`` nor ``sp`` settles it."""
        shared = replace(self, share=0.5) if "kd" in tokens else self
        return shared if tokens & {"kd", "sp"} else shared._with_default_sizes(AD_STUDENT, base)

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses models without attention, and frames that do not correspond."""
        super().check(base, student)
        frames, ours = base.attention_frames(CLIP_FRAMES), student.attention_frames(CLIP_FRAMES)
        if frames is None:
            raise ChainError("ad: this model has no attention to learn from; kd works without")
        if frames != ours:
            raise ChainError(
                f"ad: the base attends to {frames} frames a clip and the student to {ours}; give the student "
                "the base's kernel and stride on the time axis, e.g. kernel=5x20"
            )

    def loss_terms(self, step: TrainStep) -> Mapping[str, Tensor]:
        """Alpha T^2 KL of the softmaxes of the energies over time."""
        assert step.teacher is not None
        assert step.teacher.energies is not None
        assert step.student.energies is not None
        divergence = softened_kl(step.student.energies, step.teacher.energies, self.temperature)
        return {"attention": self.task_share() * divergence}
