"""The table of rows: adding to it, and reading it, whatever version or plugin wrote it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from bench.files import write_text_atomically
from bench.quality.measures import measure_named
from bench.results.records import COUNTS, FIXED, RENAMED, TEXTS, RunRecord
from models.errors import ResultsError

RESULTS_FILE = "results.csv"
MORE_CELLS = "is no results table: its rows have more cells than its first line has names"
# How a table says that it has no such number.
EMPTY = frozenset(("", "nan", "na", "n/a", "none", "null"))
# What is given on the command line, and measures nothing.
ANY_NUMBER = ("seed", "teacher_seed", "target_metric")
# Of no measure can there be more; sums and products of such numbers stay finite.
GREATEST, ROUNDING = 1e15, 1e-9
# What rows had in common before a table said it.
BEFORE: dict[str, Any] = {
    name: getattr(RunRecord, name) for name in ("clip_s", "mels", "window_ms", "hop_ms", "device")
} | {"split": "speaker"}


def append_record(out: Path, record: RunRecord, *, named: bool = False) -> RunRecord:
    """Adds a row to ``out/results.csv`` under a lock, or puts it in the place of the same run's.

    The run folder is what counts: a run that was made again takes the place of what it was.

    Args:
        out: Folder of the table.
        record: The row.
        named: Its label was given, and replaces that of the same run; else the one in the table stays.

    Returns:
        The row as it stands in the table.

    Raises:
        ResultsError: The table there cannot be read; it is left as it is.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / RESULTS_FILE
    with FileLock(out / ".results.lock"):
        before = _text(path) if path.exists() else ""
        text = _with_another(before, record)
        if text is None:
            header, *rows = _cells(before, path) if before else [[]]
            # Cells of other rows stay as they are written, those of other versions and plugins among them.
            table = [dict(zip(header, row, strict=False)) for row in rows]
            same = [row for row in table if row.get("run_id") == record.run_id]
            if same and not named:
                record = replace(record, label=same[0].get("label") or record.label)
            cells = _as_cells(record)
            for row in same:
                row.update(cells)
            text = _as_csv(_in_order(header, cells), table if same else [*table, cells])
        if text != before:
            write_text_atomically(path, text)
    return record


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except ValueError as error:
        raise ResultsError(f"{path} cannot be read as a CSV table: {error}") from None


def _with_another(text: str, record: RunRecord) -> str | None:
    """A table with a line more; None where that is not all: a long table is slow to take to pieces."""
    cells = _as_cells(record)
    names = next(csv.reader([text.partition("\n")[0]]), [])
    whole = text.endswith("\n") and text.count('"') % 2 == 0
    if not whole or set(cells) - set(names) or record.run_id in text:
        return None
    return text + _as_csv(names, [cells], header=False)


def _as_cells(record: RunRecord) -> dict[str, str]:
    return {
        name: "" if value is None or value != value else str(value)
        for name, value in record.columns().items()
    }


def _cells(text: str, path: Path) -> list[list[str]]:
    """A table as it is written, its first line being the names.

    Raises:
        ResultsError: It is no results table.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ResultsError(f"{path} cannot be read as a CSV table: {error}") from None
    header = [RENAMED.get(name, name) for name in next(iter(rows), [])]
    _refuse_strange(header, path)
    if any(len(row) > len(header) for row in rows):
        raise ResultsError(f"{path} {MORE_CELLS}")
    return [header, *rows[1:]]


def _in_order(header: Iterable[str], more: Iterable[str]) -> list[str]:
    """The columns of a table and of another row: each new one behind the one that it follows there."""
    names = list(header)
    at = 0
    for name in more:
        if name in names:
            at = names.index(name)
        else:
            names.insert(at, name)
        at += 1
    return names


def _as_csv(names: list[str], table: Iterable[Mapping[str, str]], *, header: bool = True) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue()


def _refuse_strange(header: Iterable[Any], path: Path) -> None:
    """Refuses what is no results table by the names of its columns."""
    names = list(map(str, header))
    missing = [repr(name) for name in ("chain", "size_kb", "macs") if name not in names]
    if not any(map(measure_named, names)):
        missing.append("'au_fa_fr', nor any other figure of quality")
    if missing:
        raise ResultsError(f"{path} is no results table: it has no column {missing[0]}")


def load_results(path: Path) -> pd.DataFrame:
    """A results table, this toolkit's own or the published one.

    Returns:
        Its rows; texts are as they stand in the file, also where they look like numbers.

    Raises:
        ResultsError: There is no such file, it is no results table, or a number in it is none.
    """
    table = _read(path).rename(columns=RENAMED)
    _refuse_strange(table.columns, path)
    for name, column in table.items():
        text = name in TEXTS
        table[name] = column.astype(object).mask(column == "") if text else _numbers(column, path)
    if "corpus_hash" in table.columns:
        # Rows of versions that could do nothing else.
        for name, value in BEFORE.items():
            table[name] = table[name].fillna(value) if name in table.columns else value
    if "keyword" in table.columns:
        of_keyword = "keyword " + table["keyword"]
        table["task"] = table["task"].fillna(of_keyword) if "task" in table.columns else of_keyword
    if "status" in table.columns:
        # Rows of other tables, added by hand.
        table["status"] = table["status"].fillna("ok")
    labels = table["label"] if "label" in table.columns else table["chain"]
    # In one piece: a table whose columns were replaced one by one is slow to take rows from.
    return table.assign(label=labels.fillna(table["chain"]).fillna("B")).copy()


def _read(path: Path) -> pd.DataFrame:
    """The file as it is; an empty text is empty."""
    try:
        # Texts are kept: a keyword "null" is a word, a hash of digits no number.
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str), na_filter=False, low_memory=False)
    except FileNotFoundError:
        raise ResultsError(f"no results table at {path}; bench run writes one") from None
    except (ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ResultsError(f"{path} cannot be read as a CSV table: {reason}") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise ResultsError(f"{path} {MORE_CELLS}")
    return table


def _numbers(column: pd.Series[Any], path: Path) -> pd.Series[Any]:
    """A column of numbers, NaN where it is empty; one that no version knows stays as it is if it has others.

    Raises:
        ResultsError: One is none, or is none that could be.
    """
    name = str(column.name)
    truths = column.map(lambda cell: isinstance(cell, bool))
    empty = column.map(lambda cell: str(cell).strip().lower() in EMPTY)
    values: pd.Series[Any] = pd.to_numeric(column.mask(truths | empty), errors="coerce")
    wrong = {"no number": values.isna() & ~empty}
    measure = measure_named(name)
    if name not in FIXED and name not in COUNTS and measure is None:
        return column if wrong["no number"].any() else values
    if name not in ANY_NUMBER:
        # A difference such as 1 - AUC may be less than 0 by rounding.
        least = measure.least if measure else 0.0
        wrong |= {"out of reach": values.abs() > GREATEST, "less than nothing": values < least - ROUNDING}
    for what, rows in wrong.items():
        if rows.any():
            cell = str(column[rows].iloc[0])[:40]
            raise ResultsError(f"{path}: column {name!r} holds {cell!r}, which is {what}")
    return values
