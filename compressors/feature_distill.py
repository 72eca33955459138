"""Feature distillation (``fd``): the student's frames learn to be as alike as the base's are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from compressors.base import TrainStep
from compressors.distill import Distillation, as_many_frames
from compressors.losses import frame_similarity, similarity_distance
from compressors.registry import register
from compressors.taps import Tap
from models.base import ModelSpec
from models.errors import ChainError
from models.graph.frames import Layer, frames_of
from models.registry import family_of

HEARD = "frame_similarity"


@register
@dataclass(frozen=True)
class FeatureKD(Distillation):
    """Feature distillation: frames of a clip that are alike in the base shall be alike in the student.

    A layer of the base, (B, T', W) once its axes are in that order, is compared with one of the student,
    (B, T', W'), by the similarities of their frames, (B, T', T'): widths may differ, and nothing is added
    that would have to be learned. See ``frame_similarity``.

    Attributes:
        node: Path of the student's layer, as in its state_dict, such as ``gru``; open: the last one that the
            last reduction over time reads.
        teacher: Path of the base's; open: that of ``node``.
    """

    token: ClassVar[str] = "fd"
    summary: ClassVar[str] = "distillation of how alike the base's frames are, in a layer of any width"
    # A model that is rounded in training has no layers to listen to: a norm is part of the layer before it.
    goes_on: ClassVar[bool] = False

    node: str | None = None
    teacher: str | None = None

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses layers that there are not, and frames that do not correspond."""
        super().check(base, student)
        theirs, ours = self._of_base(base), self._of_student(student)
        if theirs[1].frames != ours[1].frames:
            raise ChainError(
                f"fd: {theirs[0]!r} of the base has {theirs[1].frames} frames a clip and {ours[0]!r} of the "
                f"student {ours[1].frames}; {as_many_frames(base)}"
            )

    def _of_base(self, spec: ModelSpec) -> tuple[str, Layer]:
        if self.teacher is None:
            return self._of_student(spec)
        return _layer("teacher", self.teacher, spec)

    def _of_student(self, spec: ModelSpec) -> tuple[str, Layer]:
        return _layer("node", self.node, spec)

    def student_taps(self, student: ModelSpec) -> Mapping[str, Tap]:
        """The similarities of the student's frames."""
        return {HEARD: _tap(*self._of_student(student))}

    def teacher_taps(self, base: ModelSpec) -> Mapping[str, Tap]:
        """Those of the base's."""
        return {HEARD: _tap(*self._of_base(base))}

    def loss_terms(self, step: TrainStep) -> Mapping[str, Tensor]:
        """Alpha times their distance."""
        distance = similarity_distance(step.student_heard[HEARD], step.teacher_heard[HEARD])
        return {"features": self.task_share() * distance}


def _layer(option: str, path: str | None, spec: ModelSpec) -> tuple[str, Layer]:
    """A layer by its path, or the last one.

    Raises:
        ChainError: There is none; the message lists those that there are.
    """
    found, name = frames_of(spec), family_of(spec).name
    chosen = found.last if path is None else path
    if chosen is None:
        raise ChainError(
            f"fd: no layer of {name} gives frames over time that it goes on with; kd works without"
        )
    if chosen not in found.layers:
        raise ChainError(
            f"fd: {option}={chosen}: no layer of {name} with frames over time; there is: "
            f"{', '.join(found.layers)}"
        )
    return chosen, found.layers[chosen]


def _tap(path: str, layer: Layer) -> Tap:
    return Tap(path, partial(_similarity, layer))


def _similarity(layer: Layer, output: Tensor) -> Tensor:
    return frame_similarity(layer.frames_of(output))
