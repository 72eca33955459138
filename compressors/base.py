"""What a compressor is: phases that a chain runs through, each of which may do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn

from compressors.taps import Tap
from models.base import KwsModel, ModelOutput, ModelSpec

# Marks a dataclass field that a chain settles itself: it cannot be written as an option.
NOT_AN_OPTION = {"option": False}


def of_the_model(what: str) -> Mapping[str, str]:
    """Marks a dataclass field that holds options of the model's, ``model_options``: its sizes, its widths."""
    return {"of_the_model": what}


class Phase(IntEnum):
    """When a compressor does its main work; a chain, read from right to left, never goes back."""

    TRAIN = 0
    SURGERY = 1
    CONVERT = 2


class TrainStep(NamedTuple):
    """One training step, as a loss term sees it: all of it on the device of the training.

    Attributes:
        model: The model in training.
        student: What it gave for the batch.
        teacher: What the base gave for the same batch; None where the chain needs no teacher.
        labels: Classes, shape (B,).
        student_heard: What ``student_taps`` heard, by their names, shapes (B, ...).
        teacher_heard: What ``teacher_taps`` heard.
    """

    model: KwsModel
    student: ModelOutput
    teacher: ModelOutput | None
    labels: Tensor
    student_heard: Mapping[str, Tensor] = {}
    teacher_heard: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Compressor:
    """One way of making a model smaller. Every phase does nothing unless overridden.

    A subclass is a frozen dataclass; its fields are the options that a chain can set. A phase returns a
    new object and leaves its input alone. Whatever the device of the training, phases see models on the CPU.
    """

    token: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    phase: ClassVar[Phase] = Phase.TRAIN
    # Whether a converter first trains on: once the ranges are calibrated, under the chain's loss terms.
    tunes: ClassVar[bool] = False
    # Whether its loss terms act while a converter trains on.
    goes_on: ClassVar[bool] = True
    # Raised whenever it would make something else of the same model: runs of it are then made anew.
    version: ClassVar[int] = 0

    @classmethod
    def model_options(cls, base: ModelSpec) -> Mapping[str, Any]:
        """Fields of the model's specification that are options too, with their defaults."""
        return {}

    def settings(self) -> Mapping[str, Any]:
        """All that a run's result depends on: its fields, those of the model beside its own.

        Fields added later are left out while they hold their default, so that runs keep their names.
        """
        found: dict[str, Any] = {"version": self.version} if self.version else {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.metadata.get("added_later") and value == entry.default:
                continue
            found |= value if "of_the_model" in entry.metadata else {entry.name: value}
        return found

    def in_chain(self, tokens: frozenset[str], base: ModelSpec) -> Self:
        """A copy whose open options are settled by the chain's other compressors and the base."""
        return self

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses what cannot work on this base and the student that the chain makes of it.

        Raises:
            ChainError: The reason, and what would work.
        """

    def student(self, spec: ModelSpec) -> ModelSpec:
        """The architecture to train."""
        return spec

    def prepare(self, model: KwsModel) -> KwsModel:
        """Before training: the model that will be trained."""
        return model

    def needs_teacher(self) -> bool:
        """Whether training reads the base's outputs."""
        return False

    def student_taps(self, student: ModelSpec) -> Mapping[str, Tap]:
        """What its loss terms hear of layers of the model in training, by names of their own."""
        return {}

    def teacher_taps(self, base: ModelSpec) -> Mapping[str, Tap]:
        """What they hear of layers of the base."""
        return {}

    def task_share(self) -> float:
        """The share of the task loss's weight that this compressor's own terms take over."""
        return 0.0

    def loss_terms(self, step: TrainStep) -> Mapping[str, Tensor]:
        """Named scalars, added to the task loss."""
        return {}

    def surgery(self, model: KwsModel) -> KwsModel:
        """After training: float in, smaller float out. MACs and parameters are counted on the result."""
        return model

    def calibrate(self, model: KwsModel, log_mel: Tensor) -> KwsModel:
        """Before the conversion: what must be known of activations, seen on training clips (N, M, T)."""
        return model

    def convert(self, model: KwsModel) -> nn.Module:
        """The last step: the form that ships. The same weights always give the same form."""
        return model
