"""Labels of one table tested against each other, on the scores that every run keeps."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.comparing.report import Sheet
from bench.comparing.tables import IDENTITY, asked, known
from bench.quality.measures import Measure, measure_of
from bench.quality.paired import (
    NOTHING_SHOWN,
    PairedScores,
    holm,
    paired_difference_over_tasks,
    verdict,
)
from bench.results.scores import Scores, read_scores
from bench.results.table import load_results
from bench.texts import several
from models.errors import KwsError, ResultsError
from models.task import KeywordTask, Task

ALL = "all"
# With as many there are 780 pairs, and hardly a difference is left after their correction.
MOST_LABELS = 40
# What two runs must share for their scores to be of the same clips.
SAME = ("corpus_hash", "split", "clip_s")
COLUMNS = [
    *("a", "b", "measure", "a_mean", "b_mean", "difference", "low", "high", "p_value", "p_corrected"),
    *("verdict", "keywords", "runs", "clips", "keyword_clips", "speakers", "reason"),
]


def compare_labels(
    path: Path, labels: Sequence[str], measure: str = "", keyword: str | None = None
) -> pd.DataFrame:
    """Every pair of labels of a table: paired difference on the same test clips, corrected for their number.

    Args:
        path: The table; its run folders lie in ``runs/`` beside it.
        labels: Two or more of its labels, or ``all``.
        measure: A figure that the task has; empty: the one that rows of it are tested by.
        keyword: Compare on this one alone; None: on the mean over all that the table has.

    Returns:
        One row a pair, ``COLUMNS``; ``difference`` is b - a, the p-values are two-sided.

    Raises:
        ResultsError: No such label or measure, runs of other clips, or scores that are not there.
    """
    table = load_results(path)
    rows = table[table["status"].eq("ok")] if "status" in table else table
    if keyword is not None:
        words = table["keyword"].dropna() if "keyword" in table else ()
        rows = rows[rows["keyword"].eq(keyword)] if len(words) else rows.iloc[:0]
        if rows.empty:
            there = several(words) or "none"
            raise ResultsError(f"no runs of the keyword {keyword!r} in the table; there is: {there}")
    runs = {label: _runs(rows, label, path) for label in _chosen(labels, table, rows)}
    _refuse_other_clips(runs)
    folder = path.parent / "runs"
    tasks = _tasks((row for found in runs.values() for row in found), folder)
    chosen = _measure(next(iter(tasks.values())), measure)
    scores = {
        label: [read_scores(folder / str(row["run_id"]), speakers=True) for row in found]
        for label, found in runs.items()
    }
    lines = [_pair(a, b, runs, scores, chosen.name, tasks) for a, b in combinations(runs, 2)]
    corrected = holm([line["p_value"] for line in lines])
    for line, p_value in zip(lines, corrected, strict=True):
        line["p_corrected"] = p_value
        line["verdict"] = verdict(
            line["a"],
            line["b"],
            line["difference"],
            p_value,
            lower_is_better=chosen.lower_is_better,
        )
    return pd.DataFrame(lines, columns=COLUMNS)


def _chosen(labels: Sequence[str], table: pd.DataFrame, done: pd.DataFrame) -> list[str]:
    there = [str(label) for label in dict.fromkeys(table["label"])]
    for label in labels:
        if label not in there and label != ALL:
            raise ResultsError(f"no label {label!r} in the table; there is: {several(there) or 'none'}")
    ended = [str(label) for label in dict.fromkeys(done["label"])]
    chosen = ended if ALL in labels else list(dict.fromkeys(labels))
    if len(chosen) < 2:
        raise ResultsError("--test needs two labels or more, or: --test all")
    if len(chosen) > MOST_LABELS:
        raise ResultsError(
            f"--test takes {MOST_LABELS} labels at most, not {len(chosen):,}: name those to test"
        )
    return chosen


def _runs(rows: pd.DataFrame, label: str, path: Path) -> list[dict[str, Any]]:
    """The runs of one label in order of their keywords and seeds."""
    found = [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
    found = [row for row in found if row["label"] == label]
    if not found:
        raise ResultsError(f"no run of {label} in {path.name} ended well")
    if any(not known(row.get("run_id")) for row in found):
        raise ResultsError(f"{path.name} does not say which runs it is of: it has no run_id for {label}")
    for column in ("chain", *(name for name in IDENTITY if name not in ("keyword", "task"))):
        values = list(dict.fromkeys(known(row.get(column)) for row in found))
        if len(values) > 1:
            raise ResultsError(f"{label} stands for different runs: {column} {values[0]!r} and {values[1]!r}")
    for run, count in Counter(map(_made, found)).items():
        if count > 1:
            raise ResultsError(f"{label} has two runs of {' seed '.join(run)}; keep one in the table")
    return sorted(found, key=lambda row: (known(row.get("keyword")), float(row.get("seed", 0))))


def _made(row: Mapping[str, Any]) -> tuple[str, str]:
    """What runs of two labels are paired by."""
    return known(row.get("keyword")) or asked(row), known(row.get("seed"))


def _tasks(rows: Iterable[Mapping[str, Any]], folder: Path) -> dict[str, Task]:
    """The tasks of rows, by what they are paired by; several only of keywords.

    Raises:
        ResultsError: There are others beside each other, or a run does not say its task.
    """
    found: dict[str, Task] = {}
    for row in rows:
        name, keyword = _made(row)[0], known(row.get("keyword"))
        if name not in found:
            found[name] = KeywordTask(keyword) if keyword or not name else _task_of(folder, row)
    others = [task for task in found.values() if not isinstance(task, KeywordTask)]
    if others and len(found) > 1:
        first, second = list(found.values())[:2]
        raise ResultsError(f"different tasks cannot be tested together: {first.text} and {second.text}")
    return found


def _task_of(folder: Path, row: Mapping[str, Any]) -> Task:
    # The table has its name alone; what reads it needs torch.
    from bench.results.runs import RunFolder

    return RunFolder(folder / str(row["run_id"])).task()


def _measure(task: Task, name: str) -> Measure:
    try:
        return measure_of(task, name or task.tested)
    except KwsError as error:
        raise ResultsError(f"--test: {error}") from None


def _refuse_other_clips(runs: Mapping[str, list[dict[str, Any]]]) -> None:
    for column in SAME:
        values = {label: known(rows[0].get(column)) for label, rows in runs.items()}
        (first, reference), *others = values.items()
        for label, value in others:
            if value != reference:
                shown = f"{reference[:12]} and {value[:12]}"
                raise ResultsError(f"{first} and {label} are not of the same clips: {column} {shown}")


def _matched(
    a: str,
    b: str,
    runs: Mapping[str, list[dict[str, Any]]],
    scores: Mapping[str, list[Scores]],
    tasks: Mapping[str, Task],
) -> list[PairedScores]:
    """The scores of the runs that two labels both have, keyword by keyword."""
    made = {name: dict(zip(map(_made, runs[name]), scores[name], strict=True)) for name in (a, b)}
    both = [run for run in made[a] if run in made[b]]
    if not both:
        has = (f"{name} has {', '.join(' '.join(run) for run in made[name])}" for name in (a, b))
        raise ResultsError(f"runs are paired by keyword and seed, but {' and '.join(has)}")
    sets: dict[str, PairedScores] = {}
    for run in both:
        word, one, other = run[0], made[a][run], made[b][run]
        first = sets.setdefault(word, PairedScores(one.labels, [], one.known_speakers, tasks[word]))
        for each in (one, other):
            same = (
                np.array_equal(each.labels, first.labels),
                np.array_equal(each.known_speakers, first.speakers),
            )
            if not all(same):
                raise ResultsError(f"{a} and {b} are not of the same clips: their scores do not line up")
        sets[word] = replace(first, pairs=[*first.pairs, (one.probabilities, other.probabilities)])
    return list(sets.values())


def _pair(
    a: str,
    b: str,
    runs: Mapping[str, list[dict[str, Any]]],
    scores: Mapping[str, list[Scores]],
    measure: str,
    tasks: Mapping[str, Task],
) -> dict[str, Any]:
    sets = _matched(a, b, runs, scores, tasks)
    found = paired_difference_over_tasks(sets, measure)
    shared = {_made(row) for row in runs[a]} & {_made(row) for row in runs[b]}
    means = {
        label: float(np.mean([row.get(measure, math.nan) for row in runs[label] if _made(row) in shared]))
        for label in (a, b)
    }
    of_keyword = all(isinstance(task, KeywordTask) for task in tasks.values())
    fewer = len(shared) < max(len(runs[a]), len(runs[b]))
    return {
        "a": a,
        "b": b,
        "measure": measure,
        "a_mean": means[a],
        "b_mean": means[b],
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "keywords": len(sets),
        "runs": len(shared),
        "clips": len(scores[a][0].labels),
        "keyword_clips": int(scores[a][0].labels.sum()) if of_keyword else math.nan,
        "speakers": len(np.unique(scores[a][0].known_speakers)),
        "reason": found.reason or (f"on the {len(shared)} runs that both have" if fewer else ""),
    }


def sheet_of_pairs(name: str, pairs: pd.DataFrame) -> Sheet:
    """What a person wants to see of ``compare_labels``: a line a pair."""
    lines = pairs.to_dict("records")
    rows = tuple(
        (
            (f"{line['a']} / {line['b']}", ""),
            (_figure(line["difference"], "+"), ""),
            (f"{_figure(line['low'], '+')} to {_figure(line['high'], '+')}", ""),
            (_p_value(line["p_corrected"]), ""),
            (line["verdict"], "" if line["verdict"] == NOTHING_SHOWN else "better"),
        )
        for line in lines
    )
    first = lines[0]
    counts = f"{first['clips']:,} test clips"
    if known(first["keyword_clips"]):
        counts += f", {first['keyword_clips']} of the keyword"
    words, seeds = first["keywords"], first["runs"] // first["keywords"]
    if words > 1:
        counts = f"{first['clips']:,} test clips, some {first['keyword_clips']} of each of {words} keywords"
    about = f"on the same {counts}, {first['speakers']} speakers, {seeds} {'seeds' if seeds > 1 else 'seed'}"
    notes = [
        f"difference is B - A {about}",
        "95 % intervals are of each pair alone, from a paired bootstrap by speaker",
        f"p is corrected for {len(lines)} pairs (Holm)" if len(lines) > 1 else "p is of one pair",
        *(f"{line['a']} / {line['b']}: {line['reason']}" for line in lines if line["reason"]),
    ]
    if seeds == 1 and words == 1:
        notes.append("one seed: what another training would change is not in it")
    headings = ("A / B", "B - A", "95 % interval", "p", "verdict")
    return Sheet(f"{name}: {first['measure']} on test", headings, rows, tuple(notes))


def pairs_as_json(pairs: pd.DataFrame) -> str:
    """All there is, in plain values; what is not a number is null."""
    lines = [
        {
            str(name): None if isinstance(value, float) and math.isnan(value) else value
            for name, value in line.items()
        }
        for line in pairs.to_dict("records")
    ]
    return json.dumps(lines, indent=1, allow_nan=False) + "\n"


def _figure(value: float, sign: str = "") -> str:
    if math.isnan(value):
        return "-"
    small = 0 < abs(value) < 0.001
    return f"{value:{sign}.1e}" if small else f"{value:{sign}.2g}"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
