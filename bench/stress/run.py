"""``bench stress``: the quality of models under every condition, on the same clips for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from bench.data.clips import corpus_of
from bench.data.corpora.progress import progress_bar
from bench.data.features import log_mel
from bench.files import write_text_atomically
from bench.quality.measures import Scored, measures
from bench.quality.metrics import Floats
from bench.quality.score import EVAL_BATCH, predict, probabilities
from bench.reading import reading
from bench.results.open import open_run, run_at
from bench.results.records import ROW_FILE, RunRecord
from bench.results.runs import RunFolder
from bench.results.table import load_results
from bench.stress.conditions import CLEAN, CONDITIONS, Condition
from bench.stress.errors import errors
from bench.stress.waves import Material, degraded
from bench.texts import several
from bench.threads import threads
from compressors.chain import parse
from models.errors import ResultsError
from models.registry import family
from models.shipped import shipped
from models.task import LEFT_OUT, SILENCE, KeywordTask, Task

STRESS_FILE, STOPPED_FILE = "stress.csv", "stress-stopped.csv"
# Beside those that head tables.
MEASURES = ("eer", "frr_at_far_1pct", "macro_f1")
# Clips of a condition in memory at a time: 33 MB of samples, and as much again while they are made.
BLOCK_CLIPS = 512

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tried:
    """A model to be tried.

    Attributes:
        name: What tables and figures call it: its label, with the run where the label is not alone.
        record: Its row.
        path: Its run folder.
        model: In the form that ships.
        batch: Clips a call: one where the result depends on what else is in the call.
    """

    name: str
    record: RunRecord
    path: Path
    model: nn.Module
    batch: int


def run_folders(table: Path, labels: Sequence[str], keyword: str | None = None) -> list[Path]:
    """The run folders behind rows of a table, ``runs/`` beside it.

    Args:
        table: A table that ``bench run`` wrote.
        labels: Whose; all finished rows where there are none.
        keyword: Only rows of it; None for any.

    Raises:
        ResultsError: No such table or label, or rows that no run folder belongs to.
    """
    rows = load_results(table)
    if "run_id" not in rows or "status" not in rows:
        raise ResultsError(f"{table} names no runs; give a results.csv that bench run wrote")
    rows = rows[rows["status"].eq("ok") & rows["run_id"].notna()]
    if rows.empty:
        raise ResultsError(f"no finished run in {table}; give a table with a row whose status is ok")
    if keyword is not None:
        words = list(rows["keyword"].dropna()) if "keyword" in rows else []
        if keyword not in words:
            there = several(words) or "none"
            raise ResultsError(f"no finished run of {keyword!r} in {table}; there is: {there}")
        rows = rows[rows["keyword"] == keyword]
    for label in labels:
        if label not in set(rows["label"]):
            raise ResultsError(f"no finished run {label!r} in {table}; there is: {several(rows['label'])}")
    wanted = rows[rows["label"].isin(labels)] if labels else rows
    return [table.parent / "runs" / str(run_id) for run_id in wanted["run_id"]]


def open_runs(paths: Sequence[Path]) -> list[Tried]:
    """Runs of one corpus, split and task, each once, in the order given but for the base, which is first.

    Raises:
        ResultsError: A folder holds no finished run, or runs do not belong together.
    """
    found: dict[str, tuple[RunRecord, Path, nn.Module, Task]] = {}
    for path in paths:
        _, record = run_at(path)
        run, model = open_run(path)
        task = run.task()
        first, _, _, of_first = next(iter(found.values()), (record, run.path, model, task))
        same = {"corpora or splits": record.corpus_hash == first.corpus_hash, "tasks": task == of_first}
        if strange := [what for what, alike in same.items() if not alike]:
            raise ResultsError(
                f"{first.run_id} and {record.run_id} are of different {strange[0]}; "
                "give runs of one corpus and one task"
            )
        found.setdefault(record.run_id, (record, run.path, model, task))
    ordered = sorted(found.values(), key=lambda entry: entry[0].chain != "")
    labels = [record.label for record, *_ in ordered]
    return [
        Tried(
            record.label if labels.count(record.label) == 1 else f"{record.label} ({record.run_id[-4:]})",
            record,
            path,
            model,
            1 if shipped(model, converted=_converts(record, path), task=task).alone else EVAL_BATCH,
        )
        for record, path, model, task in ordered
    ]


def _converts(record: RunRecord, path: Path) -> bool:
    """Whether the chain of a row ends in another form."""
    with reading(path / ROW_FILE):
        return parse(record.chain, family(record.model).default).converts


def stress(
    runs: Sequence[Tried],
    data: str | None,
    out: Path,
    *,
    families: Sequence[str],
    draws: int,
    progress: bool,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """Quality of every run under every condition, on the test clips.

    Args:
        runs: From ``open_runs``.
        data: Where their corpus lies now; None for where it lay.
        out: Folder that gets the table so far, as ``stress-stopped.csv``, on Ctrl-C.
        families: Which conditions, besides the clean clips.
        draws: Of the bootstrap behind the intervals.
        progress: Show a progress bar.
        say: Is told what was left out.

    Returns:
        One row a run and condition.

    Raises:
        KwsError: The corpus is not there, or is not the one that the runs were trained on.
    """
    corpus, task = corpus_of(RunFolder(runs[0].path), data)
    every = corpus.indices("test")
    labels = corpus.labels(task)
    rows = every[labels[every] != LEFT_OUT]
    spoken = corpus.clips["word"].ne(SILENCE).to_numpy()[every]
    material = Material(corpus, every[spoken & ~np.isin(labels[every], task.to_find)])
    conditions = [CLEAN, *(condition for condition in CONDITIONS if condition.family in families)]
    for kind in dict.fromkeys(condition.kind for condition in conditions if condition.kind):
        if not material.has(kind):
            say(f"no {kind} noise: {corpus.name} has nothing to make it of")
            conditions = [condition for condition in conditions if condition.kind != kind]
    speakers = corpus.clips["speaker"].to_numpy()[rows]
    table: list[dict[str, Any]] = []
    with progress_bar("trying", len(conditions) * len(rows), progress) as advance:
        for condition in conditions:
            try:
                scores = score_under(condition, runs, rows, material, task, advance)
            except KeyboardInterrupt:
                if table:
                    say(
                        f"tried until now: {save_stress(with_ratios(pd.DataFrame(table)), out, STOPPED_FILE)}"
                    )
                raise
            for run, of_run in zip(runs, scores, strict=True):
                scored = Scored(task, labels[rows], of_run, speakers)
                table.append(_identity(run.record, run.name, condition) | measured(scored, draws))
    return with_ratios(pd.DataFrame(table))


def score_under(
    condition: Condition,
    runs: Sequence[Tried],
    rows: Rows,
    material: Material,
    task: Task,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Floats]:
    """The probabilities of every clip under a condition, by each run, shape (n, K) each.

    Waveforms and features are made once for all runs, a block in memory at a time.
    """
    scores: list[list[Floats]] = [[] for _ in runs]
    for start in range(0, len(rows), BLOCK_CLIPS):
        block = rows[start : start + BLOCK_CLIPS]
        features = log_mel(torch.from_numpy(degraded(condition, block, material)), task.front_end)
        for found, run in zip(scores, runs, strict=True):
            # A model of some thousand weights is slower on several threads.
            with threads(1):
                logits = predict(run.model, features, np.arange(len(block)), run.batch)
            found.append(probabilities(logits))
        advance(len(block))
    return [np.concatenate(found) for found in scores]


def measured(scored: Scored, draws: int) -> dict[str, float]:
    """The measures that head tables, and ``MEASURES``, with their 95 % intervals, and the counts of clips."""
    found: dict[str, float] = {}
    for measure in measures(scored.task):
        if measure.headline or measure.name in MEASURES:
            spread = measure.interval(scored, draws=draws)
            found |= {
                measure.name: measure.value(scored),
                f"{measure.name}_low": spread.low,
                f"{measure.name}_high": spread.high,
            }
    keyword = {"keyword_clips": int(scored.labels.sum())} if isinstance(scored.task, KeywordTask) else {}
    return found | {"clips": len(scored.labels)} | keyword


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Adds how many times a model's own clean error its error is; NaN where the clean one is 0."""
    error = table.assign(error=errors(table)["error"])
    clean = error[error["family"] == "clean"].set_index("run_id")["error"]
    own = table["run_id"].map(clean)
    return table.assign(ratio_to_clean=(error["error"] / own).where(own > 0))


def save_stress(table: pd.DataFrame, out: Path, name: str = STRESS_FILE) -> Path:
    """Writes the table as a whole or not at all; gives its path."""
    path = out / name
    write_text_atomically(path, table.to_csv(index=False))
    return path


def _identity(record: RunRecord, name: str, condition: Condition) -> dict[str, Any]:
    row = record.columns()
    about = ("run_id", "label", "chain", "model", "data", "corpus_hash", "split", "keyword", "task", "seed")
    return {column: row[column] for column in about if column in row} | {
        "name": name,
        "family": condition.family,
        "kind": condition.kind,
        "value": condition.value,
        "condition": condition.name,
    }
