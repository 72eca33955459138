"""Do the intervals keep their promise? Scores of known truth, drawn again and again.

Nothing here is needed to make a table; the tests run it, and so may whoever doubts an interval:
``python -m bench.quality.coverage`` prints what the docstring of ``bench.quality.intervals`` states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import norm

from bench.quality.measures import Scored, measures
from bench.quality.metrics import Floats
from bench.quality.paired import PairedScores, paired_difference_over_tasks
from models.task import UNNAMED, WordsTask

# Speakers, keyword clips, other clips: two small recorded sets, a larger one, and one of many voices.
SIZES = ((4, 40, 1560), (6, 60, 2340), (24, 120, 2400), (130, 260, 3900))
MISS_RATES = (0.0, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3)
# Of other clips and of keyword clips; the last is about what recordings show, whose speakers repeat a word.
STATED = ("one_minus_auc", "eer", "frr_at_far_1pct", "frr_at_far_01pct", "accuracy")
SPEAKER_SHARES = ((0.1, 0.1), (0.3, 0.3), (0.1, 0.5))
# Five classes: speakers, and clips of each class by each; the last has one of as many as unknown words have.
WORD_SIZES = ((4, (10,) * 5), (6, (20,) * 5), (24, (5,) * 5), (130, (2,) * 5), (130, (1, 2, 2, 2, 2)))
WORD_SHARES, ACCURACIES = (0.1, 0.3), (0.7, 0.9, 0.97, 0.99)
STATED_OF_WORDS = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class Regime:
    """How many clips of how many speakers a model is scored on, and how good it is.

    Attributes:
        speakers: All say equally many clips.
        keyword_clips: A multiple of ``speakers``.
        other_clips: A multiple of ``speakers``.
        auc: The true area under the curve, over all speakers and clips there could be.
        speaker_share: How much of the scores' variance is between speakers.
        keyword_share: The same of the keyword's clips alone; None: as of the others.
    """

    speakers: int
    keyword_clips: int
    other_clips: int
    auc: float
    speaker_share: float = 0.1
    keyword_share: float | None = None


class Drawn(NamedTuple):
    """Clips with the scores of one or more models.

    Attributes:
        labels: 1 for the keyword, shape (N,).
        scores: One row a model, probabilities, shape (models, N).
        speakers: Shape (N,).
    """

    labels: npt.NDArray[np.int64]
    scores: Floats
    speakers: npt.NDArray[np.int64]


def draw_scores(regime: Regime, rng: np.random.Generator, models: int = 1) -> Drawn:
    """Draws speakers and clips: binormal scores, with an effect of each speaker on each class.

    Half of a speaker's effect moves keyword and other clips alike, half moves each class by itself. Several
    models are equally good, and share half of all that is random.
    """
    each = np.arange(regime.speakers)
    speakers = np.r_[
        np.repeat(each, regime.keyword_clips // regime.speakers),
        np.repeat(each, regime.other_clips // regime.speakers),
    ]
    labels = np.r_[np.ones(regime.keyword_clips, np.int64), np.zeros(regime.other_clips, np.int64)]

    def normal(*shape: int) -> Floats:
        own, shared = rng.standard_normal((models, *shape)), rng.standard_normal(shape)
        return own if models == 1 else (own + shared) / np.sqrt(2)

    both, single = normal(regime.speakers), normal(2, regime.speakers)
    effect = (both[:, speakers] + single[:, labels, speakers]) / np.sqrt(2)
    of_words = regime.speaker_share if regime.keyword_share is None else regime.keyword_share
    share = np.where(labels == 1, of_words, regime.speaker_share)
    noise = np.sqrt(share) * effect + np.sqrt(1 - share) * normal(len(labels))
    distance = float(norm.ppf(regime.auc)) * np.sqrt(2)
    return Drawn(labels, norm.cdf(noise + distance * (labels - 0.5)), speakers)


def truth(regime: Regime) -> dict[str, float]:
    """The figures of all speakers and clips that there could be."""
    distance = float(norm.ppf(regime.auc)) * np.sqrt(2)
    share = regime.keyword_clips / (regime.keyword_clips + regime.other_clips)
    half = float(norm.sf(distance / 2))
    return {
        "au_fa_fr": share * (1 - share) * (1 - regime.auc),
        "auc": regime.auc,
        "one_minus_auc": 1 - regime.auc,
        "eer": half,
        "frr_at_far_1pct": float(norm.cdf(norm.isf(0.01) - distance)),
        "frr_at_far_01pct": float(norm.cdf(norm.isf(0.001) - distance)),
        "accuracy": 1 - half,
    }


def auc_of(miss_rate: float, far: float = 0.01) -> float:
    """The true area under the curve of a model that misses so much at so many false alarms."""
    return float(norm.cdf((norm.isf(far) - norm.ppf(miss_rate)) / np.sqrt(2)))


@dataclass(frozen=True)
class WordsRegime:
    """How many clips of how many speakers a model of several words is scored on, and how good it is.

    Attributes:
        speakers: All say equally many clips.
        each: Clips of each word by each speaker.
        accuracy: The true one, over all speakers and clips there could be; the same of every word.
        speaker_share: How much of the logits' variance is between speakers.
    """

    speakers: int
    each: tuple[int, ...]
    accuracy: float
    speaker_share: float = 0.1


def draw_words(regime: WordsRegime, rng: np.random.Generator, models: int = 1) -> list[Scored]:
    """Draws speakers and clips: normal logits, that of the right word higher, with effects of each speaker.

    Half of a speaker's effect on a logit is the same for all words, half depends on the word said. Several
    models are equally good, and share half of all that is random.
    """
    classes, each = len(regime.each), np.repeat(np.arange(len(regime.each)), regime.each)
    labels, speakers = np.tile(each, regime.speakers), np.repeat(np.arange(regime.speakers), len(each))

    def normal(*shape: int) -> Floats:
        own, shared = rng.standard_normal((models, *shape)), rng.standard_normal(shape)
        return own if models == 1 else (own + shared) / np.sqrt(2)

    both, single = normal(regime.speakers, classes), normal(regime.speakers, classes, classes)
    effect = (both[:, speakers] + single[:, speakers, labels]) / np.sqrt(2)
    share = regime.speaker_share
    noise = np.sqrt(share) * effect + np.sqrt(1 - share) * normal(len(labels), classes)
    logits = noise + _distance(regime) * (labels[:, None] == np.arange(classes))
    task = WordsTask(tuple(f"word {number}" for number in range(classes)))
    return [Scored(task, labels, softmax(one, axis=1), speakers) for one in logits]


@cache
def _distance(regime: WordsRegime) -> float:
    """How much higher the right logit is, on average, where the highest is right so often."""

    def accuracy(distance: float) -> float:
        others = len(regime.each) - 1
        return float(quad(lambda z: norm.pdf(z - distance) * norm.cdf(z) ** others, -9, 9 + distance)[0])

    return float(brentq(lambda distance: accuracy(distance) - regime.accuracy, 0, 12))


def truth_of_words(regime: WordsRegime) -> dict[str, float]:
    """The figures of all speakers and clips that there could be; wrong words are equally often said."""
    clips, right = np.array(regime.each, np.float64), regime.accuracy
    taken = right * clips + (1 - right) / (len(clips) - 1) * (clips.sum() - clips)
    return {"accuracy": right, "macro_f1": float((2 * right * clips / (clips + taken)).mean())}


class Coverage(NamedTuple):
    """What became of the promise of one measure.

    Attributes:
        held: Share of the intervals that hold the truth; NaN without one.
        given: Share of the trials with an interval.
        width: Of the intervals, on average.
    """

    held: float
    given: float
    width: float


def coverage(
    regime: Regime | WordsRegime, names: Sequence[str], *, trials: int, draws: int, seed: int = 0
) -> dict[str, Coverage]:
    """How often the 95 % interval holds the truth.

    Examples:
        >>> coverage(Regime(4, 40, 1560, auc_of(0.0)), ["frr_at_far_01pct"], trials=2, draws=10)
        {'frr_at_far_01pct': Coverage(held=nan, given=0.0, width=nan)}
    """
    rng = np.random.default_rng(seed)
    ends: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for trial in range(trials):
        scored = _scored(regime, rng)
        for measure in measures(scored.task):
            if measure.name in names:
                found = measure.interval(scored, draws=draws, seed=trial)
                ends[measure.name] += [] if math.isnan(found.low) else [(found.low, found.high)]
    expected = truth(regime) if isinstance(regime, Regime) else truth_of_words(regime)
    return {name: _kept(ends[name], expected[name], trials) for name in names}


def _scored(regime: Regime | WordsRegime, rng: np.random.Generator) -> Scored:
    """The clips of one model."""
    if isinstance(regime, WordsRegime):
        return draw_words(regime, rng)[0]
    drawn = draw_scores(regime, rng)
    return Scored.of(UNNAMED, drawn.labels, drawn.scores[0], drawn.speakers)


def _kept(ends: list[tuple[float, float]], expected: float, trials: int) -> Coverage:
    if not ends:
        return Coverage(math.nan, 0.0, math.nan)
    low, high = np.array(ends).T
    held = (low <= expected) & (expected <= high)
    return Coverage(float(held.mean()), len(ends) / trials, float((high - low).mean()))


def false_positive_rate(
    regime: Regime | WordsRegime,
    measure: str,
    *,
    trials: int,
    draws: int,
    seed: int = 0,
    level: float = 0.05,
) -> float:
    """Share of trials in which two models that are equally good are called different."""
    rng = np.random.default_rng(seed)
    found = 0
    for trial in range(trials):
        pair = _pair(regime, rng)
        found += paired_difference_over_tasks([pair], measure, draws=draws, seed=trial).p_value < level
    return found / trials


def _pair(regime: Regime | WordsRegime, rng: np.random.Generator) -> PairedScores:
    """Two models that are equally good, on the same clips."""
    if isinstance(regime, WordsRegime):
        a, b = draw_words(regime, rng, models=2)
        return PairedScores(a.labels, [(a.probabilities, b.probabilities)], a.speakers, a.task)
    drawn = draw_scores(regime, rng, models=2)
    return PairedScores(drawn.labels, [(drawn.scores[0], drawn.scores[1])], drawn.speakers)


def print_coverage(trials: int = 2000, draws: int = 150) -> None:
    """A line for every kind of set, model and measure: coverage, share with an interval, mean width."""
    for others, words in SPEAKER_SHARES:
        for sizes in SIZES:
            for miss_rate in MISS_RATES:
                regime = Regime(*sizes, auc_of(miss_rate), others, words)
                for name, found in coverage(regime, STATED, trials=trials, draws=draws).items():
                    of = f"{others:g} {words:g} {sizes[0]:>4} {miss_rate:<5g} {name:<16}"
                    print(f"{of} {found.held:.3f} {found.given:.2f} {found.width:.4f}", flush=True)
    for share in WORD_SHARES:
        for speakers, each in WORD_SIZES:
            for accuracy in ACCURACIES:
                of_words = WordsRegime(speakers, each, accuracy, share)
                for name, found in coverage(of_words, STATED_OF_WORDS, trials=trials, draws=draws).items():
                    of = f"{share:g} {speakers:>4} {each} {accuracy:<5g} {name:<9}"
                    print(f"{of} {found.held:.3f} {found.given:.2f} {found.width:.4f}", flush=True)


if __name__ == "__main__":
    print_coverage()
