"""The row of a run, the table of rows, and where both are kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pandas as pd
from filelock import FileLock

from bench.files import write_text_atomically
from models.errors import ResultsError

RESULTS_FILE = "results.csv"


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


def save_record(folder: Path, record: RunRecord) -> None:
    """Keeps a row in its run folder: from then on the run is done."""
    write_text_atomically(folder / "row.json", json.dumps(asdict(record), indent=1))


def load_record(folder: Path) -> RunRecord | None:
    """The row of a run folder; None while the run is not done.

    Raises:
        ResultsError: The row was written by hand or by a newer version.
    """
    path = folder / "row.json"
    if not path.exists():
        return None
    try:
        return RunRecord(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ResultsError(
            f"{path} is no row of this version ({error}); remove its folder to run it again"
        ) from None


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

    Raises:
        ResultsError: There is no such file, or it is no results table.
    """
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise ResultsError(f"no results table at {path}; bench run writes one") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} cannot be read as a CSV table: {error}") from None
    missing = [name for name in ("chain", "size_kb", "macs", "au_fa_fr") if name not in table.columns]
    if missing:
        raise ResultsError(f"{path} is no results table: it has no column {missing[0]!r}")
    for name in missing_numbers(table):
        raise ResultsError(f"{path}: column {name!r} holds something that is no finite number")
    if "corpus_hash" in table.columns:
        # Rows of versions that could not split otherwise.
        split = table["split"].astype(object) if "split" in table.columns else None
        table["split"] = "speaker" if split is None else split.fillna("speaker")
    if "status" in table.columns:
        # Rows of other tables, added by hand.
        table["status"] = table["status"].astype(object).fillna("ok")
    labels = table["label"] if "label" in table.columns else table["chain"]
    return table.assign(label=labels.astype(object).fillna(table["chain"].astype(object)).fillna("B"))


def missing_numbers(table: pd.DataFrame) -> list[str]:
    """Measures that hold text or an infinity; nothing at all is allowed."""
    measures = [name for name in ("macs", "params", "size_kb", "au_fa_fr", "epochs") if name in table.columns]
    return [
        name
        for name in measures
        if not pd.api.types.is_numeric_dtype(table[name]) or table[name].abs().eq(float("inf")).any()
    ]
