"""Comparing tables of results: which rows are the same model, and which measures may be set side by side.

Pure functions of DataFrames; nothing here needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.comparing.columns import Measure, measure_named
from bench.results.table import load_results

Rows = tuple[Mapping[str, Any], ...]
# What a row is of, besides its chain. Only rows that agree in all of it are averaged.
IDENTITY = (
    *("data", "corpus_hash", "split", "task", "keyword", "clip_s", "mels", "window_ms", "hop_ms"),
    *("model", "base", "recipe", "max_epochs", "versions", "device"),
)
ROUNDING = 1e-9
CHANGES = [
    *("label", "measure", "before", "after", "difference", "relative", "verdict", "reason"),
    *("runs_before", "runs_after"),
]


@dataclass(frozen=True)
class Side:
    """A table ready to be compared.

    Attributes:
        name: Of the file, as shown.
        rows: One row a model, its runs averaged; ``runs`` says how many.
        failed: Rows whose run did not end well, as they were.
        named_by_chain: ``chain`` holds the label, as in the published table; options are not known.
    """

    name: str
    rows: pd.DataFrame
    failed: pd.DataFrame
    named_by_chain: bool


@dataclass(frozen=True)
class Comparison:
    """Two tables side by side.

    Attributes:
        before: The reference.
        after: What is held against it.
        changes: One row a label and measure, columns ``CHANGES``; difference and relative (a share of
            the reference) are NaN where the verdict is ``not compared``.
        only_before: Labels that only the reference has.
        only_after: Labels that only the other one has.
        failed: Labels of ``only_before`` whose runs did not end well in the other one, with the reason.
    """

    before: Side
    after: Side
    changes: pd.DataFrame
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    failed: Mapping[str, str]


def asked(row: Mapping[str, Any]) -> str:
    """The task of a row, also of one that was made when there were keywords only; empty if it says none."""
    keyword = known(row.get("keyword"))
    return known(row.get("task")) or (f"keyword {keyword}" if keyword else "")


def canonical_chain(chain: Any) -> str:
    """A chain whatever the order its options were written in; the base alone is empty.

    Examples:
        >>> canonical_chain("kd:kernel=13x5,hidden=12")
        'kd:hidden=12,kernel=13x5'
    """
    pieces = (piece.partition(":") for piece in known(chain).split("+"))
    return "+".join(token + colon + ",".join(sorted(rest.split(","))) for token, colon, rest in pieces)


def known(value: Any) -> str:
    """A cell as text; empty where the table has nothing."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def side(name: str, table: pd.DataFrame) -> Side:
    """A table with its runs averaged, in order of appearance; failed ones are set aside.

    Args:
        name: Of the file, as shown.
        table: From ``load_results``; of any version of the toolkit, or the published one.
    """
    named_by_chain = bool((table["label"] == table["chain"]).all())
    table = table.assign(key=table["label"] if named_by_chain else table["chain"].map(canonical_chain))
    done = table["status"].eq("ok") if "status" in table else pd.Series(True, table.index)
    rows = table[done]
    keys = ["key", *(column for column in IDENTITY if column in rows)]
    grouped = rows.groupby(keys, sort=False, dropna=False)
    means = grouped.mean(numeric_only=True).drop(columns=keys, errors="ignore")
    means.insert(0, "runs", grouped.size())
    means.insert(0, "label", grouped["label"].first())
    return Side(name, means.reset_index(), table[~done], named_by_chain)


def compare(before: Side, after: Side) -> Comparison:
    """Joins two tables on the chain with its options, or on the label where one of them has no options."""
    on = ["label" if before.named_by_chain or after.named_by_chain else "key"]
    on += [column for column in IDENTITY if _tells_apart(column, before.rows, after.rows)]
    before_rows, after_rows = _records(before.rows), _records(after.rows)
    twins = _by_columns(after_rows, on)
    pairs: list[Rows] = [(left, right) for left in before_rows for right in twins.get(_cells(left, on), ())]
    changes = [
        change
        for name, (left, right) in zip(_names(pairs, pairs), pairs, strict=True)
        for change in _changes(name, left, right, (before, after))
    ]
    matched = {id(row) for pair in pairs for row in pair}
    lone_before = [(row,) for row in before_rows if id(row) not in matched]
    lone_after = [(row,) for row in after_rows if id(row) not in matched]
    only_before = _names(lone_before, [(row,) for row in before_rows])
    ended = _by_columns(_records(after.failed), on)
    failed = {
        name: _why_failed(bad)
        for name, (row,) in zip(only_before, lone_before, strict=True)
        for bad in ended.get(_cells(row, on), ())
    }
    only_after = _names(lone_after, [(row,) for row in after_rows])
    table = pd.DataFrame(changes, columns=CHANGES)
    return Comparison(before, after, table, tuple(only_before), tuple(only_after), failed)


def compare_all(paths: Sequence[Path]) -> list[Comparison]:
    """Holds every table against the first; a published one is the reference wherever it stands.

    Raises:
        ResultsError: A file is missing, or is no results table.
    """
    short = [path.name for path in paths]
    sides = [
        side(path.name if short.count(path.name) == 1 else str(path), load_results(path)) for path in paths
    ]
    sides.sort(key=lambda each: not each.named_by_chain)
    return [compare(sides[0], other) for other in sides[1:]]


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(known(row[column]) for column in columns)


