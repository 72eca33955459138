"""Resamples against clips that are really repeated; intervals against formulas of other people."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from bench.quality.intervals import DRAWS, Interval, no_error_bound
from bench.quality.measures import Scored, measures
from bench.quality.resampling import MEASURES, draw_speakers, measures_of, sort_clips
from models.task import KeywordTask

KEYWORD = KeywordTask("")


def figures(labels: Any, scores: Any, speakers: Any) -> dict[str, float]:
    scored = Scored.of(KEYWORD, labels, scores, speakers)
    return {measure.name: measure.value(scored) for measure in measures(KEYWORD)}


def intervals(
    labels: Any, scores: Any, speakers: Any, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Interval]:
    scored = Scored.of(KEYWORD, labels, scores, speakers)
    return {measure.name: measure.interval(scored, draws=draws, seed=seed) for measure in measures(KEYWORD)}


def clips(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.r_[1, 0, rng.integers(0, 2, 58)])
    scores = rng.random(60) * 0.7 + 0.2 * labels
    match kind:
        case "tied":
            scores = np.round(scores, 1)
        case "constant":
            scores = np.full(60, 0.5)
        case "perfect":
            scores = 0.1 + 0.8 * labels
        case "inverted":
            scores = 0.9 - 0.8 * labels
        case "edges":
            scores = np.round(scores * 1.3, 1).clip(0, 1)
        case "certain":
            # The highest are of other words, some of them at a probability of exactly 1.
            scores = np.where(labels == 0, np.round(scores + 0.3, 1).clip(0, 1), scores * 0.9)
        case "even":
            # A hundred other clips in every draw: shares of false alarms hit 1 % exactly.
            labels, speakers = (
                np.tile(np.r_[np.ones(4, int), np.zeros(20, int)], 5),
                np.repeat(np.arange(5), 24),
            )
            return labels, rng.random(120) * 0.7 + 0.2 * labels, speakers.astype(str)
        case "one class":
            labels = np.zeros(60, int)
    return labels, scores, rng.integers(0, 5, 60).astype(str)


@pytest.mark.parametrize(
    "kind", ["random", "tied", "constant", "perfect", "inverted", "edges", "certain", "even", "one class"]
)
@pytest.mark.parametrize("seed", range(4))
def test_a_resample_is_its_clips_repeated(kind: str, seed: int) -> None:
    labels, scores, speakers = clips(kind, seed)
    counts, times = draw_speakers(5, 40, np.random.default_rng(seed))
    assert times.sum() == 40
    found = measures_of(sort_clips(labels, scores, speakers), counts)
    for row, count in enumerate(counts):
        again = np.repeat(np.arange(len(labels)), count[np.unique(speakers, return_inverse=True)[1]])
        expected = figures(labels[again], scores[again], speakers[again])
        assert {name: found[name][row] for name in MEASURES} == pytest.approx(
            {name: expected[name] for name in MEASURES}, abs=1e-12, nan_ok=True
        )


def test_standard_error_is_obuchowskis_for_clustered_areas() -> None:
    """Obuchowski (1997): the variance of the area from placements summed by cluster."""
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(60), 20)
    labels = np.tile(np.r_[np.ones(6, int), np.zeros(14, int)], 60)
    scores = norm.cdf(rng.normal(size=1200) + 0.5 * rng.normal(size=60)[speakers] + labels)
    hits, others = scores[labels == 1], scores[labels == 0]
    wins = (hits[:, None] > others).astype(float)
    area = wins.mean()
    placed = [
        np.bincount(speakers[labels == 1], wins.mean(axis=1) - area) / len(hits),
        np.bincount(speakers[labels == 0], wins.mean(axis=0) - area) / len(others),
    ]
    variance = 60 / 59 * (sum(placed) ** 2).sum()
    found = intervals(labels, scores, speakers, draws=4000)["one_minus_auc"]
    # The shorter arm is a plain t interval of the logit.
    half = np.log((1 - area) / area) - np.log(found.low / (1 - found.low))
    error = half * area * (1 - area) / student.ppf(0.975, 59)
    assert error == pytest.approx(math.sqrt(variance), rel=0.05)


def test_accuracy_of_one_clip_a_speaker_is_nearly_wilsons() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 2000)
    scores = np.where(rng.random(2000) < 0.9, labels, 1 - labels).astype(float)
    found = intervals(labels, scores, np.arange(2000))["accuracy"]
    share = ((scores >= 0.5) == labels).mean()
    half = 1.96 * math.sqrt(share * (1 - share) / 2000)
    assert (found.low, found.high) == pytest.approx((share - half, share + half), abs=0.003)


def test_intervals_hold_the_figure_and_complement_each_other() -> None:
    labels, scores, speakers = clips("random", 0)
    found = intervals(labels, scores, speakers)
    known = figures(labels, scores, speakers)
    for name in set(MEASURES) - {"frr_at_far_1pct", "frr_at_far_01pct"}:
        assert 0 <= found[name].low < known[name] < found[name].high <= 1, name
    assert found["auc"].low == pytest.approx(1 - found["one_minus_auc"].high)
    share = labels.mean() * (1 - labels.mean())
    assert found["au_fa_fr"].high == pytest.approx(share * found["one_minus_auc"].high)
    assert found == intervals(labels, scores, speakers)
    assert found["auc"] != intervals(labels, scores, speakers, seed=1, draws=50)["auc"]


@pytest.mark.parametrize(("kind", "end"), [("perfect", 0.0), ("inverted", 1.0)])
def test_no_spread_is_not_no_doubt(kind: str, end: float) -> None:
    labels, scores, speakers = clips(kind, 0)
    rarer = min(labels.sum(), (1 - labels).sum())
    for name in ("one_minus_auc", "eer"):
        found = intervals(labels, scores, speakers)[name]
        assert found.method == "bound without spread"
        far = found.high if end == 0.0 else 1 - found.low
        assert {found.low, found.high} >= {end}
        assert far == pytest.approx(1 - 0.05 ** (1 / rarer))
    assert 100 * no_error_bound(100) == pytest.approx(3, abs=0.06)


def recorded(missed: int, others: int = 1560) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sixty keyword clips and many others of four speakers; one speaker's are missed, all else is right."""
    labels = np.repeat([1, 0], [60, others])
    scores = np.where(labels == 1, 0.9, 0.1) + np.linspace(0, 0.05, 60 + others)
    scores[: 4 * missed : 4] = 0.0
    return labels, scores, np.arange(60 + others) % 4


