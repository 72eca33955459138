"""Distillation: a small student learns from the base's logits (``kd``) and from its attention (``ad``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from compressors.base import NOT_AN_OPTION, Compressor, TrainStep, of_the_model
from compressors.losses import softened_kl
from compressors.registry import register, written
from models.base import ModelSpec, size_names
from models.errors import ChainError
from models.graph.frames import frames_of
from models.registry import family_of

# Beyond, T^2 KL is rounding noise in single precision, or vanishes.
COLDEST, HOTTEST = 0.001, 1000
# In the order in which they act: the first sets the student where its sizes are open.
DISTILLATIONS = ("kd", "fd", "ad")
# Those that compare frame with frame.
OVER_TIME = frozenset({"ad", "fd"})


@dataclass(frozen=True)
class Distillation(Compressor):
    """What all kinds of distillation share: the student's sizes and the weight of the teacher.

    Attributes:
        sizes: Sizes of the student, by the names that the model's specification has for them; those left
            open are the base's where pruning starts from the full width, else the family's student's.
        alpha: Weight of what the teacher says against the labels. Of several distillations in a chain each
            has an equal share of its own.
    """

    sizes: Mapping[str, Any] = field(default_factory=dict, metadata=of_the_model("sizes"))
    alpha: float = 0.95
    share: float = field(default=1.0, metadata=NOT_AN_OPTION)

    @classmethod
    def model_options(cls, base: ModelSpec) -> Mapping[str, Any]:
        """All sizes, open."""
        return dict.fromkeys(size_names(base))

    def in_chain(self, tokens: frozenset[str], base: ModelSpec) -> Self:
        """Settles the share of the weight and, in the first of the chain's, the student's sizes."""
        together = [token for token in DISTILLATIONS if token in tokens] or [self.token]
        family = family_of(base)
        students = [small for small in (family.student, family.aligned) if small]
        # What no student sets and nobody asked for is left out: a new size renames no runs.
        sizes: dict[str, Any] = dict.fromkeys(
            name
            for name in size_names(base)
            if any(_differ(name, small, family.default) for small in students)
        )
        student = family.aligned if tokens & OVER_TIME else family.student
        if student and together[0] == self.token and "sp" not in tokens:
            sizes = {name: getattr(student, name) for name in sizes}
        sizes |= {name: value for name, value in self.sizes.items() if value is not None}
        return replace(self, sizes=sizes, share=1 / len(together))

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses options out of range."""
        if not 0 < self.alpha <= 1:
            raise ChainError(f"{self.token}: alpha={self.alpha} must be above 0 and at most 1")

    def student(self, spec: ModelSpec) -> ModelSpec:
        """The base's specification with the sizes of the student."""
        return replace(spec, **{name: value for name, value in self.sizes.items() if value is not None})

    def needs_teacher(self) -> bool:
        """Always."""
        return True

    def task_share(self) -> float:
        """See the base class."""
        return self.alpha * self.share


def _differ(name: str, one: ModelSpec, other: ModelSpec) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def as_many_frames(base: ModelSpec) -> str:
    """What to give a student whose frames over time are not the base's."""
    family = family_of(base)
    names = [name for name in size_names(base) if family.aligned and _differ(name, family.aligned, base)]
    if not names:
        return "give the student sizes that leave its frames as they are"
    sizes = ",".join(f"{name}={written(getattr(family.aligned, name))}" for name in names)
    return f"give the student sizes that leave as many, as {sizes} does"


@dataclass(frozen=True)
class Softened(Distillation):
    """Distillation that compares softmaxes.

    Attributes:
        temperature: Softens teacher and student before they are compared, 0.001 to 1000.
    """

    temperature: float = 2.0

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses options out of range."""
        super().check(base, student)
        if not COLDEST <= self.temperature <= HOTTEST:
            raise ChainError(
                f"{self.token}: temperature={written(self.temperature)} must be from {COLDEST} to {HOTTEST}"
            )

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Alpha T^2 KL of the softmaxes over the last axis, by this distillation's share."""
        return self.task_share() * softened_kl(student, teacher, self.temperature)


@register
@dataclass(frozen=True)
class DarkKD(Softened):
    """Dark-knowledge distillation: the student also learns the teacher's softened probabilities."""

    token: ClassVar[str] = "kd"
    summary: ClassVar[str] = "distillation of the base's softened logits into a small student"

    def loss_terms(self, step: TrainStep) -> Mapping[str, Tensor]:
        """Of the logits."""
        assert step.teacher is not None
        return {"dark_knowledge": self.divergence(step.student.logits, step.teacher.logits)}


@register
@dataclass(frozen=True)
class AttentionKD(Softened):
    """Attention distillation: the student learns where in time the teacher looks."""

    token: ClassVar[str] = "ad"
    summary: ClassVar[str] = "distillation of the base's attention over time"

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses models without attention over time, and frames that do not correspond."""
        super().check(base, student)
        frames, ours = (frames_of(spec).energies for spec in (base, student))
        if frames is None:
            raise ChainError(
                f"ad: {family_of(base).name} has no attention over time to learn from; fd works without"
            )
        if ours is None:
            raise ChainError("ad: the student has no attention over time that could learn; fd works without")
        if frames != ours:
            raise ChainError(
                f"ad: the base attends to {frames} frames a clip and the student to {ours}; "
                f"{as_many_frames(base)}"
            )

    def loss_terms(self, step: TrainStep) -> Mapping[str, Tensor]:
        """Of the energies, over time."""
        assert step.teacher is not None
        assert step.teacher.energies is not None
        assert step.student.energies is not None
        return {"attention": self.divergence(step.student.energies, step.teacher.energies)}
