"""What a run folder keeps of the clips it was measured on; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.quality.measures import Scored
from bench.quality.metrics import Floats, Ints, two_classes
from bench.reading import read_arrays, reading
from models.errors import ResultsError
from models.task import Task

SCORES_FILE = "scores.npz"
# How far the probabilities of a clip may be from 1 together.
ROUNDING = 1e-6


class NoScoresError(ResultsError):
    """A run that kept no scores, or that an older version wrote, which kept less."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The clips of a split.

    Attributes:
        labels: Their classes, shape (N,).
        probabilities: Of each class, shape (N, K); of a keyword's run all else and the keyword.
        speakers: Of the clips, shape (N,); None for a run of an older version, which kept none.
    """

    labels: Ints
    probabilities: Floats
    speakers: npt.NDArray[np.str_] | None

    @property
    def of_keyword(self) -> Floats:
        """The probability of the keyword, shape (N,), of a run that has one."""
        return self.probabilities[:, 1]

    @property
    def known_speakers(self) -> npt.NDArray[np.str_]:
        """Of scores that were not to be read without."""
        assert self.speakers is not None
        return self.speakers

    def scored(self, task: Task) -> Scored:
        """What measures take, of scores that were not to be read without speakers."""
        return Scored(task, self.labels, self.probabilities, self.known_speakers)


def read_scores(run: Path, split: str = "test", *, speakers: bool = False) -> Scores:
    """The scores of a run folder.

    Args:
        run: The folder.
        split: ``test`` or ``validation``.
        speakers: Refuse a run that kept none.

    Raises:
        NoScoresError: There are none, or they come from a version that kept less.
        ResultsError: The file is damaged, or holds what cannot be scores.
    """
    path = run / SCORES_FILE
    if not path.exists():
        raise NoScoresError(f"no scores at {path}: the run folder is not there, or it is of no finished run")
    with reading(path):
        kept = read_arrays(path)
        for name in (split, f"{split}_labels", *[f"{split}_speakers"] * speakers):
            if name not in kept:
                raise NoScoresError(
                    f"{path} holds no {name}: an older version wrote it; remove {run} and run it again"
                )
        labels, probabilities = kept[f"{split}_labels"], kept[split]
        _check(labels, probabilities, kept.get(f"{split}_speakers"), split)
        # Older versions kept the keyword's alone, and labels as fractions.
        classes = two_classes(probabilities) if probabilities.ndim == 1 else probabilities
        return Scores(labels.astype(np.int64), classes, kept.get(f"{split}_speakers"))


def _check(
    labels: npt.NDArray[Any], probabilities: npt.NDArray[Any], speakers: npt.NDArray[Any] | None, split: str
) -> None:
    """Refuses what no run writes; the caller says of which file."""
    if labels.dtype.kind not in "fi" or labels.ndim != 1 or not len(labels):
        raise ValueError(f"{split}_labels is no row of numbers")
    if probabilities.dtype.kind != "f" or probabilities.ndim not in (1, 2) or not len(probabilities):
        raise ValueError(f"{split} is no table of numbers")
    if speakers is not None and (speakers.dtype.kind != "U" or speakers.ndim != 1):
        raise ValueError(f"{split}_speakers is no row of names")
    if len({len(column) for column in (labels, probabilities, speakers) if column is not None}) > 1:
        raise ValueError(f"labels, scores and speakers of {split} are not equally many")
    classes = 2 if probabilities.ndim == 1 else probabilities.shape[1]
    if not np.isin(labels, range(classes)).all():
        raise ValueError(f"{split}_labels holds what is none of 0 to {classes - 1}")
    if (labels == labels[0]).all():
        raise ValueError(f"all clips of {split} are of one class")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(f"{split} holds what is no probability")
    if probabilities.ndim == 2 and (abs(probabilities.sum(axis=1) - 1) > ROUNDING).any():
        raise ValueError(f"{split} holds probabilities that do not make 1 together")
