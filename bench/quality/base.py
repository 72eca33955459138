"""What a measure is, and what it measures: clips of a task with what a model says about them.

Shape letters: N clips, K classes, S speakers, D draws.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bench.quality.intervals import DRAWS, NO_NUMBERS, Behind, Interval, interval_of_draws, nothing
from bench.quality.metrics import Floats, Ints, two_classes
from bench.quality.resampling import draw_speakers
from bench.quality.shares import effective_number
from models.task import Task


@dataclass(frozen=True, eq=False)
class Scored:
    """Clips of a task, and what a model says about them.

    Attributes:
        task: What was asked.
        labels: Their classes, shape (N,).
        probabilities: Of each class, shape (N, K).
        speakers: Who speaks, of any type, shape (N,).
    """

    task: Task
    labels: Ints
    probabilities: Floats
    speakers: npt.NDArray[Any]

    def __post_init__(self) -> None:
        clips, classes = len(self.labels), len(self.task.classes)
        shapes = (self.labels.shape, self.probabilities.shape, self.speakers.shape)
        if shapes != ((clips,), (clips, classes), (clips,)) or not clips:
            raise ValueError(
                f"labels, probabilities and speakers of shapes {', '.join(map(str, shapes))} "
                f"must be of (N,), (N, {classes}) and (N,)"
            )
        if not np.isin(self.labels, range(classes)).all():
            raise ValueError(f"labels must be classes, 0 to {classes - 1}")

    @classmethod
    def of(cls, task: Task, labels: npt.ArrayLike, scores: npt.ArrayLike, speakers: npt.ArrayLike) -> Self:
        """From whatever has such shapes; ``scores`` of shape (N,) are the probabilities of a keyword.

        Raises:
            ValueError: Shapes differ, or a label is no class.
        """
        values, truth = np.asarray(scores, np.float64), np.asarray(labels)
        whole = truth.astype(np.int64) if np.array_equal(truth, truth.astype(np.int64)) else truth
        return cls(task, whole, two_classes(values) if values.ndim == 1 else values, np.asarray(speakers))

    @cached_property
    def numbers(self) -> Ints:
        """The speaker of each clip by its number among all of them, sorted, shape (N,)."""
        return np.unique(self.speakers, return_inverse=True)[1].astype(np.int64)

    def by_speaker(self, figures: npt.ArrayLike) -> Floats:
        """A figure of each clip, summed over the clips of each speaker: (N,) to (S,)."""
        return np.asarray(np.bincount(self.numbers, np.asarray(figures, np.float64)), np.float64)

    def clips_of(self, chosen: npt.NDArray[np.bool_]) -> Behind:
        """How many speakers and clips there are of those that are chosen, shape (N,)."""
        return Behind(effective_number(self.by_speaker(chosen)), int(chosen.sum()))

    def drawn(self, counts: Ints) -> Scored:
        """The clips of each speaker as often as it was drawn, counts (S,)."""
        rows = np.repeat(np.arange(len(self.labels)), counts[self.numbers])
        return Scored(self.task, self.labels[rows], self.probabilities[rows], self.speakers[rows])


class Measure(abc.ABC):
    """A figure of quality. A subclass gives a name, a text, a direction and the value; the rest may stay.

    Attributes:
        name: Its column.
        text: What axes and headings say.
        unit: Behind its figures; empty for shares.
        lower_is_better: Which way it improves.
        headline: Whether it stands in short tables and figures.
        least: The least that it can be.
        least_error: The least that its standard error can be, in units of the binomial one.
    """

    name: str
    text: str
    unit: str = ""
    lower_is_better: bool
    headline: bool = False
    least: float = -math.inf
    least_error: float = 0.0

    def applies(self, task: Task) -> bool:
        """Whether models of a task have such a figure; of all, if nothing else is said."""
        return True

    @abc.abstractmethod
    def value(self, scored: Scored) -> float:
        """The figure; NaN where it is not defined, as with one class only."""

    def drawn(self, scored: Scored, counts: Ints) -> Floats:
        """The figure of resamples, shape (D,), from how often each speaker counts in them, (D, S)."""
        return np.array([self.value(scored.drawn(each)) for each in counts], np.float64)

    def behind(self, scored: Scored) -> Behind:
        """The clips that the figure hangs on: of all speakers, and those of the rarest class."""
        _, sizes = np.unique(scored.labels, return_counts=True)
        everyone = scored.clips_of(np.ones(len(scored.labels), bool))
        return Behind(everyone.speakers, int(sizes.min()))

    def interval(self, scored: Scored, *, draws: int = DRAWS, seed: int = 0) -> Interval:
        """Where the figure of all clips and speakers there could be is; see ``interval_of_draws``.

        Args:
            scored: The clips.
            draws: Resamples. With few speakers those that come out alike are computed once.
            seed: Of the draws.
        """
        if np.isnan(scored.probabilities).any():
            return nothing(NO_NUMBERS)
        drawn = draw_speakers(int(scored.numbers.max()) + 1, draws, np.random.default_rng(seed))
        everyone = np.ones((1, drawn.counts.shape[1]), np.int64)
        with np.errstate(divide="ignore", invalid="ignore"):
            whole, figures = (
                self.drawn(scored, counts) / self.scale(scored, counts) for counts in (everyone, drawn.counts)
            )
        found = interval_of_draws(
            float(whole[0]),
            figures,
            drawn.times,
            self.behind(scored),
            lower_is_better=self.lower_is_better,
            least_error=self.least_error,
        )
        scale = float(self.scale(scored, everyone)[0])
        return replace(found, low=scale * found.low, high=scale * found.high)

    def scale(self, scored: Scored, counts: Ints) -> Floats:
        """What resamples, (D, S), change of the figure that is no part of its doubt, shape (D,)."""
        return np.ones(len(counts))
