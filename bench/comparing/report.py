"""Comparisons as a terminal table, Markdown, CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.comparing.columns import is_quality, measure_named
from bench.comparing.ledger import DEAD_MACS, DEAD_PARAMS, ledger
from bench.comparing.tables import Comparison
from bench.quality.measures import measures_in
from bench.texts import several
from models.errors import ResultsError

MAIN_COST = ("size_kb", "macs")
# Where no quality can be set side by side.
MAIN_WITHOUT = (*MAIN_COST, "params")
HEADINGS = {"macs": "kMACs", "size_kb": "KB", "theoretical_kb": "theoretical KB", "latency_ms": "latency ms"}
GROUPS = {"quality": "quality on test", "validation": "quality on validation", "effort": "epochs and seconds"}
LEDGER_WORDS = {"MACs": "macs", "params": "params", "size": "size_kb"}
STYLES = {"better": "green", "worse": "red", "disagree": "bold red"}


@dataclass(frozen=True)
class Sheet:
    """A table with notes, before it is made for a terminal or for Markdown.

    Attributes:
        title: What is compared.
        headings: Of the columns; the first holds the labels.
        rows: Cells, each a text and the verdict it stands for.
        notes: Whatever a reader must know besides.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    notes: tuple[str, ...]


def sheet(comparison: Comparison, measures: Sequence[str] = ()) -> Sheet:
    """What a person wants to see first: a line a label, the main measures, and what was left out and why.

    Args:
        comparison: Of two tables; where the first is the published one, the result is a ledger.
        measures: Columns to show in place of the main ones.

    Raises:
        ResultsError: Neither table has such a measure.
    """
    changes, title = comparison.changes, f"{comparison.before.name} -> {comparison.after.name}"
    if comparison.before.named_by_chain and not measures:
        return _ledger_sheet(comparison, title)
    there = list(dict.fromkeys(changes["measure"]))
    for name in measures:
        if name not in there:
            raise ResultsError(f"no measure {name!r} to compare; there is: {', '.join(there) or 'none'}")
    compared = changes[changes["verdict"] != "not compared"]
    headlines = [each.name for each in measures_in(list(dict.fromkeys(compared["measure"]))) if each.headline]
    default = (*headlines, *MAIN_COST) if headlines else MAIN_WITHOUT
    columns = tuple(measures) or tuple(name for name in default if name in there)
    cells = {(row.label, row.measure): _cell(row) for row in changes.itertuples()}
    rows = tuple(
        ((label, ""), *(cells.get((label, name), ("-", "")) for name in columns))
        for label in dict.fromkeys(changes["label"])
    )
    headings = ("chain", *(HEADINGS.get(name, name) for name in columns))
    return Sheet(title, headings, rows, (_tally(compared), *notes(comparison)))


def notes(comparison: Comparison) -> list[str]:
    """What was not compared and why, what only one side has, what failed, and what was averaged."""
    before, after = comparison.before, comparison.after
    found = list(_refusals(comparison.changes))
    for side, labels in ((before, comparison.only_before), (after, comparison.only_after)):
        lone = [label for label in labels if label not in comparison.failed]
        if lone:
            found.append(f"only in {side.name}: {several(lone)}")
    found += [f"failed in {after.name}: {label}: {why}" for label, why in comparison.failed.items()]
    for side, column in ((before, "runs_before"), (after, "runs_after")):
        counts = comparison.changes.groupby("label", sort=False)[column].first()
        if len(counts) and counts.max() > 1:
            each = several(f"{label} {count}" for label, count in counts.items())
            runs = f"{counts.iloc[0]} runs a row" if counts.nunique() == 1 else f"several runs: {each}"
            found.append(f"{side.name} is averaged over {runs}")
        if len(side.failed):
            found.append(f"{side.name}: {len(side.failed)} failed runs left out")
    return found


def as_rich(sheets: Iterable[Sheet]) -> RenderableType:
    """For a terminal of 80 to 100 columns."""
    parts: list[RenderableType] = []
    for each in sheets:
        table = Table(
            title=each.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
        )
        for index, heading in enumerate(each.headings):
            table.add_column(heading, justify="right" if index else "left", overflow="fold")
        for row in each.rows:
            table.add_row(*(Text(text, STYLES.get(verdict, "")) for text, verdict in row))
        parts += [table, *(Text(f"- {note}") for note in each.notes), Text("")]
    return Group(*parts)


def as_markdown(sheets: Iterable[Sheet]) -> str:
    """For a pull request or a README."""
    blocks = []
    for each in sheets:
        lines = [f"**{each.title}**", "", _markdown_row(each.headings)]
        lines.append(_markdown_row([":--", *["--:"] * (len(each.headings) - 1)]))
        lines += [_markdown_row([text for text, _ in row]) for row in each.rows]
        blocks.append("\n".join([*lines, "", *(f"- {note}" for note in each.notes)]))
    return "\n\n".join(blocks) + "\n"


def as_csv(comparisons: Iterable[Comparison]) -> str:
    """One row a label and measure, every measure there is; labels of one side only have no measure."""
    return pd.concat([_long(each) for each in comparisons]).to_csv(index=False)


