"""Tables for people, from rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.corpora.base import CLIP_SAMPLES, SAMPLE_RATE_HZ, SPLITS, Corpus
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
    table = plain_table(title, caption)
    for name, heading, _ in SUMMARY:
        table.add_column(heading, justify="left" if name == "label" else "right", no_wrap=True)
    for record in records:
        table.add_row(*(_cell(getattr(record, name), shown) for name, _, shown in SUMMARY))
    return table


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
    seconds = CLIP_SAMPLES / SAMPLE_RATE_HZ
    caption = (
        f"{len(corpus.noise) / SAMPLE_RATE_HZ:.0f} s of background noise, {len(corpus.skipped)} files skipped"
    )
    whole = plain_table(f"{corpus.name} ({corpus.hash[:12]})", caption)
    for heading in ("split", "clips", "hours", "words", "speakers"):
        whole.add_column(heading, justify="left" if heading == "split" else "right")
    for split in (*SPLITS, "all"):
        part = clips if split == "all" else clips[clips["split"] == split]
        hours = f"{len(part) * seconds / 3600:.2f}"
        whole.add_row(
            split, f"{len(part):,}", hours, str(part["word"].nunique()), str(part["speaker"].nunique())
        )
    words = plain_table("clips of each word")
    for heading in ("word", *SPLITS):
        words.add_column(heading, justify="left" if heading == "word" else "right")
    counts = pd.crosstab(clips["word"], clips["split"]).reindex(columns=list(SPLITS), fill_value=0)
    for word, row in counts.iterrows():
        words.add_row(str(word), *(f"{count:,}" for count in row))
    return [whole, words]
