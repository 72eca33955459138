"""Which class is taken for which: the table beside the scores of a run of several words."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.files import write_text_atomically
from bench.quality.base import Scored
from bench.quality.metrics import confusion_counts, said
from bench.reading import reading

CONFUSION_FILE = "confusion.csv"
TRUE, SAID = "true", "said"


def confusion(scored: Scored) -> pd.DataFrame:
    """How many clips of each class (rows) are taken for each (columns), shape (K, K).

    Examples:
        >>> from models.task import WordsTask
        >>> said = [[0.9, 0.1], [0.8, 0.2]]
        >>> confusion(Scored.of(WordsTask(("no", "up")), [0, 1], said, ["a", "b"])).loc["up", "no"]
        np.int64(1)
    """
    classes = scored.task.classes
    counts = confusion_counts(scored.labels, said(scored.probabilities), len(classes))
    return pd.DataFrame(
        counts, pd.Index(classes, name=TRUE, dtype=object), pd.Index(classes, name=SAID, dtype=object)
    )


def save_confusion(run: Path, table: pd.DataFrame) -> None:
    """Keeps a table in a run folder, as a whole or not at all."""
    write_text_atomically(run / CONFUSION_FILE, table.to_csv())


def read_confusion(run: Path) -> pd.DataFrame:
    """The table of a run folder, as it was kept.

    Raises:
        ResultsError: It is missing, as for a keyword, or damaged.
    """
    path = run / CONFUSION_FILE
    with reading(path):
        # Texts are kept: "null" is a word.
        table = pd.read_csv(path, index_col=0, dtype={0: str}, na_filter=False)
        counts = table.to_numpy()
        if list(table.index) != list(table.columns) or counts.dtype.kind != "i" or (counts < 0).any():
            raise ValueError("no table of counts, each class by each")
        return table.rename_axis(columns=SAID)
