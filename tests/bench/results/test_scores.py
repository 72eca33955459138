"""The scores that a run keeps: what they are, and what cannot be scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.quality.measures import measures
from bench.results.scores import NoScoresError, read_scores
from models.errors import ResultsError
from models.task import WordsTask

WHOLE = {
    "test": np.array([0.1, 0.9, 0.0, 1.0]),
    "test_labels": np.array([0.0, 1.0, 0.0, 1.0]),
    "test_speakers": np.array(["a", "b", "b", "c"]),
}


def save(folder: Path, **changed: Any) -> Path:
    kept = {name: array for name, array in (WHOLE | changed).items() if array is not None}
    np.savez_compressed(folder / "scores.npz", allow_pickle=False, **kept)
    return folder


def test_they_are_what_was_kept(tmp_path: Path) -> None:
    found = read_scores(save(tmp_path), speakers=True)
    np.testing.assert_array_equal(found.of_keyword, WHOLE["test"])
    np.testing.assert_array_equal(found.probabilities, [[0.9, 0.1], [1 - 0.9, 0.9], [1, 0], [0, 1]])
    np.testing.assert_array_equal(found.labels, WHOLE["test_labels"])
    np.testing.assert_array_equal(found.known_speakers, WHOLE["test_speakers"])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"test": np.array([0.1, 0.9, 0.5])}, "not equally many"),
        ({"test_labels": np.array([0.0, 1.0])}, "not equally many"),
        ({"test_speakers": np.array(["a"])}, "not equally many"),
        ({"test_labels": np.array([0.0, 1.0, 0.5, 0.0])}, "none of 0 to 1"),
        ({"test_labels": np.array([0.0, 1.0, np.nan, 0.0])}, "none of 0 to 1"),
        ({"test_labels": np.zeros(4)}, "of one class"),
        ({"test": np.array([0.1, np.nan, 0.5, 0.5])}, "no probability"),
        ({"test": np.array([0.1, 1.1, 0.5, 0.5])}, "no probability"),
        ({"test": np.array([-0.1, 0.1, 0.5, 0.5])}, "no probability"),
        ({"test": np.zeros((4, 1, 1))}, "test is no table of numbers"),
        ({"test": np.ones((4, 1))}, "none of 0 to 0"),
        ({"test": np.full((4, 3), 0.5)}, "do not make 1 together"),
        ({"test": np.array([[1.5, -0.5]] * 4)}, "no probability"),
        ({"test_labels": np.array(["0", "1", "0", "1"])}, "test_labels is no row of numbers"),
        ({"test": np.zeros(0)}, "test is no table of numbers"),
        ({"test": np.array(["0.1", "0.2", "0.3", "0.4"])}, "test is no table of numbers"),
        ({"test": np.zeros(4, complex)}, "test is no table of numbers"),
        ({"test_speakers": np.zeros(4)}, "no row of names"),
    ],
)
def test_what_cannot_be_scores_is_refused(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=says) as caught:
        read_scores(save(tmp_path, **changed))
    assert not isinstance(caught.value, NoScoresError)
    assert str(tmp_path / "scores.npz") in str(caught.value)


def test_those_of_several_classes_are_what_was_kept(tmp_path: Path) -> None:
    classes = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = read_scores(save(tmp_path, test=classes, test_labels=np.array([0, 2, 2, 0])), speakers=True)
    np.testing.assert_array_equal(found.probabilities, classes)
    assert found.labels.tolist() == [0, 2, 2, 0]
    scored = found.scored(WordsTask(("no", "up", "yes")))
    assert measures(scored.task)[0].value(scored) == 0.75


def test_older_runs_kept_less(tmp_path: Path) -> None:
    with pytest.raises(NoScoresError, match="no scores at"):
        read_scores(tmp_path)
    old = save(tmp_path, test_speakers=None)
    assert read_scores(old).speakers is None
    with pytest.raises(NoScoresError, match="holds no test_speakers: an older version wrote it"):
        read_scores(old, speakers=True)
    with pytest.raises(NoScoresError, match="holds no validation:"):
        read_scores(old, "validation")
