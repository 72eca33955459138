"""What a measure gets for free, once it says no more than its value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

from bench.quality.base import Measure, Scored
from bench.quality.resampling import draw_speakers
from models.task import KeywordTask, WordsTask

TASK = WordsTask(("no", "up", "yes"))


class Brier(Measure):
    """A mean of squares, for which formulas are at hand."""

    name, text, lower_is_better = "brier", "Brier score", True

    def value(self, scored: Scored) -> float:
        truth = np.eye(len(scored.task.classes))[scored.labels]
        return float(np.square(scored.probabilities - truth).sum(axis=1).mean())


class Steps(Brier):
    """The same, in a unit that no share has."""

    def value(self, scored: Scored) -> float:
        return 5 - 100 * super().value(scored)


class Sure(Brier):
    """How sure a model is of what is right."""

    lower_is_better = False

    def value(self, scored: Scored) -> float:
        return 1 - super().value(scored) / 2


def clips(speakers: int = 12, each: int = 30, seed: int = 0) -> Scored:
    """Each speaker says as many clips, and some are harder to hear than others."""
    rng = np.random.default_rng(seed)
    labels, who = rng.integers(0, 3, speakers * each), np.repeat(np.arange(speakers), each)
    values = rng.random((len(labels), 3)) + rng.random(speakers)[who, None] * np.eye(3)[labels]
    return Scored.of(TASK, labels, values / values.sum(axis=1, keepdims=True), who.astype(str))


def test_figures_of_resamples_are_those_of_the_clips_repeated() -> None:
    scored = clips(speakers=5)
    counts = draw_speakers(5, 20, np.random.default_rng(0)).counts
    found = Brier().drawn(scored, counts)
    for figure, count in zip(found, counts, strict=True):
        rows = [row for row, who in enumerate(scored.speakers.astype(int)) for _ in range(count[who])]
        truth = np.eye(3)[scored.labels[rows]]
        assert figure == pytest.approx(((scored.probabilities[rows] - truth) ** 2).sum(axis=1).mean())


def test_of_equal_speakers_the_standard_error_is_that_of_their_means() -> None:
    scored, measure = clips(), Brier()
    value = measure.value(scored)
    means = [measure.value(Scored(TASK, *parts)) for parts in by_speaker(scored)]
    error = np.std(means, ddof=1) / math.sqrt(12)
    reach = student.ppf(0.975, 11) * error
    found = measure.interval(scored, draws=20_000)
    # The arm towards no error is symmetric on the logit, and nothing else.
    arm = np.log(value / (1 - value)) - np.log(found.low / (1 - found.low))
    assert arm * value * (1 - value) == pytest.approx(reach, rel=0.03)
    assert found.method == "speaker bootstrap t"
    # What is no share has the interval around itself.
    steps = Steps().interval(scored, draws=20_000)
    assert (steps.low + steps.high) / 2 == pytest.approx(Steps().value(scored))
    assert steps.high - steps.low == pytest.approx(200 * reach, rel=0.03)
    assert steps.method == "symmetric speaker bootstrap t"


def by_speaker(scored: Scored) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rows = [np.flatnonzero(scored.speakers == who) for who in np.unique(scored.speakers)]
    return [(scored.labels[row], scored.probabilities[row], scored.speakers[row]) for row in rows]


def test_where_more_is_better_the_interval_is_that_of_what_lacks() -> None:
    scored = clips()
    found, lacking = Sure().interval(scored), Half().interval(scored)
    assert (found.low, found.high) == pytest.approx((1 - lacking.high, 1 - lacking.low))
    assert found.low < Sure().value(scored) < found.high


class Half(Brier):
    def value(self, scored: Scored) -> float:
        return super().value(scored) / 2


def test_no_error_is_no_certainty() -> None:
    labels, who = np.tile([0, 1, 1, 2, 2], 8), np.repeat(np.arange(8), 5)
    found = Brier().interval(Scored.of(TASK, labels, np.eye(3)[labels], who))
    # Of eight clips of the rarest class without an error: the rule of three, exactly.
    assert (found.low, found.high) == (0, pytest.approx(1 - 0.05 ** (1 / 8)))
    same = Steps().interval(Scored.of(TASK, labels, np.eye(3)[labels], who))
    assert (math.isnan(same.low), same.reason) == (True, "no speaker differs")


def test_what_cannot_be_known_has_a_reason() -> None:
    scored = clips()
    one = Scored(TASK, scored.labels, scored.probabilities, np.zeros(len(scored.labels)))
    assert Brier().interval(one).reason == "clips of one speaker only"
    values = scored.probabilities.copy()
    values[3] = np.nan
    none = Scored(TASK, scored.labels, values, scored.speakers)
    assert Brier().interval(none).reason == "scores that are no numbers"


def test_the_probabilities_of_a_keyword_are_those_of_two_classes() -> None:
    found = Scored.of(KeywordTask("up"), [0.0, 1.0], [0.25, 0.5], ["a", "b"])
    assert found.probabilities.tolist() == [[0.75, 0.25], [0.5, 0.5]]
    assert found.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "scores", "speakers"),
    [
        ([0, 1], [[0.5, 0.5, 0], [0.5, 0.5, 0]], ["a"]),
        ([0, 3], [[0.5, 0.5, 0], [0.5, 0.5, 0]], ["a", "b"]),
        ([0, 0.5], [[0.5, 0.5, 0], [0.5, 0.5, 0]], ["a", "b"]),
        ([0, -1], [[0.5, 0.5, 0], [0.5, 0.5, 0]], ["a", "b"]),
        ([0, 1], [[0.5, 0.5], [0.5, 0.5]], ["a", "b"]),
        ([0, 1], [0.5, 0.5], ["a", "b"]),
        ([], np.zeros((0, 3)), []),
    ],
)
def test_nonsense_is_refused(labels: list[float], scores: list[list[float]], speakers: list[str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Scored.of(TASK, labels, scores, speakers)
