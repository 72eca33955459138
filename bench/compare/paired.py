"""Labels of one table tested against each other, on the scores that every run keeps."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.compare.report import Sheet
from bench.compare.tables import IDENTITY, known, measure_named
from bench.records import load_results
from bench.statistics.paired import NOTHING_SHOWN, holm, paired_difference_over_repeats, verdict
from bench.statistics.resampling import MEASURES
from models.errors import ResultsError

Runs = list[dict[str, Any]]

ALL = "all"
NEEDED = ("test", "test_labels", "test_speakers")
# What two runs must share for their scores to be of the same clips.
SAME = ("corpus_hash", "keyword")
COLUMNS = [
    *(
        "data",
        "keyword",
        "a",
        "b",
        "measure",
        "a_mean",
        "b_mean",
        "difference",
        "low",
        "high",
        "p_value",
        "p_corrected",
    ),
    *("verdict", "runs", "clips", "keyword_clips", "speakers", "reason"),
]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a run says about the test clips.

    Attributes:
        labels: 1 for the keyword, shape (N,).
        scores: Probability of the keyword, shape (N,).
        speakers: Shape (N,).
    """

    labels: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    speakers: npt.NDArray[np.str_]


def read_scores(folder: Path) -> Scores:
    """The test scores of a run folder.

    Raises:
        ResultsError: There are none, or they come from a version that did not keep the speakers.
    """
    path = folder / "scores.npz"
    try:
        # Read first: of a damaged file NumPy leaves the handle open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            missing = [name for name in NEEDED if name not in kept.files]
            if not missing:
                return Scores(*(kept[name] for name in ("test_labels", "test", "test_speakers")))
    except FileNotFoundError:
        raise ResultsError(f"no scores at {path}; --test needs the run folders beside the table") from None
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from None
    raise ResultsError(
        f"{path} holds no {missing[0]}: an older version wrote it; remove {folder} and run it again"
    )


def compare_labels(path: Path, labels: Sequence[str], measure: str = "one_minus_auc") -> pd.DataFrame:
    """Every pair of labels of a table: paired difference on the same test clips, corrected for their number.

    Labels that stand for runs on several corpora or keywords are tested on each of them.

    Args:
        path: The table; its run folders lie in ``runs/`` beside it.
        labels: Two or more of its labels, or ``all`` those that have a finished run.
        measure: A quality figure on test.

    Returns:
        One row a pair, ``COLUMNS``; ``difference`` is b - a, the p-values are two-sided.

    Raises:
        ResultsError: No such label or measure, runs of other clips, or scores that are not there.
    """
    if measure not in MEASURES:
        raise ResultsError(f"no measure {measure!r} to test; there is: {', '.join(MEASURES)}")
    table = load_results(path)
    rows = table[table["status"].eq("ok")] if "status" in table else table
    chosen = _chosen(labels, table, rows)
    lines: list[dict[str, Any]] = []
    same = [rows[name] if name in rows else pd.Series("", rows.index) for name in SAME]
    for _, part in rows.groupby(same, sort=False, dropna=False):
        there = set(part["label"])
        runs = {label: _runs(part, label, path) for label in chosen if label in there}
        lines += _pairs(runs, path.parent / "runs", measure)
    paired = {line[side] for line in lines for side in ("a", "b")}
    if not lines or (ALL not in labels and set(chosen) - paired):
        _refuse_other_clips({label: _runs(rows, label, path) for label in chosen})
    corrected = holm([line["p_value"] for line in lines])
    known_measure = measure_named(measure)
    assert known_measure is not None
    for line, p_value in zip(lines, corrected, strict=True):
        line["p_corrected"] = p_value
        line["verdict"] = verdict(
            line["a"],
            line["b"],
            line["difference"],
            p_value,
            lower_is_better=known_measure.lower_is_better,
        )
    return pd.DataFrame(lines, columns=COLUMNS)


def _chosen(labels: Sequence[str], table: pd.DataFrame, finished: pd.DataFrame) -> list[str]:
    there = [str(label) for label in dict.fromkeys(table["label"])]
    for label in labels:
        if label not in there and label != ALL:
            raise ResultsError(f"no label {label!r} in the table; there is: {', '.join(there)}")
    chosen = list(dict.fromkeys(map(str, finished["label"]) if ALL in labels else labels))
    if len(chosen) < 2:
        raise ResultsError("--test needs two labels or more, or: --test all")
    return chosen