def test_few_misses_are_neither_none_nor_all() -> None:
    """One in 60 was .00004 to .99996 on the logit; none ended below what four speakers can tell."""
    none, one, three = (intervals(*recorded(missed))["frr_at_far_1pct"] for missed in (0, 1, 3))
    assert none.low == 0
    # Above the exact binomial of 60 independent clips, below that of two clips a speaker.
    assert 1 - 0.025 ** (1 / 60) < none.high < 1 - 0.025 ** (1 / 8)
    assert one.low < 1 / 60 < none.high < one.high < 0.2
    assert 0 < three.low < 3 / 60 < one.high < three.high < 0.6


def test_a_single_error_leaves_the_accuracy_known() -> None:
    found = intervals(*recorded(1))["accuracy"]
    exact = 1 - 5.57 / 1620  # Upper end of one event, Garwood (1936), over all clips.
    assert 0.97 < found.low < exact < 1 - 1 / 1620 < found.high < 1


def test_a_threshold_that_few_clips_allow_has_no_interval_but_a_reason() -> None:
    found = intervals(*recorded(0))["frr_at_far_01pct"]
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.reason == "1560 other clips do not say where the highest 0.1 % begin"
    fewer = intervals(*recorded(0, others=200))["frr_at_far_1pct"]
    assert fewer.reason == "200 other clips do not say where the highest 1 % begin"
    assert intervals(*recorded(0, others=20_000))["frr_at_far_01pct"].high < 0.3


def test_what_cannot_be_known_is_no_number_with_a_reason() -> None:
    labels, scores, speakers = clips("random", 0)
    nan = scores.copy()
    nan[3] = np.nan
    cases = {
        "one class only": (np.zeros(60, int), scores, speakers),
        "scores that are no numbers": (labels, nan, speakers),
        "clips of one speaker only": (labels, scores, np.zeros(60, int)),
    }
    for reason, case in cases.items():
        for name in ("one_minus_auc", "frr_at_far_1pct"):
            found = intervals(*case)[name]
            assert math.isnan(found.low)
            assert math.isnan(found.high)
            assert found.reason == reason
    # All clips may be right or wrong whatever they are of.
    assert isinstance(intervals(*cases["one class only"])["accuracy"], Interval)
    assert 0 < intervals(*cases["one class only"])["accuracy"].low < 1


@pytest.mark.parametrize(
    ("labels", "scores", "speakers"),
    [([0, 1], [0.5, 0.5], ["a"]), ([0, 2], [0.5, 0.5], ["a", "b"]), ([], [], [])],
)
def test_nonsense_is_refused(labels: list[int], scores: list[float], speakers: list[str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        intervals(labels, scores, speakers)
