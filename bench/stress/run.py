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

from bench.data.clips import corpus_of, refuse_unheard
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
from bench.stress.waves import Material, degraded
from bench.texts import several
from bench.threads import threads
from compressors.chain import parse
from models.errors import ResultsError
from models.registry import family
from models.shipped import shipped
from models.task import UNNAMED

STRESS_FILE, STOPPED_FILE = "stress.csv", "stress-stopped.csv"
MEASURES = ("one_minus_auc", "eer", "frr_at_far_1pct")
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
    """Runs of one corpus, split and keyword, each once, in the order given but for the base, which is first.

    Raises:
        ResultsError: A folder holds no finished run, or runs do not belong together.
    """
    found: dict[str, tuple[RunRecord, Path, nn.Module]] = {}
    for path in paths:
        _, record = run_at(path)
        run, model = open_run(path)
        refuse_unheard(run.task(), "stress")
        first = next(iter(found.values()), (record,))[0]
        for column, what in (("corpus_hash", "corpora or splits"), ("keyword", "keywords")):
            if record[column] != first[column]:
                raise ResultsError(
                    f"{first.run_id} and {record.run_id} are of different {what}; "
                    "give runs of one corpus and one keyword"
                )
        found.setdefault(record.run_id, (record, run.path, model))
    ordered = sorted(found.values(), key=lambda entry: entry[0].chain != "")
    labels = [record.label for record, _, _ in ordered]
    return [
        Tried(
            record.label if labels.count(record.label) == 1 else f"{record.label} ({record.run_id[-4:]})",
            record,
            path,
            model,
            1 if shipped(model, converted=_converts(record, path), task=UNNAMED).alone else EVAL_BATCH,
        )
        for record, path, model in ordered
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
    rows = corpus.indices("test")
    labels = corpus.labels(task)
    material = Material(corpus, rows[labels[rows] == 0])
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
                scores = score_under(condition, runs, rows, material, advance)
            except KeyboardInterrupt:
                if table:
                    say(
                        f"tried until now: {save_stress(with_ratios(pd.DataFrame(table)), out, STOPPED_FILE)}"
                    )
                raise
            for run, of_run in zip(runs, scores, strict=True):
                table.append(
                    _identity(run.record, run.name, condition)
                    | measured(labels[rows], of_run, speakers, draws)
                )
    return with_ratios(pd.DataFrame(table))


def score_under(
    condition: Condition,
    runs: Sequence[Tried],
    rows: Rows,
    material: Material,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Floats]:
    """The keyword probability of every clip under a condition, by each run, shape (n,) each.

    Waveforms and features are made once for all runs, a block in memory at a time.
    """
    scores: list[list[Floats]] = [[] for _ in runs]
    for start in range(0, len(rows), BLOCK_CLIPS):
        block = rows[start : start + BLOCK_CLIPS]
        features = log_mel(torch.from_numpy(degraded(condition, block, material)))
        for found, run in zip(scores, runs, strict=True):
            # A model of some thousand weights is slower on several threads.
            with threads(1):
                logits = predict(run.model, features, np.arange(len(block)), run.batch)
            found.append(probabilities(logits)[:, 1])
        advance(len(block))
    return [np.concatenate(found) for found in scores]


def measured(
    labels: npt.NDArray[np.int64], scores: Floats, speakers: npt.NDArray[Any], draws: int
) -> dict[str, float]:
    """Each of ``MEASURES`` with its 95 % interval, and the counts of clips."""
    scored = Scored.of(UNNAMED, labels, scores, speakers)
    found: dict[str, float] = {}
    for measure in measures(scored.task):
        if measure.name in MEASURES:
            spread = measure.interval(scored, draws=draws)
            found |= {
                measure.name: measure.value(scored),
                f"{measure.name}_low": spread.low,
                f"{measure.name}_high": spread.high,
            }
    return found | {"clips": len(labels), "keyword_clips": int(labels.sum())}


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Adds how many times a model's own clean 1-AUC its 1-AUC is; NaN where the clean one is 0."""
    clean = table[table["family"] == "clean"].set_index("run_id")["one_minus_auc"]
    own = table["run_id"].map(clean)
    return table.assign(ratio_to_clean=(table["one_minus_auc"] / own).where(own > 0))


def save_stress(table: pd.DataFrame, out: Path, name: str = STRESS_FILE) -> Path:
    """Writes the table as a whole or not at all; gives its path."""
    path = out / name
    write_text_atomically(path, table.to_csv(index=False))
    return path


def _identity(record: RunRecord, name: str, condition: Condition) -> dict[str, Any]:
    columns = ("run_id", "label", "chain", "model", "data", "corpus_hash", "split", "keyword", "seed")
    about = {column: record[column] for column in columns}
    return about | {
        "name": name,
        "family": condition.family,
        "kind": condition.kind,
        "value": condition.value,
        "condition": condition.name,
    }
