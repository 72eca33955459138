"""The row of a run, the table of rows, and where both are kept."""

from __future__ import annotations

import json
import re
from dataclasses import Field, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from bench.files import write_text_atomically
from bench.reading import is_number, is_text, read_object, reading
from models.errors import ResultsError

RESULTS_FILE = "results.csv"
ROW_FILE = "row.json"
STATUSES = ("ok", "diverged", "undefined")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One row of the table: one model, how it was made, how good it is and what it costs.

    Quality without a prefix is on the test clips, ``_low`` and ``_high`` are its 95 % interval
    over speakers, ``validation_`` marks the clips that the best epoch was chosen on. Where split is
    ``random``, both kinds are of the same clips. ``choice_spread`` is how far apart in 1 - AUC on test the
    checkpoints lie that validation cannot tell from the chosen one. Ratios are of the base to this model,
    so that 20 means twenty times smaller. Peak memory is what the process had held at the most when the
    row was written, all rows before it included.
    """

    run_id: str
    label: str
    chain: str
    model: str
    data: str
    corpus_hash: str
    keyword: str
    recipe: str
    seed: int
    teacher_seed: int | None = None
    task: str = ""
    split: str = "speaker"
    status: str = "ok"
    reason: str = ""
    au_fa_fr: float = float("nan")
    auc: float = float("nan")
    one_minus_auc: float = float("nan")
    eer: float = float("nan")
    frr_at_far_1pct: float = float("nan")
    frr_at_far_01pct: float = float("nan")
    accuracy: float = float("nan")
    clips: int = 0
    keyword_clips: int = 0
    validation_au_fa_fr: float = float("nan")
    validation_auc: float = float("nan")
    validation_one_minus_auc: float = float("nan")
    validation_eer: float = float("nan")
    validation_frr_at_far_1pct: float = float("nan")
    validation_frr_at_far_01pct: float = float("nan")
    validation_accuracy: float = float("nan")
    validation_clips: int = 0
    validation_keyword_clips: int = 0
    au_fa_fr_low: float = float("nan")
    au_fa_fr_high: float = float("nan")
    auc_low: float = float("nan")
    auc_high: float = float("nan")
    one_minus_auc_low: float = float("nan")
    one_minus_auc_high: float = float("nan")
    eer_low: float = float("nan")
    eer_high: float = float("nan")
    frr_at_far_1pct_low: float = float("nan")
    frr_at_far_1pct_high: float = float("nan")
    frr_at_far_01pct_low: float = float("nan")
    frr_at_far_01pct_high: float = float("nan")
    accuracy_low: float = float("nan")
    accuracy_high: float = float("nan")
    validation_au_fa_fr_low: float = float("nan")
    validation_au_fa_fr_high: float = float("nan")
    validation_auc_low: float = float("nan")
    validation_auc_high: float = float("nan")
    validation_one_minus_auc_low: float = float("nan")
    validation_one_minus_auc_high: float = float("nan")
    validation_eer_low: float = float("nan")
    validation_eer_high: float = float("nan")
    validation_frr_at_far_1pct_low: float = float("nan")
    validation_frr_at_far_1pct_high: float = float("nan")
    validation_frr_at_far_01pct_low: float = float("nan")
    validation_frr_at_far_01pct_high: float = float("nan")
    validation_accuracy_low: float = float("nan")
    validation_accuracy_high: float = float("nan")
    macs: int | None = None
    macs_per_s: float = float("nan")
    params: int | None = None
    size_kb: float = float("nan")
    theoretical_kb: float = float("nan")
    artifact_bytes: int | None = None
    payload_bytes: int | None = None
    scale_bytes: int | None = None
    container_bytes: int | None = None
    latency_ms: float = float("nan")
    latency_threads: int = 1
    macs_ratio: float = float("nan")
    params_ratio: float = float("nan")
    size_ratio: float = float("nan")
    epochs: int | None = None
    best_epoch: int | None = None
    epochs_to_target: int | None = None
    target_au_fa_fr: float | None = None
    train_seconds: float = float("nan")
    choice_spread: float = float("nan")
    choice_checkpoints: int | None = None
    peak_memory_mb: float = float("nan")
    max_epochs: int | None = None
    versions: int | None = None
    threads: int | None = None
    torch_version: str = ""
    bench_version: str = ""


COLUMNS = tuple(field.name for field in fields(RunRecord))
TEXTS = frozenset(field.name for field in fields(RunRecord) if field.type == "str")
NUMBERS = frozenset(COLUMNS) - TEXTS
# Measures of the same kind that other versions may have had at other rates.
RATES = re.compile(r"(validation_)?frr_at_far_\d+pct(_low|_high)?")
# How a table says that it has no such number.
EMPTY = frozenset(("", "nan", "na", "n/a", "none", "null"))
# What is given on the command line, and measures nothing.
ANY_NUMBER = ("seed", "teacher_seed", "target_au_fa_fr")
# Of no measure can there be more; sums and products of such numbers stay finite.
GREATEST, ROUNDING = 1e15, 1e-9


def save_record(folder: Path, record: RunRecord) -> None:
    """Keeps a row in its run folder: from then on the run is done."""
    write_text_atomically(folder / ROW_FILE, json.dumps(asdict(record), indent=1))


def load_record(folder: Path) -> RunRecord | None:
    """The row of a run folder; None while the run is not done.

    Raises:
        ResultsError: The row is damaged, or was written by hand or by a newer version.
    """
    path = folder / ROW_FILE
    if not path.exists():
        return None
    with reading(path):
        values = read_object(path)
        try:
            record = RunRecord(**values)
        except TypeError as error:
            raise ValueError(f"no row of this version: {error}") from None
        for column in fields(RunRecord):
            if not _holds(column, getattr(record, column.name)):
                raise ValueError(f"{column.name} is no {column.type}")
        if record.status not in STATUSES:
            raise ValueError(f"its status is none of {', '.join(STATUSES)}")
    return record


def _holds(column: Field[Any], value: object) -> bool:
    """Whether a column of a row may hold a value."""
    kind, _, optional = str(column.type).partition(" | ")
    if value is None:
        return bool(optional)
    if kind == "str":
        return is_text(value)
    if kind == "float":
        return is_number(value)
    # A seed is any number; everything else that is whole is counted.
    return type(value) is int and ("seed" in column.name or 0 <= value < 2**63)


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
        row = pd.DataFrame([asdict(record)], columns=list(COLUMNS))
        table = row
        if path.exists():
            before = load_results(path).astype(object)
            # Columns are only ever added: those of other versions stay.
            extra = [name for name in before.columns if name not in COLUMNS]
            before = before.reindex(columns=[*COLUMNS, *extra])
            there = before["run_id"] == record.run_id
            if there.any():
                table = before
                record = record if named else replace(record, label=str(before.loc[there, "label"].iloc[0]))
                table.loc[there, list(COLUMNS)] = list(asdict(record).values())
            else:
                table = pd.concat([before, row.astype(object)], ignore_index=True)
        text = table.to_csv(index=False)
        if not path.exists() or path.read_text() != text:
            write_text_atomically(path, text)
    return record


def load_results(path: Path) -> pd.DataFrame:
    """A results table, this toolkit's own or the published one.

    Returns:
        Its rows; texts are as they stand in the file, also where they look like numbers.

    Raises:
        ResultsError: There is no such file, it is no results table, or a number in it is none.
    """
    table = _read(path)
    missing = [name for name in ("chain", "size_kb", "macs", "au_fa_fr") if name not in table.columns]
    if missing:
        raise ResultsError(f"{path} is no results table: it has no column {missing[0]!r}")
    for name, column in table.items():
        text = name in TEXTS
        table[name] = column.astype(object).mask(column == "") if text else _numbers(column, path)
    if "corpus_hash" in table.columns:
        # Rows of versions that could not split otherwise.
        table["split"] = table["split"].fillna("speaker") if "split" in table.columns else "speaker"
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
        raise ResultsError(
            f"{path} is no results table: its rows have more cells than its first line has names"
        )
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
    if name not in NUMBERS and not RATES.fullmatch(name):
        return column if wrong["no number"].any() else values
    if name not in ANY_NUMBER:
        # A difference such as 1 - AUC may be less than 0 by rounding.
        wrong |= {"out of reach": values.abs() > GREATEST, "less than nothing": values < -ROUNDING}
    for what, rows in wrong.items():
        if rows.any():
            cell = str(column[rows].iloc[0])[:40]
            raise ResultsError(f"{path}: column {name!r} holds {cell!r}, which is {what}")
    return values
