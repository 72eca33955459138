"""A table that the tests of figures share."""

from __future__ import annotations

import pandas as pd


def rows(**columns: list[object]) -> pd.DataFrame:
    """A small table of one corpus: the base, a student, and its quantized form."""
    table = {
        "label": ["B", "KD", "DQ+KD"],
        "chain": ["", "kd", "dq+kd"],
        "status": ["ok"] * 3,
        "data": ["tones"] * 3,
        "corpus_hash": ["c0ffee00beef"] * 3,
        "keyword": ["left"] * 3,
        "model": ["crnn"] * 3,
        "recipe": ["default"] * 3,
        "au_fa_fr": [2e-5, 4e-5, 5e-5],
        "size_kb": [280.0, 36.0, 17.0],
        "macs": [2_000_000, 300_000, 300_000],
        "epochs": [60, 60, 60],
        "best_epoch": [50, 40, 40],
        "epochs_to_target": [None, None, None],
    }
    return pd.DataFrame(table | columns)


def words_rows(**columns: list[object]) -> pd.DataFrame:
    """The same of five classes: what belongs to a keyword is absent."""
    rest = {
        "task": ["words yes no up down + unknown"] * 3,
        "accuracy": [0.95, 0.9, 0.93],
        "macro_f1": [0.94, 0.8, 0.9],
    }
    return rows().drop(columns=["keyword", "au_fa_fr"]).assign(**(rest | columns))
