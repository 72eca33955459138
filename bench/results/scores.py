"""What a run folder keeps of the clips it was measured on; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.reading import read_arrays, reading
from models.errors import ResultsError

Floats = npt.NDArray[np.float64]
SCORES_FILE = "scores.npz"


class NoScoresError(ResultsError):
    """A run that kept no scores, or that an older version wrote, which kept less."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The clips of a split.

    Attributes:
        labels: 1 for the keyword, 0 for another word, shape (N,).
        scores: Probability of the keyword, shape (N,).
        speakers: Of the clips, shape (N,); None for a run of an older version, which kept none.
    """

    labels: Floats
    scores: Floats
    speakers: npt.NDArray[np.str_] | None

    @property
    def known_speakers(self) -> npt.NDArray[np.str_]:
        """Of scores that were not to be read without."""
        assert self.speakers is not None
        return self.speakers


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
        found = Scores(kept[f"{split}_labels"], kept[split], kept.get(f"{split}_speakers"))
        _check(found, split)
    return found


def _check(found: Scores, split: str) -> None:
    """Refuses what no run writes; the caller says of which file."""
    columns: dict[str, npt.NDArray[Any]] = {f"{split}_labels": found.labels, split: found.scores}
    for name, column in columns.items():
        if column.dtype.kind != "f" or column.ndim != 1 or not len(column):
            raise ValueError(f"{name} is no row of numbers")
    if found.speakers is not None and (found.speakers.dtype.kind != "U" or found.speakers.ndim != 1):
        raise ValueError(f"{split}_speakers is no row of names")
    if len({len(column) for column in (*columns.values(), found.speakers) if column is not None}) > 1:
        raise ValueError(f"labels, scores and speakers of {split} are not equally many")
    if not np.isin(found.labels, (0, 1)).all():
        raise ValueError(f"{split}_labels holds what is neither 0 nor 1")
    if not 0 < found.labels.sum() < len(found.labels):
        raise ValueError(f"all clips of {split} are of one class")
    if not ((found.scores >= 0) & (found.scores <= 1)).all():
        raise ValueError(f"{split} holds what is no probability")
