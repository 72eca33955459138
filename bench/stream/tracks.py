"""A run's probability tracks over joined streams of its validation and test speakers, made once and kept."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from dataclasses import fields
from functools import cache
from itertools import chain
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from bench.config import content_hash
from bench.corpora.base import SAMPLE_RATE_HZ, Corpus
from bench.files import write_atomically
from bench.records import RunRecord, load_record
from bench.runs import RunFolder
from bench.stream.joined import joined_stream, render, spoken_samples
from bench.stream.joined_run import corpus_of
from bench.stream.operation import Track
from bench.stream.run import Say, open_run
from bench.stream.spotter import StreamingSpotter
from bench.threads import threads
from models.errors import ResultsError

# Raised whenever the same run would give another track.
TRACKS_VERSION = 1
SPLITS = ("validation", "test")

Tracks = dict[str, list[Track]]


def run_at(path: Path) -> tuple[RunFolder, RunRecord]:
    """A finished run and its row, from the run folder or any file in it.

    Raises:
        ResultsError: There is none, or it did not end well.
    """
    if not path.exists():
        raise ResultsError(f"no run at {path}: give a folder such as out/runs/<run id>, or a file in it")
    run = RunFolder(path if path.is_dir() else path.absolute().parent)
    record = load_record(run.path)
    if record is None:
        raise ResultsError(f"{run.path} holds no complete run: row.json is missing")
    if record.status != "ok":
        raise ResultsError(f"{run.path} did not end well: {record.status}, {record.reason}")
    return run, record


def tracks_of(path: Path, data: str | None, max_buffer_len: int, joinings: int, say: Say) -> Tracks:
    """The tracks of a run's validation and test speakers, kept in its folder from then on.

    Args:
        path: Run folder, or a file in it.
        data: Where the run's corpus lies now; None for where it lay. Not read where all tracks are kept.
        max_buffer_len: Model frames that attention looks back on.
        joinings: How many times the clips of a split are joined, in other orders, gaps and pieces of noise.
        say: Gets a line before each joining that is listened to.

    Returns:
        For each split a track a joining.

    Raises:
        KwsError: The run or its corpus cannot be read.
    """
    run, record = run_at(path)

    @cache
    def opened() -> tuple[StreamingSpotter, Corpus, str]:
        corpus, keyword = corpus_of(run, data)
        return StreamingSpotter(open_run(run.path)[1], max_buffer_len), corpus, keyword

    tracks: Tracks = {split: [] for split in SPLITS}
    for seed in range(joinings):
        kept = run.path / f"tracks-{_hash(run, record, max_buffer_len, seed)}.npz"
        parts = load_tracks(kept)
        if parts is None:
            say(f"{record.label} ({run.run_id}): listening to joining {seed + 1} of {joinings}")
            parts = {split: listen_to(*opened(), split, seed) for split in SPLITS}
            # A run folder that cannot be written to is left as it is.
            with suppress(PermissionError):
                save_tracks(kept, parts)
        for split in SPLITS:
            tracks[split].append(parts[split])
    return tracks


def _hash(run: RunFolder, record: RunRecord, max_buffer_len: int, seed: int) -> str:
    """Of all that determines a joining's tracks; a chain says how the weights are converted."""
    try:
        weights = hashlib.sha256((run.path / "weights.pt").read_bytes()).hexdigest()
    except FileNotFoundError:
        raise ResultsError(f"{run.path} holds no complete run: weights.pt is missing") from None
    about = (record.model, record.chain, record.corpus_hash, record.keyword, max_buffer_len, seed)
    return content_hash([TRACKS_VERSION, weights, *about])


def listen_to(spotter: StreamingSpotter, corpus: Corpus, keyword: str, split: str, seed: int) -> Track:
    """A model's track over one joining of a split's clips."""
    joined = joined_stream(corpus, keyword, split, seed=seed)
    spotter.reset()
    with threads(1):
        blocks = (spotter.push(block) for block in render(joined, corpus))
        frames = [*chain.from_iterable(blocks), *spotter.finish()]
    rows = [clip.row for clip in joined.clips if clip.is_keyword]
    spans = joined.keywords
    spoken_s = [spoken_samples(corpus.waveforms[row]) / SAMPLE_RATE_HZ for row in rows]
    return Track(
        time_s=np.array([frame.time_s for frame in frames]),
        probability=np.array([frame.probability for frame in frames]),
        start_s=np.array([span.start_s for span in spans]),
        end_s=np.array([span.end_s for span in spans]),
        spoken_s=np.array([span.start_s for span in spans]) + spoken_s,
        clips=np.array(rows, np.int64),
        speakers=corpus.clips["speaker"].to_numpy()[rows].astype(str),
        duration_s=joined.duration_s,
    )


def save_tracks(path: Path, tracks: dict[str, Track]) -> None:
    """Writes the tracks of one joining, as a whole or not at all."""
    values = {
        f"{split}_{field.name}": getattr(track, field.name)
        for split, track in tracks.items()
        for field in fields(Track)
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **values)
    write_atomically(path, buffer.getvalue())


def load_tracks(path: Path) -> dict[str, Track] | None:
    """The tracks of one joining; None where there are none that can be read: they are made again."""
    try:
        # Read first: of a damaged file NumPy leaves the handle open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            return {split: _track(kept, split) for split in SPLITS}
    except (FileNotFoundError, BadZipFile, ValueError, KeyError, EOFError):
        return None


def _track(kept: NpzFile, split: str) -> Track:
    return Track(
        time_s=kept[f"{split}_time_s"],
        probability=kept[f"{split}_probability"],
        start_s=kept[f"{split}_start_s"],
        end_s=kept[f"{split}_end_s"],
        spoken_s=kept[f"{split}_spoken_s"],
        clips=kept[f"{split}_clips"],
        speakers=kept[f"{split}_speakers"],
        duration_s=float(kept[f"{split}_duration_s"]),
    )
