from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from bench.quality.base import Scored
from bench.quality.confusion import CONFUSION_FILE, confusion, read_confusion, save_confusion
from models.errors import ResultsError
from models.task import WordsTask

TASK = WordsTask(("null", "nan", "007"), with_unknown=True)


def scored() -> Scored:
    rng = np.random.default_rng(0)
    labels, values = rng.integers(0, 4, 90), rng.random((90, 4))
    return Scored.of(TASK, labels, values / values.sum(axis=1, keepdims=True), rng.integers(0, 5, 90))


def test_rows_are_what_is_true_and_columns_what_is_said(tmp_path: Path) -> None:
    clips = scored()
    table = confusion(clips)
    assert (table.to_numpy() == confusion_matrix(clips.labels, clips.probabilities.argmax(axis=1))).all()
    assert tuple(table.index) == tuple(table.columns) == TASK.classes
    save_confusion(tmp_path, table)
    assert read_confusion(tmp_path).equals(table)
    assert (read_confusion(tmp_path).index.name, read_confusion(tmp_path).columns.name) == ("true", "said")


@pytest.mark.parametrize(
    "text", ["", "true,a,b\na,1,2\nc,0,1\n", "true,a\na,x\n", "true,a\na,-1\n", "\0", "true\n"]
)
def test_what_is_no_such_table_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="is missing"):
        read_confusion(tmp_path)
    (tmp_path / CONFUSION_FILE).write_text(text)
    with pytest.raises(ResultsError, match=CONFUSION_FILE):
        read_confusion(tmp_path)
