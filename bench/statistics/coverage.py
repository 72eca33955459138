"""Do the intervals keep their promise? Scores of known truth, drawn again and again.

Nothing here is needed to make a table; the tests run it, and so may whoever doubts an interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from bench.metrics import Floats
from bench.statistics.intervals import intervals
from bench.statistics.paired import paired_difference


@dataclass(frozen=True)
class Regime:
    """How many clips of how many speakers a model is scored on, and how good it is.

    Attributes:
        speakers: All say equally many clips.
        keyword_clips: A multiple of ``speakers``.
        other_clips: A multiple of ``speakers``.
        auc: The true area under the curve, over all speakers and clips there could be.
        speaker_share: How much of the scores' variance is between speakers.
    """

    speakers: int
    keyword_clips: int
    other_clips: int
    auc: float
    speaker_share: float = 0.1


class Scored(NamedTuple):
    """Clips with the scores of one or more models.

    Attributes:
        labels: 1 for the keyword, shape (N,).
        scores: One row a model, probabilities, shape (models, N).
        speakers: Shape (N,).
    """

    labels: npt.NDArray[np.int64]
    scores: Floats
    speakers: npt.NDArray[np.int64]


def draw_scores(regime: Regime, rng: np.random.Generator, models: int = 1) -> Scored:
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
    share = regime.speaker_share
    noise = np.sqrt(share) * effect + np.sqrt(1 - share) * normal(len(labels))
    distance = float(norm.ppf(regime.auc)) * np.sqrt(2)
    return Scored(labels, norm.cdf(noise + distance * (labels - 0.5)), speakers)


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


def coverage(
    regime: Regime, measures: tuple[str, ...], *, trials: int, draws: int, seed: int = 0
) -> dict[str, float]:
    """Share of trials in which the 95 % interval holds the truth."""
    rng, expected = np.random.default_rng(seed), truth(regime)
    held = dict.fromkeys(measures, 0)
    for trial in range(trials):
        drawn = draw_scores(regime, rng)
        found = intervals(
            drawn.labels, drawn.scores[0], drawn.speakers, draws=draws, seed=trial, measures=measures
        )
        for name in measures:
            held[name] += found[name].low <= expected[name] <= found[name].high
    return {name: count / trials for name, count in held.items()}


def false_positive_rate(
    regime: Regime, measure: str, *, trials: int, draws: int, seed: int = 0, level: float = 0.05
) -> float:
    """Share of trials in which two models that are equally good are called different."""
    rng = np.random.default_rng(seed)
    found = 0
    for trial in range(trials):
        drawn = draw_scores(regime, rng, models=2)
        outcome = paired_difference(
            drawn.labels,
            drawn.scores[0],
            drawn.scores[1],
            drawn.speakers,
            measure,
            draws=draws,
            seed=trial,
        )
        found += outcome.p_value < level
    return found / trials
