"""Tables for people, from rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.comparing.summary import summarise
from bench.data.corpora.base import SPLITS, Corpus, stands_in
from bench.data.corpora.leaks import Leaks
from bench.quality.measures import Measure, compared_by, measures_in
from bench.results.records import RunRecord
from bench.studies.ablation import Orders
from models.front_end import SAMPLE_RATE_HZ
from models.numbers import shortest


def _times(value: float) -> str:
    return f"{value:.1f}x"


def _small(value: float) -> str:
    return f"{value:.1e}" if 0 < value < 0.001 else f"{value:.4f}"


def _folded(label: str) -> str:
    """A label whose options take lines of their own."""
    return label.replace("(", "\n (").replace(",", ",\n  ")


# Column of the row, heading, format.
SUMMARY: tuple[tuple[str, str, Callable[..., str]], ...] = (
    ("label", "chain", _folded),
    ("macs", "kMACs\non 2 s", lambda value: f"{value / 1000:,.0f}"),
    ("macs_ratio", "fewer", _times),
    ("size_kb", "KB", lambda value: f"{value:.1f}"),
    ("size_ratio", "smaller", _times),
)


RANDOM_SPLIT = "\nrandom split: speakers stand on both sides, and test and validation are the same clips"


def summary_table(records: Sequence[RunRecord]) -> Table:
    """The end of a run: what each model costs against the base, and how good it is."""
    first = records[0]
    title = f"{_title(first)}, seed {first.seed}"
    shown = headlines(records)
    caption = f"{_clips(records)}; {directions(shown)}"
    table = plain_table(title, caption + _notes(first))
    quality = [(f"validation_{shown[0].name}", f"{shown[0].text}\nvalid.", _small)] if shown else []
    quality += [(each.name, f"{each.text}\ntest", _small) for each in shown]
    for name, heading, _ in (*SUMMARY, *quality):
        table.add_column(heading, justify="left" if name == "label" else "right", no_wrap=True)
    for record in records:
        table.add_row(*(_cell(record[name], form) for name, _, form in (*SUMMARY, *quality)))
    return table


def _title(row: RunRecord) -> str:
    """What rows of one table have in common; nothing of a device that is the usual one."""
    where = "" if row.device == "cpu" else f", trained on {row.device}"
    return f"{row.model} on {row.data}, {row.task}, recipe {row.recipe}{where}"


def _notes(record: RunRecord) -> str:
    """What is to be known of all rows of a run."""
    given = f"\nthe base was given, weights {record.base}, and not trained" if record.base else ""
    return given + (RANDOM_SPLIT if record.split == "random" else "")


def headlines(records: Sequence[RunRecord]) -> list[Measure]:
    """The measures that stand in short tables, of rows of one task."""
    return [each for each in measures_in(list(records[0].columns())) if each.headline]


def directions(shown: Sequence[Measure]) -> str:
    """Which way measures improve, in a few words."""
    ways: dict[str, list[str]] = {"lower": [], "higher": []}
    for each in shown:
        ways["lower" if each.lower_is_better else "higher"].append(each.text)
    return "; ".join(f"{', '.join(names)}: {way} is better" for way, names in ways.items() if names)


def validation_text(record: RunRecord) -> str:
    """The first headline of a row on validation, by name."""
    shown = headlines([record])
    return f"{shown[0].name} {record[f'validation_{shown[0].name}']:.3g}" if shown else "no figure"


def _clips(records: Sequence[RunRecord]) -> str:
    """How many clips are behind the figures; a run that failed has none."""
    scored = max(records, key=lambda record: record["clips"])
    counts = f"{scored['clips']} test clips"
    return f"{scored['keyword_clips']} of {counts} are the keyword" if scored.keyword else counts


def plain_table(title: str, caption: str | None = None) -> Table:
    """Narrow enough for a terminal of 80 columns."""
    return Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def _cell(value: Any, shown: Callable[..., str]) -> str:
    return "-" if value is None or pd.isna(value) else shown(value)


def corpus_tables(corpus: Corpus) -> list[Table]:
    """What a corpus holds: clips, words and speakers by split, and the clips of each word."""
    clips = corpus.clips
    seconds = corpus.clip_samples / SAMPLE_RATE_HZ
    caption = (
        f"{len(corpus.noise) / SAMPLE_RATE_HZ:.0f} s of background noise, {len(corpus.skipped)} files skipped"
        f"\nclips of {shortest(seconds)} s"
    )
    if corpus.lengths_s:
        caption += "\nrecordings of {:.2f} s (median) to {:.2f} s".format(*corpus.lengths_s)
    whole = plain_table(f"{corpus.name} ({corpus.hash[:12]})", caption)
    for heading in ("split", "clips", "hours", "words", "speakers"):
        whole.add_column(heading, justify="left" if heading == "split" else "right")
    for split in (*SPLITS, "all"):
        part = clips if split == "all" else clips[stands_in(clips, split)]
        hours = f"{len(part) * seconds / 3600:.2f}"
        whole.add_row(
            split, f"{len(part):,}", hours, str(part["word"].nunique()), str(part["speaker"].nunique())
        )
    words = plain_table("clips of each word")
    for heading in ("word", *SPLITS):
        words.add_column(heading, justify="left" if heading == "word" else "right")
    of_split = {split: clips["word"][stands_in(clips, split)].value_counts() for split in SPLITS}
    counts = pd.DataFrame(of_split).fillna(0).astype(int).sort_index()
    for word, row in counts.iterrows():
        words.add_row(str(word), *(f"{count:,}" for count in row))
    return [whole, words]


def leaks_table(leaks: Leaks, title: str, pairs: int) -> tuple[Table, list[str]]:
    """What every two splits share, and the first pairs of each kind, a line each."""
    table, lines = plain_table(title), []
    for heading in ("splits", "speakers\nin both", "their\nclips", "exact\ncopies", "near\ncopies"):
        table.add_column(heading, justify="left" if heading == "splits" else "right")
    for overlap in leaks.overlaps:
        name = " | ".join(overlap.splits)
        counts = (len(overlap.speakers), overlap.speaker_clips, len(overlap.exact), len(overlap.near))
        table.add_row(name, *(f"{count:,}" for count in counts))
        if overlap.speakers:
            more = ", ..." if len(overlap.speakers) > pairs else ""
            lines.append(f"speakers in {name}: {', '.join(overlap.speakers[:pairs])}{more}")
        for kind, found in (("exact", overlap.exact), ("near", overlap.near)):
            lines += [
                f"{kind} copy, {name}: {copy.source} | {copy.copy} ({copy.correlation:.3f})"
                for copy in found[:pairs]
            ]
    if leaks.in_two_splits:
        lines.append(f"{leaks.in_two_splits:,} clips stand in two splits themselves")
    shown = ": " + ", ".join(leaks.silent[:pairs]) if leaks.silent and pairs else ""
    lines.append(f"{len(leaks.silent):,} clips without sound{shown}")
    lines.append("leaks found" if leaks.found else "no leaks found")
    return table, lines


def repeats_table(records: Sequence[RunRecord]) -> Table:
    """The end of repeated runs of one task: means over seeds, with their 95 % intervals."""
    first, seeds = records[0], sorted({record.seed for record in records})
    title = _title(first)
    caption = (
        f"means over seeds {seeds[0]} to {seeds[-1]}, in brackets their 95 % interval; {_clips(records)}"
    )
    table = plain_table(title, caption + _notes(first))
    # One figure with its interval fits beside the rest: the one that rows are tested by.
    quality = compared_by(first.columns())
    figures = (f"{quality.text}\nvalid.", f"{quality.text}\ntest", "test\n(low, high)")
    for name in ("chain", "runs", "KB", "smaller", *figures):
        table.add_column(name, justify="left" if name == "chain" else "right", no_wrap=True)
    summary = summarise(pd.DataFrame([record.columns() for record in records]))
    for row in summary.to_dict("records"):
        low, high = (row[f"{quality.name}_{end}"] for end in ("low", "high"))
        table.add_row(
            _folded(str(row["label"])),
            f"{row['runs']} of {row['runs'] + row['failed']}" if row["failed"] else str(row["runs"]),
            _cell(row["size_kb" if "size_kb" in row else "size_kb_mean"], "{:.1f}".format),
            _cell(row["size_ratio" if "size_ratio" in row else "size_ratio_mean"], _times),
            _cell(row[f"validation_{quality.name}_mean"], _small),
            _cell(row[f"{quality.name}_mean"], _small),
            f"({_cell(low, _small)}, {_cell(high, _small)})",
        )
    return table


def ablation_table(found: pd.DataFrame, task: str) -> Table:
    """What each compressor of a chain is missed for."""
    whole, quality = found.iloc[0], compared_by(list(found.columns))
    table = plain_table(
        f"{whole['label'] or whole['chain']} without each of its compressors, {task}",
        f"ratios to the whole chain; {quality.text} on test, in brackets its 95 % interval over speakers; "
        f"{directions([quality])}",
    )
    for name in ("without", "KB", "ratio", "kMACs", "ratio", quality.text, "(low, high)"):
        table.add_column(name, justify="left" if name == "without" else "right", no_wrap=True)
    for row in found.to_dict("records"):
        low, high = (_cell(row[f"{quality.name}_{end}"], _small) for end in ("low", "high"))
        table.add_row(
            {"all": "all: the base"}.get(row["left_out"], row["left_out"]),
            _cell(row["size_kb"], "{:.1f}".format),
            _cell(row["size_kb_ratio"], _times),
            _cell(row["macs"] / 1000, "{:,.0f}".format),
            _cell(row["macs_ratio"], _times),
            _cell(row[quality.name], _small),
            f"({low}, {high})",
        )
    return table


def missing_lines(found: pd.DataFrame) -> list[str]:
    """Why a variant of a chain has no figures, or those of fewer runs."""
    rows = found[found["reason"] != ""].to_dict("records")
    names = {"nothing": "the whole chain", "all": "the base"}
    return [
        f"{names.get(row['left_out'], 'without ' + row['left_out'])}, {row['runs']} runs: {row['reason']}"
        for row in rows
    ]


def order_lines(found: Orders) -> list[str]:
    """Which orders of a chain's compressors are the same run, and why the others cannot work."""
    lines = [f"orders that are one run, {read}: {', '.join(texts)}" for read, texts in found.allowed.items()]
    if found.refused:
        example = min(found.refused.items())[1]
        lines.append(f"{len(found.refused)} other orders cannot work, for example: {example}")
    return lines