def _runs(rows: pd.DataFrame, label: str, path: Path) -> Runs:
    """The runs of one label in order of their seeds."""
    found = [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
    found = [row for row in found if row["label"] == label]
    if not found:
        raise ResultsError(f"no run of {label} in {path.name} ended well")
    if any(not known(row.get("run_id")) for row in found):
        raise ResultsError(f"{path.name} does not say which runs it is of: it has no run_id for {label}")
    for column in ("chain", *IDENTITY):
        values = list(dict.fromkeys(known(row.get(column)) for row in found))
        if len(values) > 1:
            raise ResultsError(f"{label} stands for different runs: {column} {values[0]!r} and {values[1]!r}")
    seeds = [known(row.get("seed")) for row in found]
    for first, second in combinations(range(len(found)), 2):
        if seeds[first] == seeds[second]:
            names = " and ".join(str(found[number]["run_id"]) for number in (first, second))
            raise ResultsError(f"{label} has two runs of seed {seeds[first]}, {names}; keep one in the table")
    return sorted(found, key=lambda row: float(row.get("seed", 0)))


def _refuse_other_clips(runs: Mapping[str, Runs]) -> None:
    for column in SAME:
        values = {label: known(rows[0].get(column)) for label, rows in runs.items()}
        (first, reference), *others = values.items()
        for label, value in others:
            if value != reference:
                shown = f"{reference[:12]} and {value[:12]}"
                raise ResultsError(f"{first} and {label} are not of the same clips: {column} {shown}")
    raise ResultsError("no two of the labels have runs on the same clips")


def _pairs(runs: Mapping[str, Runs], folder: Path, measure: str) -> list[dict[str, Any]]:
    """Every two labels, by the seeds that both have."""
    scores = {
        label: {known(row.get("seed")): read_scores(folder / str(row["run_id"])) for row in found}
        for label, found in runs.items()
        if len(runs) > 1
    }
    return [_pair(a, b, runs, scores, measure) for a, b in combinations(runs, 2)]


def _pair(
    a: str,
    b: str,
    runs: Mapping[str, Runs],
    scores: Mapping[str, Mapping[str, Scores]],
    measure: str,
) -> dict[str, Any]:
    seeds = [seed for seed in scores[a] if seed in scores[b]]
    if not seeds:
        shown = " and ".join(f"{label} has {', '.join(scores[label])}" for label in (a, b))
        raise ResultsError(f"runs are paired by seed, but {shown}")
    first = scores[a][seeds[0]]
    for label in (a, b):
        for one in scores[label].values():
            same = (np.array_equal(one.labels, first.labels), np.array_equal(one.speakers, first.speakers))
            if not all(same):
                raise ResultsError(f"{a} and {label} are not of the same clips: their scores do not line up")
    pairs = [(scores[a][seed].scores, scores[b][seed].scores) for seed in seeds]
    found = paired_difference_over_repeats(first.labels, pairs, first.speakers, measure)
    means = {
        label: float(np.mean([row[measure] for row in runs[label] if known(row.get("seed")) in seeds]))
        for label in (a, b)
    }
    fewer = len(seeds) < max(len(scores[a]), len(scores[b]))
    return {
        **{name: known(runs[a][0].get(name)) for name in ("data", "keyword")},
        "a": a,
        "b": b,
        "measure": measure,
        "a_mean": means[a],
        "b_mean": means[b],
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "runs": len(pairs),
        "clips": len(first.labels),
        "keyword_clips": int(first.labels.sum()),
        "speakers": len(np.unique(first.speakers)),
        "reason": found.reason or (f"only seed {', '.join(seeds)} in both" if fewer else ""),
    }


def sheets_of_pairs(name: str, pairs: pd.DataFrame) -> list[Sheet]:
    """What a person wants to see of ``compare_labels``: a line a pair, a sheet a corpus and keyword."""
    parts = [part for _, part in pairs.groupby(["data", "keyword"], sort=False)]
    return [_sheet(name if len(parts) == 1 else f"{name}, {_of(part)}", part, len(pairs)) for part in parts]


def _of(part: pd.DataFrame) -> str:
    return f"{part['data'].iloc[0]}, keyword {part['keyword'].iloc[0]!r}"


def _sheet(name: str, pairs: pd.DataFrame, tests: int) -> Sheet:
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
    counts = f"{first['clips']:,} test clips, {first['keyword_clips']} of the keyword"
    about = f"on the same {counts}, {first['speakers']} speakers, {first['runs']} seeds"
    notes = [
        f"difference is B - A {about if first['runs'] > 1 else about.replace('1 seeds', '1 seed')}",
        "95 % intervals are of each pair alone, from a paired bootstrap by speaker",
        f"p is corrected for {tests} pairs (Holm)" if tests > 1 else "p is of one pair",
        *(f"{line['a']} / {line['b']}: {line['reason']}" for line in lines if line["reason"]),
    ]
    if first["runs"] == 1:
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
