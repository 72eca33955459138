"""What there is of long audio, for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from bench.data.corpora.base import SKIPPED_SHOWN, SPLITS, stands_in
from bench.data.speech import Speech
from bench.terminal.tables import plain_table

PLACES_SHOWN = 5


def speech_table(speech: Speech) -> Table:
    """Hours, recordings and speakers by split, and what is known of what is said."""
    rows, marks = speech.recordings, speech.marks
    table = plain_table(
        f"{speech.name} ({speech.hash[:12]})", f"running speech and noise, {len(speech.skipped)} skipped"
    )
    for heading in ("split", "recordings", "hours", "speakers", "with text", "marks"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split in (*SPLITS, "all"):
        of_split = np.full(len(rows), True) if split == "all" else stands_in(rows, split)
        part = rows[of_split]
        counts = (
            *(f"{len(part):,}", f"{speech.hours(None if split == 'all' else split):.2f}"),
            *(f"{part['speaker'].nunique():,}", f"{(part['text'] != '').sum():,}"),
            f"{of_split[marks['recording'].to_numpy()].sum():,}",
        )
        table.add_row(split, *counts)
    return table


def speech_lines(speech: Speech, words: Sequence[str]) -> list[str]:
    """Where each word is named, and what was skipped, a line each."""
    lines = [line for word in words for line in _places(speech, word)]
    lines += [f"skipped {line}" for line in speech.skipped[:SKIPPED_SHOWN]]
    hidden = len(speech.skipped) - SKIPPED_SHOWN
    return [*lines, f"and {hidden} more"] if hidden > 0 else lines


def _places(speech: Speech, word: str) -> list[str]:
    """In how many recordings a word is named, by split; the first of them, with times where marked."""
    named, marks = speech.names([word]), speech.marks[speech.marked([word])]
    of_split = ", ".join(f"{split} {named[speech.indices(split)].sum():,}" for split in SPLITS)
    lines = [
        f"{word}: named in {named.sum():,} of {len(named):,} recordings ({of_split}), {len(marks):,} times "
        "marked; these are no negatives"
    ]
    for row in np.flatnonzero(named)[:PLACES_SHOWN]:
        about = speech.recordings.iloc[row]
        times = [
            f"{start_s:.2f} to {end_s:.2f} s"
            for start_s, end_s in marks.loc[marks["recording"] == row, ["start_s", "end_s"]].to_numpy()
        ]
        lines.append(
            f"  {about['source']}, {about['speaker']}, {about['split']}: {', '.join(times) or 'in its text'}"
        )
    hidden = int(named.sum()) - PLACES_SHOWN
    return [*lines, f"  and {hidden:,} more"] if hidden > 0 else lines
