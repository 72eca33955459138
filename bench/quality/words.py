"""The measures of several classes, as columns name them."""

from __future__ import annotations

import numpy as np

from bench.quality.base import Measure, Scored
from bench.quality.intervals import DRAWS, NO_NUMBERS, Behind, Interval, interval_of_share, nothing
from bench.quality.keyword import KEYWORD
from bench.quality.metrics import Floats, Ints, confusion_counts, macro_f1, right, said
from models.task import KeywordTask, Task


class Accuracy(Measure):
    """Share of clips that are taken for what they are: the headline, but for a keyword.

    Args:
        of_keyword: Whether there is a keyword, which is said from one half on.
    """

    name, text, lower_is_better = "accuracy", "accuracy", False
    least = 0.0

    def __init__(self, *, of_keyword: bool) -> None:
        self._of_keyword, self.headline = of_keyword, not of_keyword

    def applies(self, task: Task) -> bool:
        """See the base class."""
        return isinstance(task, KeywordTask) == self._of_keyword

    def _right(self, scored: Scored) -> Floats:
        """Right clips by speaker, shape (S,)."""
        found = scored.probabilities[:, KEYWORD] if self._of_keyword else scored.probabilities
        return scored.by_speaker(right(scored.labels, found))

    def value(self, scored: Scored) -> float:
        """See the base class."""
        return float(self._right(scored).sum() / len(scored.labels))

    def drawn(self, scored: Scored, counts: Ints) -> Floats:
        """See the base class."""
        shares: Floats = (counts @ self._right(scored)) / (counts @ np.bincount(scored.numbers))
        return shares

    def behind(self, scored: Scored) -> Behind:
        """All clips."""
        return scored.clips_of(np.ones(len(scored.labels), bool))

    def interval(self, scored: Scored, *, draws: int = DRAWS, seed: int = 0) -> Interval:
        """That of a share of clips of few speakers."""
        if np.isnan(scored.probabilities).any():
            return nothing(NO_NUMBERS)
        return interval_of_share(self._right(scored), np.bincount(scored.numbers).astype(np.float64))


class MacroF1(Measure):
    """Mean over the classes of the harmonic mean of precision and recall: each class counts alike."""

    name, text, lower_is_better = "macro_f1", "macro F1", False
    least = 0.0

    def applies(self, task: Task) -> bool:
        """See the base class."""
        return not isinstance(task, KeywordTask)

    def value(self, scored: Scored) -> float:
        """See the base class."""
        counts = confusion_counts(scored.labels, said(scored.probabilities), len(scored.task.classes))
        return float(macro_f1(counts))

    def drawn(self, scored: Scored, counts: Ints) -> Floats:
        """See the base class; from the counts of each speaker."""
        classes, speakers = len(scored.task.classes), counts.shape[1]
        rows = scored.numbers * classes + scored.labels
        # Each speaker's clips of a class are a row of their own.
        place = rows * classes + said(scored.probabilities)
        tables = np.bincount(place, minlength=speakers * classes**2).reshape(speakers, classes**2)
        return macro_f1((counts @ tables).reshape(len(counts), classes, classes))
