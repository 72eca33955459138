"""The measures of a keyword against all other words, as columns name them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bench.quality.base import Measure, Scored
from bench.quality.intervals import (
    DRAWS,
    EER_FLOOR,
    NO_NUMBERS,
    Behind,
    Interval,
    interval_of_misses,
    nothing,
)
from bench.quality.metrics import Floats, Ints, au_fa_fr, auc, eer, frr_at_far, one_vs_rest
from bench.quality.resampling import FARS, measures_of, sort_clips
from models.task import KeywordTask, Task

KEYWORD = 1


class OneVsRest(Measure):
    """A figure of one class against all others, which hangs on the clips of both."""

    least = 0.0

    def number(self, task: Task) -> int:
        """The class."""
        return KEYWORD

    def applies(self, task: Task) -> bool:
        """See the base class."""
        return isinstance(task, KeywordTask)

    def split(self, scored: Scored) -> tuple[Ints, Floats]:
        """Labels 0 and 1, and the probabilities of the class."""
        return one_vs_rest(scored.labels, scored.probabilities, self.number(scored.task))

    def behind(self, scored: Scored) -> Behind:
        """See the base class."""
        of_class = scored.labels == self.number(scored.task)
        one, rest = scored.clips_of(of_class), scored.clips_of(~of_class)
        return Behind(min(one.speakers, rest.speakers), min(one.clips, rest.clips))

    def resampled(self, scored: Scored, counts: Ints, name: str) -> Floats:
        """A figure that ``measures_of`` knows, of all resamples at once."""
        return measures_of(sort_clips(*self.split(scored), scored.speakers), counts, (name,))[name]


class Curve(OneVsRest):
    """An area, or a point, of the curves of a keyword over all thresholds.

    Args:
        name: See the base class.
        text: Likewise.
        figure: Of labels and scores.
        headline: See the base class.
        lower_is_better: Likewise.
    """

    def __init__(
        self,
        name: str,
        text: str,
        figure: Callable[[npt.ArrayLike, npt.ArrayLike], float],
        *,
        headline: bool = False,
        lower_is_better: bool = True,
    ) -> None:
        self.name, self.text, self.headline, self.lower_is_better = name, text, headline, lower_is_better
        self._figure = figure
        self.least_error = EER_FLOOR if figure is eer else 0.0

    def value(self, scored: Scored) -> float:
        """See the base class."""
        return self._figure(*self.split(scored))

    def drawn(self, scored: Scored, counts: Ints) -> Floats:
        """See the base class."""
        return self.resampled(scored, counts, self.name)


class AuFaFr(Curve):
    """The area under false rejects over false alarms, of sets with this set's share of the keyword."""

    def scale(self, scored: Scored, counts: Ints) -> Floats:
        """A draw's own share of the keyword is no part of the doubt: it times that of all others."""
        keyword = scored.labels == KEYWORD
        hits, others = (counts @ scored.by_speaker(part) for part in (keyword, ~keyword))
        mixed: Floats = hits * others / (hits + others) ** 2
        return mixed


class Misses(OneVsRest):
    """Misses of a keyword, or of one word of several, where so many of all other clips pass.

    Args:
        rate: The digits of a percentage as columns write it: ``1``, or ``01`` for a tenth.
        word: One of several; empty: the keyword.

    Examples:
        >>> Misses("01").name, Misses("01").far, Misses("1", "yes").text
        ('frr_at_far_01pct', 0.001, 'misses of yes at 1 % false alarms')
    """

    lower_is_better = True

    def __init__(self, rate: str, word: str = "") -> None:
        percent = float(f"0.{rate[1:]}") if rate.startswith("0") else float(rate)
        self.far, self.word = percent / 100, word
        self._of_all = f"frr_at_far_{rate}pct"
        # A word that ends as the ends of intervals do is told from them.
        guard = "_" * f"_{word}".endswith(("_low", "_high"))
        self.name = f"{self._of_all}_{word}{guard}" if word else self._of_all
        self.text = f"misses{f' of {word}' if word else ''} at {percent:g} % false alarms"

    def number(self, task: Task) -> int:
        """See the base class."""
        return task.classes.index(self.word) if self.word else KEYWORD

    def value(self, scored: Scored) -> float:
        """See the base class."""
        return frr_at_far(*self.split(scored), self.far)

    def drawn(self, scored: Scored, counts: Ints) -> Floats:
        """See the base class."""
        if self._of_all not in FARS:
            return super().drawn(scored, counts)
        return self.resampled(scored, counts, self._of_all)

    def interval(self, scored: Scored, *, draws: int = DRAWS, seed: int = 0) -> Interval:
        """That of a share of the word's clips, and of the threshold's doubt."""
        if np.isnan(scored.probabilities).any():
            return nothing(NO_NUMBERS)
        return interval_of_misses((*self.split(scored), scored.speakers), self.far, self.behind(scored))


def one_minus_auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """What the area under the ROC curve lacks to 1, which compares between sets of different shares."""
    return 1.0 - auc(labels, scores)


CURVES: tuple[Measure, ...] = (
    AuFaFr("au_fa_fr", "au_fa_fr", au_fa_fr, headline=True),
    Curve("auc", "AUC", auc, lower_is_better=False),
    Curve("one_minus_auc", "1 - AUC", one_minus_auc, headline=True),
    Curve("eer", "equal error rate", eer),
    Misses("1"),
    Misses("01"),
)
