"""Tables for people, from rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.corpora.base import CLIP_SAMPLES, SAMPLE_RATE_HZ, SPLITS, Corpus, stands_in
from bench.corpora.leaks import Leaks
from bench.records import RunRecord


def _times(value: float) -> str:
    return f"{value:.1f}x"


def _small(value: float) -> str:
    return f"{value:.1e}" if value < 0.001 else f"{value:.4f}"


# Column of the row, heading, format.
SUMMARY: tuple[tuple[str, str, Callable[..., str]], ...] = (
    ("label", "chain", lambda name: name.replace("(", "\n (").replace(",", ",\n  ")),
    ("macs", "kMACs\non 2 s", lambda value: f"{value / 1000:,.0f}"),
    ("macs_ratio", "fewer", _times),
    ("size_kb", "KB", lambda value: f"{value:.1f}"),
    ("size_ratio", "smaller", _times),
    ("validation_au_fa_fr", "au_fa_fr\nvalid.", _small),
    ("au_fa_fr", "au_fa_fr\ntest", _small),
    ("one_minus_auc", "1-AUC\ntest", _small),
)


def summary_table(records: Sequence[RunRecord]) -> Table:
    """The end of a run: what each model costs against the base, and how good it is."""
    first = records[0]
    title = (
        f"{first.model} on {first.data}, keyword {first.keyword!r}, recipe {first.recipe}, seed {first.seed}"
    )
    caption = (
        f"{first.keyword_clips} of {first.clips} test clips are the keyword; au_fa_fr, 1-AUC: lower is better"
    )
    if first.split == "random":
        caption += "\nrandom split: speakers stand on both sides, and test and validation are the same clips"
    table = _table(title, caption)
    for name, heading, _ in SUMMARY:
        table.add_column(heading, justify="left" if name == "label" else "right", no_wrap=True)
    for record in records:
        table.add_row(*(_cell(getattr(record, name), shown) for name, _, shown in SUMMARY))
    return table


def _table(title: str, caption: str | None = None) -> Table:
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
    seconds = CLIP_SAMPLES / SAMPLE_RATE_HZ
    caption = (
        f"{len(corpus.noise) / SAMPLE_RATE_HZ:.0f} s of background noise, {len(corpus.skipped)} files skipped"
    )
    whole = _table(f"{corpus.name} ({corpus.hash[:12]})", caption)
    for heading in ("split", "clips", "hours", "words", "speakers"):
        whole.add_column(heading, justify="left" if heading == "split" else "right")
    for split in (*SPLITS, "all"):
        part = clips if split == "all" else clips[stands_in(clips, split)]
        hours = f"{len(part) * seconds / 3600:.2f}"
        whole.add_row(
            split, f"{len(part):,}", hours, str(part["word"].nunique()), str(part["speaker"].nunique())
        )
    words = _table("clips of each word")
    for heading in ("word", *SPLITS):
        words.add_column(heading, justify="left" if heading == "word" else "right")
    of_split = {split: clips["word"][stands_in(clips, split)].value_counts() for split in SPLITS}
    counts = pd.DataFrame(of_split).fillna(0).astype(int).sort_index()
    for word, row in counts.iterrows():
        words.add_row(str(word), *(f"{count:,}" for count in row))
    return [whole, words]


def leaks_table(leaks: Leaks, title: str, pairs: int) -> tuple[Table, list[str]]:
    """What every two splits share, and the first pairs of each kind, a line each."""
    table, lines = _table(title), []
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
