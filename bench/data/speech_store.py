"""Speech in the cache: one raw file of samples, and tables of recordings and marks beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from bench.data.audio import AudioError
from bench.data.corpora.base import (
    SAMPLE_RATE_HZ,
    Int16Array,
    append_samples,
    cache_dir,
)
from bench.data.corpora.progress import progress_bar
from bench.data.corpora.recordings import check_unreadable
from bench.data.speech import Speech
from bench.files import file_name, replacing, write_text_atomically

RECORDING_COLUMNS = ("source", "speaker", "split", "first", "samples", "text")
MARK_COLUMNS = ("recording", "word", "start_s", "end_s")
SAMPLES, RECORDINGS, MARKS, ABOUT = "samples.pcm", "recordings.csv", "marks.csv", "speech.json"
BYTES_A_SAMPLE = 2
LONGEST_NAME = 60

# Gives a recording block by block; an AudioError says that it cannot be read.
Read = Callable[[], Iterable[Int16Array]]


def write_speech(
    folder: Path,
    *,
    name: str,
    content_hash: str,
    recordings: pd.DataFrame,
    marks: pd.DataFrame,
    reads: Iterable[Read],
    needs_samples: int,
    progress: bool,
) -> Speech:
    """Makes speech in the cache, as a whole or not at all, if nobody has meanwhile, and opens it.

    Args:
        folder: Of ``speech_folder``.
        name: Its name.
        content_hash: Hash of all that determines it.
        recordings: One row a recording: source, speaker, split, text.
        marks: Where words are, with the row numbers of ``recordings``.
        reads: Of each row; one block of one recording is in memory at once.
        needs_samples: About how many samples that will be.
        progress: Whether to show progress on standard error.

    Raises:
        CorpusError: Too many recordings cannot be read.
        NoRoomError: The disk has no room for it.
    """
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not is_there(folder):
            with replacing(folder, BYTES_A_SAMPLE * needs_samples, folder=True) as scratch:
                with progress_bar("decoding", len(recordings), progress) as advance:
                    counts, skipped = _decoded(scratch / SAMPLES, recordings["source"], reads, advance)
                check_unreadable(skipped, len(counts), name)
                placed = recordings.assign(samples=counts, first=np.cumsum([0, *counts])[:-1])
                fitting, behind = _fitting(marks, placed)
                row_of = np.cumsum(placed["samples"].to_numpy() > 0) - 1
                fitting = fitting.assign(recording=row_of[fitting["recording"].to_numpy()])
                said = [f"{source}: {reason}" for source, reason in skipped.items()]
                placed.loc[placed["samples"] > 0, list(RECORDING_COLUMNS)].to_csv(
                    scratch / RECORDINGS, index=False
                )
                fitting.loc[:, list(MARK_COLUMNS)].to_csv(scratch / MARKS, index=False)
                about = {"name": name, "hash": content_hash, "skipped": said + behind}
                write_text_atomically(scratch / ABOUT, json.dumps(about, indent=1))
    return load_speech(folder)


def _decoded(
    path: Path, sources: Iterable[str], reads: Iterable[Read], advance: Callable[[int], None]
) -> tuple[list[int], dict[str, str]]:
    """Writes all recordings to one raw file; how long each is, none where it cannot be read, and why not."""
    counts, bad = [], {}
    for source, read in zip(sources, reads, strict=True):
        try:
            counts.append(append_samples(path, read()))
        except AudioError as error:
            counts.append(0)
            bad[source] = error.reason
        if not counts[-1]:
            bad.setdefault(source, "holds no samples")
        advance(1)
    return counts, bad


def _fitting(marks: pd.DataFrame, recordings: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The marks that begin within their recording, ending there at the latest; a line for each other one."""
    sources = recordings["source"].to_list()
    ends_s = recordings["samples"].to_numpy()[marks["recording"].to_numpy()] / SAMPLE_RATE_HZ
    fits = marks["start_s"].to_numpy() < ends_s
    behind = [
        f"{sources[mark.recording]}: ends after {end_s:.2f} s, before {mark.word!r}"
        for mark, end_s in zip(marks.loc[~fits].itertuples(), ends_s[~fits], strict=True)
        if end_s
    ]
    clipped = marks.assign(end_s=np.minimum(marks["end_s"], ends_s)).loc[fits]
    return clipped.sort_values(["recording", "start_s", "end_s"], ignore_index=True), behind


def speech_folder(name: str, content_hash: str) -> Path:
    """Where speech is kept."""
    folder = cache_dir() / "corpora" / f"{file_name(name)[:LONGEST_NAME]}-speech-{content_hash[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def is_there(folder: Path) -> bool:
    """Whether speech is kept in a folder."""
    return (folder / ABOUT).is_file()


def load_speech(folder: Path) -> Speech:
    """Opens a folder that ``write_speech`` made; the samples stay on disk."""
    about = json.loads((folder / ABOUT).read_text())
    whole, texts = ("first", "samples", "recording"), ("source", "speaker", "split", "text", "word")
    kinds = (
        dict.fromkeys(whole, "int64")
        | dict.fromkeys(texts, "str")
        | dict.fromkeys(("start_s", "end_s"), "float64")
    )
    recordings, marks = (
        pd.read_csv(folder / table, dtype=kinds, keep_default_na=False) for table in (RECORDINGS, MARKS)
    )
    samples = np.memmap(folder / SAMPLES, "<i2", "r")
    return Speech(about["name"], about["hash"], recordings, samples, marks, tuple(about["skipped"]))
