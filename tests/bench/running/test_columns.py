"""The quality columns of a row: every measure of the task, a plugin's among them, and what is kept beside."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from torch import nn

from bench.data.clips import Clips
from bench.data.features import Features
from bench.quality.confusion import CONFUSION_FILE, read_confusion
from bench.quality.measures import _PLUGINS, Measure, Scored, measures, register
from bench.quality.paired import PairedScores, paired_difference_over_tasks
from bench.results.records import RunRecord, load_record, save_record, task_columns
from bench.results.runs import RunFolder
from bench.results.scores import read_scores
from bench.results.table import append_record, load_results
from bench.running.columns import quality_columns
from models.base import ModelOutput
from models.task import KeywordTask, Task, WordsTask

WORDS, KEYWORD = WordsTask(("no", "up", "yes")), KeywordTask("up")
TRAIN, VALIDATION, TEST = np.arange(0), np.arange(120), np.arange(120, 300)


class First(nn.Module):
    """Says what the first frames of a clip are."""

    def __init__(self, task: Task, factor: float = 1.0) -> None:
        super().__init__()
        self._classes, self._factor = len(task.classes), factor

    def forward(self, features: torch.Tensor) -> ModelOutput:
        return ModelOutput(self._factor * features[:, : self._classes, 0], None)


def clips(task: Task) -> Clips:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(task.classes), 300)
    clean = rng.normal(size=(300, 40, 2)).astype(np.float32)
    clean[np.arange(300), labels, 0] += 1.5
    empty = torch.zeros(0)
    return Clips(
        features=Features(torch.from_numpy(clean), empty),
        waveforms=np.zeros((300, 1), np.int16),
        noise=empty,
        labels=labels,
        train=TRAIN,
        validation=VALIDATION,
        test=TEST,
        task=task,
    )


def row(task: Task, folder: Path, **changed: Any) -> RunRecord:
    speakers = np.array([f"s{number % 9}" for number in range(300)])
    found = quality_columns(RunFolder(folder), First(task), clips(task), speakers, alone=False)
    about = {"run_id": "a", "label": "B", "chain": "", "model": "crnn", "data": "d", "corpus_hash": "0"}
    return RunRecord(**about, **task_columns(task), recipe="default", seed=0, size_kb=1.0, macs=5, **found)


def test_words_have_their_figures_and_a_confusion_table(tmp_path: Path) -> None:
    found, data = row(WORDS, tmp_path), clips(WORDS)
    for prefix, rows in (("", TEST), ("validation_", VALIDATION)):
        truth, said = data.labels[rows], data.features.clean[rows, :3, 0].argmax(1).numpy()
        assert found[f"{prefix}accuracy"] == pytest.approx(accuracy_score(truth, said))
        assert found[f"{prefix}macro_f1"] == pytest.approx(f1_score(truth, said, average="macro"))
        assert found[f"{prefix}clips"] == len(rows)
        for name in ("accuracy", "macro_f1"):
            low, high = (found[f"{prefix}{name}{end}"] for end in ("_low", "_high"))
            assert 0 < low < found[f"{prefix}{name}"] < high < 1
        assert 0 < found[f"{prefix}frr_at_far_1pct_up"] < 1
    said = data.features.clean[TEST, :3, 0].argmax(1).numpy()
    assert (read_confusion(tmp_path).to_numpy() == confusion_matrix(data.labels[TEST], said)).all()
    kept = read_scores(tmp_path, "validation", speakers=True)
    assert kept.probabilities.shape == (120, 3)
    assert kept.labels.tolist() == data.labels[VALIDATION].tolist()


def test_a_keyword_has_its_own_and_no_confusion_table(tmp_path: Path) -> None:
    found = row(KEYWORD, tmp_path)
    scored = read_scores(tmp_path, speakers=True).scored(KEYWORD)
    for measure in measures(KEYWORD):
        assert found[measure.name] == measure.value(scored)
        assert found[f"{measure.name}_high"] == pytest.approx(measure.interval(scored).high, nan_ok=True)
    assert found["keyword_clips"] == clips(KEYWORD).labels[TEST].sum()
    assert not (tmp_path / CONFUSION_FILE).exists()


@pytest.fixture
def _worst_word() -> Iterator[None]:
    class Worst(Measure):
        name, text, lower_is_better, headline = "worst_word", "misses of the worst word", True, True

        def value(self, scored: Scored) -> float:
            found = scored.probabilities.max(axis=1) * (scored.probabilities.argmax(axis=1) == scored.labels)
            return max(float((found[scored.labels == one] < 0.5).mean()) for one in scored.task.to_find)

    register(Worst)
    yield
    _PLUGINS.clear()


@pytest.mark.usefixtures("_worst_word")
@pytest.mark.parametrize("task", [WORDS, KEYWORD], ids=lambda task: task.kind)
def test_a_measure_of_a_plugin_is_in_row_table_intervals_and_paired_test(task: Task, tmp_path: Path) -> None:
    found, data = row(task, tmp_path), clips(task)
    probabilities = torch.softmax(data.features.clean[TEST, : len(task.classes), 0], 1).numpy()
    right = probabilities[np.arange(180), data.labels[TEST]]
    worst = max((right[data.labels[TEST] == one] < 0.5).mean() for one in task.to_find)
    assert found["worst_word"] == pytest.approx(worst)
    assert found["worst_word_low"] < worst < found["worst_word_high"]
    assert found["validation_worst_word_low"] < found["validation_worst_word"]
    save_record(tmp_path, found)
    append_record(tmp_path, found)
    again = load_record(tmp_path)
    assert again is not None
    assert again["worst_word_high"] == found["worst_word_high"]
    assert load_results(tmp_path / "results.csv")["worst_word"].tolist() == [found["worst_word"]]
    # A model that takes each class for the one before it.
    pairs = [(probabilities, np.roll(probabilities, -1, axis=1))]
    speakers = read_scores(tmp_path, speakers=True).known_speakers
    sets = [PairedScores(data.labels[TEST], pairs, speakers, task)]
    tested = paired_difference_over_tasks(sets, "worst_word", draws=100)
    assert 0 < tested.low <= tested.difference
    assert tested.p_value < 0.01


def test_a_figure_without_end_is_empty_so_that_the_row_can_be_read_again(tmp_path: Path) -> None:
    class Endless(Measure):
        name, text, lower_is_better = "endless", "endless", True

        def value(self, scored: Scored) -> float:
            return math.inf

    register(Endless)
    try:
        save_record(tmp_path, row(WORDS, tmp_path))
    finally:
        _PLUGINS.clear()
    found = load_record(tmp_path)
    assert found is not None
    assert math.isnan(found.quality["endless"])
    assert math.isnan(found.quality["validation_endless_high"])


def test_figures_that_are_not_defined_are_empty_and_the_row_says_why(tmp_path: Path) -> None:
    speakers = np.array([f"s{number % 9}" for number in range(300)])
    model = First(WORDS, math.nan)
    found = quality_columns(RunFolder(tmp_path), model, clips(WORDS), speakers, alone=True)
    assert (found["status"], found["reason"]) == (
        "undefined",
        "the model's scores of validation clips are no numbers",
    )
    assert math.isnan(found["quality"]["accuracy"])
    one = replace(clips(WORDS), labels=np.zeros(300, np.int64))
    found = quality_columns(RunFolder(tmp_path), First(WORDS), one, speakers, alone=False)
    assert found["reason"] == "the validation clips are all of one class"
    assert found["quality"]["accuracy"] > 0
    assert math.isnan(found["quality"]["frr_at_far_1pct_up"])