def _by_columns(
    rows: Sequence[dict[str, Any]], columns: Sequence[str]
) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """The rows of each combination of cells."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(_cells(row, columns), []).append(row)
    return found


def _why_failed(row: Mapping[str, Any]) -> str:
    reason = known(row.get("reason"))
    return f"{row['status']} ({reason})" if reason else str(row["status"])


def _tells_apart(column: str, before: pd.DataFrame, after: pd.DataFrame) -> bool:
    """Whether rows must agree in a column to be paired: where one table has several of what both have."""
    if column not in before or column not in after:
        return False
    left, right = ({known(value) for value in rows[column]} for rows in (before, after))
    return max(len(left), len(right)) > 1 and bool(left & right)


def _names(rows: Sequence[Rows], among: Sequence[Rows]) -> list[str]:
    """Labels, with whatever else tells them apart in brackets where the label alone does not."""

    def value(row: Rows, column: str) -> str:
        return "/".join(dict.fromkeys(filter(None, (known(part.get(column)) for part in row))))

    # A keyword says in short what its task says.
    short = all(value(row, "keyword") for row in among)
    told = [name for name in IDENTITY if name != ("task" if short else "keyword")]
    twins: dict[str, list[Rows]] = {}
    for other in among:
        twins.setdefault(str(other[0]["label"]), []).append(other)
    apart = {
        label: [name for name in ("key", *told) if len({value(other, name) for other in same}) > 1]
        for label, same in twins.items()
    }
    names = []
    for row in rows:
        label = str(row[0]["label"])
        more = ", ".join(value(row, name)[:24] or "-" for name in apart[label])
        names.append(f"{label} [{more}]" if more else label)
    return names


def _changes(
    name: str, left: Mapping[str, Any], right: Mapping[str, Any], sides: tuple[Side, Side]
) -> Iterator[tuple[Any, ...]]:
    """A row of ``CHANGES`` for every measure that either row has."""
    for measure in filter(None, map(measure_named, dict.fromkeys([*left, *right]))):
        before, after = (float(row.get(measure.name, math.nan)) for row in (left, right))
        if math.isnan(before) and math.isnan(after):
            continue
        reason = _why_not(measure, left, right, sides)
        for row, side_ in zip((left, right), sides, strict=True):
            if not reason and math.isnan(float(row.get(measure.name, math.nan))):
                reason = f"{side_.name} does not have it"
        if reason:
            outcome: tuple[Any, ...] = (math.nan, math.nan, "not compared", reason)
        else:
            outcome = (after - before, _relative(before, after), _verdict(measure, before, after), "")
        yield (name, measure.name, before, after, *outcome, int(left["runs"]), int(right["runs"]))


def _relative(before: float, after: float) -> float:
    if before == after:
        return 0.0
    return (after - before) / abs(before) if before else math.copysign(math.inf, after - before)


def _verdict(measure: Measure, before: float, after: float) -> str:
    if abs(after - before) <= max(measure.noise, ROUNDING) * abs(before):
        return "unchanged"
    return "better" if (after < before) == measure.lower_is_better else "worse"


def _why_not(
    measure: Measure, left: Mapping[str, Any], right: Mapping[str, Any], sides: tuple[Side, Side]
) -> str:
    """Why a measure of two rows must not be compared; empty where it may be."""
    if measure.group == "cost":
        threads = [known(row.get("latency_threads")) for row in (left, right)]
        differ = measure.name == "latency_ms" and all(threads) and threads[0] != threads[1]
        return f"latency on {threads[0]} and {threads[1]} threads" if differ else ""
    splits = [known(row.get("split")) for row in (left, right)]
    if all(splits) and splits[0] != splits[1]:
        return f"different splits: {splits[0]} and {splits[1]}"
    if reason := _other_clips(left, right, sides):
        return reason
    prefix = "validation_" if measure.group == "validation" else ""
    for column, what in ((f"{prefix}clips", "clips"), (f"{prefix}keyword_clips", "keyword clips")):
        counts = [known(row.get(column)) for row in (left, right)]
        if measure.group != "effort" and all(counts) and counts[0] != counts[1]:
            numbers = " and ".join(f"{float(count):.0f}" for count in counts)
            return f"different splits: {numbers} {prefix.rstrip('_') or 'test'} {what}"
    return ""


def _other_clips(left: Mapping[str, Any], right: Mapping[str, Any], sides: tuple[Side, Side]) -> str:
    """Why two rows are of different tasks or corpora; empty where they are of the same."""
    corpora, tasks = ([known(row.get("corpus_hash")) for row in (left, right)], [asked(left), asked(right)])
    for what, values in (("corpus", corpora), ("task", tasks)):
        for value, side_ in zip(values, sides, strict=True):
            if not value:
                return f"{side_.name} does not say which {what} its figures are of"
    if tasks[0] != tasks[1]:
        keywords = [known(row.get("keyword")) for row in (left, right)]
        what, shown = ("keywords", keywords) if all(keywords) else ("tasks", tasks)
        return f"different {what}: {shown[0]} and {shown[1]}"
    lengths = [row.get("clip_s", math.nan) for row in (left, right)]
    if abs(lengths[0] - lengths[1]) > ROUNDING:
        return f"different clips: of {lengths[0]:g} s and {lengths[1]:g} s"
    if corpora[0] != corpora[1]:
        return f"different corpora: {_corpus(left)} and {_corpus(right)}"
    return ""


def _corpus(row: Mapping[str, Any]) -> str:
    return f"{known(row.get('data'))} ({known(row['corpus_hash'])[:8]})".strip()
