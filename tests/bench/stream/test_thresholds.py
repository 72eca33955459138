"""Thresholds for streams against those of the clips, counted, and against what was kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.results.runs import RunFolder
from bench.stream.thresholds import THRESHOLDS_FILE, keep_thresholds, kept_thresholds, thresholds_of
from models.errors import ResultsError
from models.task import KeywordTask, WordsTask

KEYWORD = KeywordTask("yes")
WORDS = WordsTask(("yes", "no"), with_unknown=True)
# Clips of unknown, yes and no; what each says of the three.
LABELS = np.array([0, 0, 1, 2])
SAID = np.array([[0.5, 0.3, 0.2], [0.9, 0.06, 0.04], [0.1, 0.8, 0.1], [0.2, 0.4, 0.4]])


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    np.savez_compressed(tmp_path / "scores.npz", validation=SAID, validation_labels=LABELS)
    return RunFolder(tmp_path)


def test_each_word_is_above_all_clips_of_others(run: RunFolder) -> None:
    (yes, no), origin = thresholds_of(run, WORDS, 24, None)
    assert "single validation clips" in origin
    # Of 3 clips half a percent is none: just above the one that says most of the word.
    assert yes == np.nextafter(0.4, 1)
    assert no == np.nextafter(0.2, 1)


def test_a_threshold_that_is_given_is_that_of_all_words(run: RunFolder) -> None:
    assert thresholds_of(run, WORDS, 24, 0.3) == ((0.3, 0.3), "given")


@pytest.mark.parametrize(
    ("task", "first", "second", "written"),
    [(KEYWORD, (0.625,), (0.75,), 0.75), (WORDS, (0.625, 0.5), (0.75, 0.25), {"yes": 0.75, "no": 0.25})],
)
def test_kept_by_the_length_of_the_buffer(
    tmp_path: Path, task: KeywordTask, first: tuple[float, ...], second: tuple[float, ...], written: object
) -> None:
    run = RunFolder(tmp_path)
    keep_thresholds(run, task, 24, first)
    keep_thresholds(run, task, 12, second)
    assert thresholds_of(run, task, 24, None)[0] == first
    assert thresholds_of(run, task, 12, None) == (
        second,
        "chosen on a joined stream of the validation speakers",
    )
    assert thresholds_of(run, task, 6, None)[0] == (0.5,) * len(first)
    assert json.loads((tmp_path / THRESHOLDS_FILE).read_text())["12"] == written


def test_a_run_without_labels(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "scores.npz", validation=np.zeros(3), test=np.zeros(3))
    values, origin = thresholds_of(RunFolder(tmp_path), KEYWORD, 24, None)
    assert values == (0.5,)
    assert "kept no labels" in origin


@pytest.mark.parametrize(
    "kept", ["0.5", "{}", '{"yes": 0.5}', '{"yes": 0.5, "no": 2}', '{"yes": 1, "no": "x"}']
)
def test_damaged_thresholds_are_refused(tmp_path: Path, kept: str) -> None:
    (tmp_path / THRESHOLDS_FILE).write_text(f'{{"24": {kept}}}')
    with pytest.raises(ResultsError, match="`bench stream RUN test` makes it anew"):
        kept_thresholds(RunFolder(tmp_path), WORDS)


def test_scores_of_other_classes_are_refused(run: RunFolder) -> None:
    with pytest.raises(ResultsError, match="other classes than keyword yes"):
        thresholds_of(run, KEYWORD, 24, None)
