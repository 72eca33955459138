"""Measures of several words: figures of resamples, and intervals against those of one keyword."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.quality.base import Scored
from bench.quality.keyword import Misses
from bench.quality.measures import measures
from bench.quality.resampling import draw_speakers
from bench.quality.shares import share_interval
from bench.quality.words import Accuracy, MacroF1
from models.task import KeywordTask, WordsTask

TASK = WordsTask(("no", "up", "yes"), with_unknown=True)


def clips(seed: int, speakers: int = 6, count: int = 1200) -> Scored:
    rng = np.random.default_rng(seed)
    labels, who = rng.choice(4, count, p=[0.1, 0.3, 0.3, 0.3]), rng.integers(0, speakers, count)
    logits = rng.normal(size=(count, 4)) + 3 * np.eye(4)[labels] * rng.random(speakers)[who, None]
    values = np.exp(logits)
    return Scored.of(TASK, labels, values / values.sum(axis=1, keepdims=True), who)


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_is_its_clips_repeated(seed: int) -> None:
    scored = clips(seed)
    counts = draw_speakers(6, 20, np.random.default_rng(seed)).counts
    for measure in measures(TASK):
        found = measure.drawn(scored, counts)
        assert len(found) == len(counts)
        for figure, count in zip(found, counts, strict=True):
            rows = np.repeat(np.arange(1200), count[scored.speakers])
            again = Scored(TASK, scored.labels[rows], scored.probabilities[rows], scored.speakers[rows])
            assert figure == pytest.approx(measure.value(again), abs=1e-12)


def test_accuracy_has_the_interval_of_a_share_of_clustered_clips() -> None:
    scored = clips(0)
    wrong = scored.probabilities.argmax(axis=1) != scored.labels
    low, high = share_interval(wrong, scored.speakers)
    found = Accuracy(of_keyword=False).interval(scored)
    assert (found.low, found.high) == pytest.approx((1 - high, 1 - low))
    assert found.method == "share of clustered clips"


def test_misses_of_a_word_are_those_of_a_keyword_among_all_other_clips() -> None:
    scored = clips(1, count=4000)
    of_word = Misses("1", "up")
    alone = Scored.of(KeywordTask("up"), scored.labels == 2, scored.probabilities[:, 2], scored.speakers)
    assert of_word.value(scored) == Misses("1").value(alone) > 0
    assert of_word.interval(scored) == Misses("1").interval(alone)
    assert not math.isnan(of_word.interval(scored).low)


def test_macro_f1_has_an_interval_around_it_and_one_class_of_a_single_speaker_leaves_it() -> None:
    scored = clips(2)
    found, value = MacroF1().interval(scored), MacroF1().value(scored)
    assert 0 < found.low < value < found.high < 1
    # As silence, which is cut from few recordings of noise.
    speakers = np.where(scored.labels == 0, 5, scored.speakers)
    noise = MacroF1().interval(Scored(TASK, scored.labels, scored.probabilities, speakers))
    assert 0 < noise.low < value < noise.high < 1


def test_a_word_without_clips_has_no_misses_and_the_rest_has_figures() -> None:
    scored = clips(3)
    rows = scored.labels != 2
    fewer = Scored(TASK, scored.labels[rows], scored.probabilities[rows], scored.speakers[rows])
    assert math.isnan(Misses("1", "up").value(fewer))
    assert Misses("1", "up").interval(fewer).reason == "one class only"
    for name in ("accuracy", "macro_f1"):
        (measure,) = (each for each in measures(TASK) if each.name == name)
        found = measure.interval(fewer)
        assert found.low < measure.value(fewer) < found.high