def as_json(comparisons: Iterable[Comparison]) -> str:
    """All there is, in plain values; what is not a number is null."""
    whole = [
        {
            "before": each.before.name,
            "after": each.after.name,
            "changes": _plain(each.changes),
            "only_before": list(each.only_before),
            "only_after": list(each.only_after),
            "failed": dict(each.failed),
            "notes": notes(each),
            "ledger": _plain(ledger(each)) if each.before.named_by_chain else None,
        }
        for each in comparisons
    ]
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def _ledger_sheet(comparison: Comparison, title: str) -> Sheet:
    """MACs, parameters and sizes of the published table and of ours, with verdicts."""
    lines = ledger(comparison)
    rows = []
    for line in lines.to_dict("records"):
        wrong = [word for word, name in LEDGER_WORDS.items() if line[f"{name}_verdict"] == "disagree"]
        mark = " (1)" if "dead inputs" in (line["macs_verdict"], line["params_verdict"]) else ""
        said = "DISAGREE" if wrong else f"agree{mark}"
        relative = line["macs_ours"] / line["macs_published"] - 1
        rows.append(
            (
                (line["label"], ""),
                *((_thousands(line[f"macs_{side}"]), "") for side in ("published", "ours")),
                ("-" if math.isnan(relative) else f"{relative:+.2%}", ""),
                *((_count(line[f"params_{side}"]), "") for side in ("published", "ours")),
                *((_number("size_kb", line[f"size_kb_{side}"]), "") for side in ("published", "ours")),
                (said, "disagree" if wrong else "agree"),
            )
        )
    headings = ("chain", "kMACs", "ours", "", "params", "ours", "KB", "ours", "verdict")
    return Sheet(title, headings, tuple(rows), (*_explained(lines), *notes(comparison)))


def _explained(lines: pd.DataFrame) -> Iterator[str]:
    """The ledger's sum, and the reasons behind its verdicts."""
    right = ((lines != "disagree") & (lines != "unknown")).all(axis=1)
    yield (
        f"{right.sum()} of {len(lines)} rows agree: MACs within 0.25 %, parameters exactly; "
        "MACs are of 2 s of audio, KB of the saved weights"
    )
    for line in lines.to_dict("records"):
        for word, name in LEDGER_WORDS.items():
            if line[f"{name}_verdict"] == "disagree":
                published, here = (f"{line[f'{name}_{side}']:,.10g}" for side in ("published", "ours"))
                yield f"{line['label']} DISAGREES: {word} {published} published, {here} ours"
    if (lines["params_verdict"] == "dead inputs").any():
        yield (
            f"(1) {DEAD_PARAMS} parameters and {DEAD_MACS:,} MACs fewer: the study left 48 dead inputs in "
            "the last two linear layers of its pruned models; with them the MACs agree within 0.25 %"
        )
    moved = (lines["size_kb_ours"] - lines["size_kb_published"])[lines["size_kb_verdict"] == "container"]
    if len(moved):
        yield (
            f"sizes differ by {moved.min():+.1f} to {moved.max():+.1f} KB with the weights the same: "
            "torch's file container has changed since"
        )


def _cell(row: Any) -> tuple[str, str]:
    if row.verdict == "not compared":
        return "not compared", row.verdict
    before, after = _number(row.measure, row.before), _number(row.measure, row.after)
    if row.difference == 0:
        return f"{after} =", row.verdict
    return f"{before} -> {after} {_percent(row.relative)}", row.verdict


def _percent(relative: float) -> str:
    if math.isinf(relative):
        return "from 0"
    if abs(relative) >= 10:
        return f"x{1 + relative:.0f}"
    return f"{relative:+.0%}" if abs(relative) >= 0.0995 else f"{relative:+.1%}"


def _count(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}"


def _thousands(value: float) -> str:
    return "-" if math.isnan(value) else f"{value / 1000:,.1f}"


def _number(measure: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    if measure == "macs":
        return f"{value / 1000:,.0f}"
    if measure.endswith("_kb"):
        return f"{value:.1f}"
    if is_quality(measure) and 0 < abs(value) < 0.001:
        return f"{value:.1e}"
    known = measure_named(measure)
    whole = known is not None and known.group in ("cost", "effort") and abs(value) >= 10
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def _tally(compared: pd.DataFrame) -> str:
    counts = compared["verdict"].value_counts()
    parts = ", ".join(f"{counts.get(name, 0)} {name}" for name in ("better", "worse", "unchanged"))
    return f"of all measures: {parts} (times within 10 % count as unchanged); --format csv lists them"


def _refusals(changes: pd.DataFrame) -> Iterator[str]:
    """One line for every reason: what it bars, and in which rows if not in all."""
    every = tuple(dict.fromkeys(changes["label"]))
    refused = changes[changes["verdict"] == "not compared"]
    barred: dict[tuple[str, tuple[str, ...]], dict[str, None]] = {}
    for (why, which), rows in refused.groupby(["reason", "measure"], sort=False):
        reason, name = str(why), str(which)
        known = measure_named(name)
        alone = known is None or known.group == "cost" or "does not have" in reason
        what = name if known is None or alone else GROUPS[known.group]
        barred.setdefault((reason, tuple(rows["label"])), {})[what] = None
    for (reason, labels), names in barred.items():
        where = "" if labels == every else f" in {several(labels)}"
        yield f"not compared{where}: {', '.join(names)}: {reason}"


def _long(comparison: Comparison) -> pd.DataFrame:
    lone = [
        {"label": label, "verdict": f"only in {side.name}", "reason": comparison.failed.get(label, "")}
        for side, labels in (
            (comparison.before, comparison.only_before),
            (comparison.after, comparison.only_after),
        )
        for label in labels
    ]
    changes = comparison.changes.astype(object)
    rows = pd.DataFrame([*changes.to_dict("records"), *lone], columns=changes.columns)
    rows.insert(0, "before_table", comparison.before.name)
    rows.insert(1, "after_table", comparison.after.name)
    return rows


def _plain(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            str(name): None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        for row in rows.to_dict("records")
    ]


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
