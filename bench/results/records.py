"""The row of a run, and where it is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.files import write_text_atomically
from bench.quality.measures import ENDS, VALIDATION, measure_named, measures
from bench.reading import is_number, is_text, read_object, reading
from models.errors import ResultsError
from models.task import KeywordTask, Task

ROW_FILE = "row.json"
STATUSES = ("ok", "diverged", "undefined")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One row of the table: one model, how it was made, how good it is and what it costs.

    ``quality`` has the columns of the task's measures, and no others. Without a prefix they are on the test
    clips, ``_low`` and ``_high`` are their 95 % interval over speakers, ``validation_`` marks the clips that
    the best epoch was chosen on. Where split is ``random``, both kinds are of the same clips.
    ``choice_spread`` is how far apart on test the checkpoints lie that validation cannot tell from the
    chosen one. Ratios are of the base to this model, so that 20 means twenty times smaller. Peak memory is
    what the process had held at the most when the row was written, all rows before it included.
    ``base`` is the hash of the base's weights where they were given; its own row has 0 epochs.
    """

    run_id: str
    label: str
    chain: str
    model: str
    base: str = ""
    data: str
    corpus_hash: str
    keyword: str = ""
    task: str = ""
    clip_s: float = 1.0
    mels: int = 40
    window_ms: float = 25.0
    hop_ms: float = 10.0
    recipe: str
    seed: int
    teacher_seed: int | None = None
    split: str = "speaker"
    status: str = "ok"
    reason: str = ""
    quality: Mapping[str, float | int] = field(default_factory=dict)
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
    target_metric: float | None = None
    train_seconds: float = float("nan")
    choice_spread: float = float("nan")
    choice_checkpoints: int | None = None
    peak_memory_mb: float = float("nan")
    max_epochs: int | None = None
    versions: int | None = None
    device: str = "cpu"
    threads: int | None = None
    torch_version: str = ""
    bench_version: str = ""

    def __post_init__(self) -> None:
        if taken := FIXED & set(self.quality):
            raise ResultsError(f"a measure must not be called {min(taken)}: a row has such a column")

    @property
    def asked(self) -> str:
        """The keyword, or what else was asked: names of folders and titles."""
        return self.keyword or self.task

    def columns(self) -> dict[str, Any]:
        """The whole row, flat, in a table's order of columns; ``keyword`` and ``base`` if there is one."""
        flat: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            flat |= value if each.name == "quality" else {each.name: value}
        without = [name for name in ("keyword", "base") if not flat[name]]
        return {name: value for name, value in flat.items() if name not in without}

    def __getitem__(self, column: str) -> Any:
        """Any column; NaN for a measure that the row lacks, 0 for a count.

        Raises:
            KeyError: There is no such column.
        """
        if column in FIXED:
            return getattr(self, column)
        if column not in self.quality and column in COUNTS:
            return 0
        if column not in self.quality and measure_named(column) is not None:
            return math.nan
        return self.quality[column]


FIXED = frozenset(each.name for each in fields(RunRecord)) - {"quality"}
TEXTS = frozenset(each.name for each in fields(RunRecord) if each.type == "str")
COUNTS = tuple(prefix + name for prefix in ("", VALIDATION) for name in ("clips", "keyword_clips"))
# What columns were called before there were other tasks than a keyword.
RENAMED = {"target_au_fa_fr": "target_metric"}


def task_columns(task: Task) -> dict[str, Any]:
    """What a row says of its task."""
    front = task.front_end
    word = {"keyword": task.keyword} if isinstance(task, KeywordTask) else {}
    return {
        **word,
        "task": task.text,
        "clip_s": task.clip_s,
        "mels": front.mels,
        "window_ms": front.window_ms,
        "hop_ms": front.hop_ms,
    }


def no_quality(task: Task) -> dict[str, float | int]:
    """The columns of a task's measures, in their order, before anything is measured."""
    names = [each.name for each in measures(task)]
    counts = ("clips", "keyword_clips") if isinstance(task, KeywordTask) else ("clips",)
    found: dict[str, float | int] = {}
    for prefix in ("", VALIDATION):
        found |= {prefix + name: math.nan for name in names} | {prefix + name: 0 for name in counts}
    for prefix in ("", VALIDATION):
        found |= {prefix + name + end: math.nan for name in names for end in ENDS}
    return found


def save_record(folder: Path, record: RunRecord) -> None:
    """Keeps a row in its run folder: from then on the run is done."""
    write_text_atomically(folder / ROW_FILE, json.dumps(record.columns(), indent=1))


def load_record(folder: Path) -> RunRecord | None:
    """The row of a run folder; None while the run is not done.

    Raises:
        ResultsError: The row is damaged, or was written by hand or by a newer version.
    """
    path = folder / ROW_FILE
    if not path.exists():
        return None
    with reading(path):
        values = {RENAMED.get(name, name): value for name, value in read_object(path).items()}
        about = {name: value for name, value in values.items() if name in FIXED}
        if is_text(about.get("keyword")):
            about.setdefault("task", f"keyword {about['keyword']}")
        quality = {name: value for name, value in values.items() if name not in FIXED}
        try:
            record = RunRecord(**about, quality=quality)
        except TypeError as error:
            raise ValueError(f"no row of this version: {error}") from None
        _check(record)
    return record


def _check(record: RunRecord) -> None:
    """Refuses what no row holds."""
    for column in fields(RunRecord):
        if column.name in FIXED and not _holds(column, record[column.name]):
            raise ValueError(f"{column.name} is no {column.type}")
    for name, value in record.quality.items():
        # Of a plugin or another version there may be any figure.
        if not (_is_count(value) if name in COUNTS else is_number(value)):
            raise ValueError(f"{name} is no {'count' if name in COUNTS else 'number'}")
    if record.status not in STATUSES:
        raise ValueError(f"its status is none of {', '.join(STATUSES)}")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


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
    return type(value) is int and ("seed" in column.name or _is_count(value))
