"""A run's tracks of each word over joined streams of its validation and test speakers, made once and kept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from bench.config import content_hash
from bench.data.clips import corpus_of
from bench.data.speech import Speech
from bench.files import write_atomically
from bench.reading import read_arrays, reading
from bench.results.open import open_run, run_at
from bench.results.records import RunRecord
from bench.results.runs import RunFolder
from bench.stream.ear import Course, Ear, made_ahead
from bench.stream.joined import Joined, marks
from bench.stream.joined_mel import joined_mel
from bench.stream.operation import Track
from bench.stream.run import Say
from bench.stream.running import Sounds
from bench.threads import threads
from models.errors import ResultsError
from models.task import Task

# Raised whenever the same run would give another track.
TRACKS_VERSION = 2
SPLITS = ("validation", "test")

# By split: those of one word, a track a joining; or those of one joining, a track a word.
Tracks = dict[str, list[Track]]


def tracks_of(
    path: Path,
    data: str | None,
    max_buffer_len: int,
    joinings: int,
    say: Say,
    speech: Speech | None = None,
) -> list[Tracks]:
    """The tracks of a run's validation and test speakers, kept in its folder from then on.

    Args:
        path: Run folder, or a file in it.
        data: Where the run's corpus lies now; None for where it lay. Not read where all tracks are kept.
        max_buffer_len: Model frames that attention looks back on.
        joinings: How many times the clips of a split are joined, in other orders, gaps and pieces of noise.
        say: Gets a line before each joining that is listened to.
        speech: Running speech that words are set into; None: streams of clips alone.

    Returns:
        For each word to find its tracks.

    Raises:
        KwsError: The run or its corpus cannot be read.
    """
    run, record = run_at(path)

    task = run.task()

    @cache
    def opened() -> tuple[nn.Module, Sounds]:
        return open_run(run.path)[1], Sounds(corpus_of(run, data)[0], speech)

    tracks: list[Tracks] = [{split: [] for split in SPLITS} for _ in task.to_find]
    for seed in range(joinings):
        kept = run.path / f"tracks-{_hash(run, record, task, max_buffer_len, seed, speech)}.npz"
        parts = load_tracks(kept, len(tracks))
        if parts is None:
            heard = opened()
            say(f"{record.label} ({run.run_id}): listening to joining {seed + 1} of {joinings}")
            if band_hz := heard[1].band_hz:
                say(f"all of it cut off above {band_hz:g} Hz, where either the words or the speech ends")
            parts = listen_to(*heard, task, max_buffer_len, seed)
            # A run folder that cannot be written to is left as it is.
            with suppress(PermissionError):
                save_tracks(kept, parts)
        for (word, of_word), split in product(enumerate(tracks), SPLITS):
            of_word[split].append(parts[split][word])
            if set(parts[split][word].clips) != set(of_word[split][0].clips):
                raise ResultsError(f"{kept} is of other clips than the joining before it; remove both")
    return tracks


def _hash(
    run: RunFolder, record: RunRecord, task: Task, max_buffer_len: int, seed: int, speech: Speech | None
) -> str:
    """Of all that determines a joining's tracks; a chain says how the weights are converted."""
    with reading(run.weights_file):
        weights = hashlib.sha256(run.weights_file.read_bytes()).hexdigest()
    about = (record.model, record.chain, record.corpus_hash, task.identity(), max_buffer_len, seed)
    return content_hash([TRACKS_VERSION, weights, *about, *([speech.hash] if speech else [])])


def listen_to(
    model: nn.Module, sounds: Sounds, task: Task, max_buffer_len: int, seed: int
) -> dict[str, list[Track]]:
    """A model's tracks of each split, one a word, over one joining of its clips."""
    joinings = ((split, sounds.stream(task, split, seed)) for split in SPLITS)
    ear = Ear(model, task, max_buffer_len)
    # The features of the next split are made while the model hears the one before.
    heard = made_ahead((split, one, joined_mel(one, sounds, task.front_end)) for split, one in joinings)
    with threads(1):
        return {split: _tracks(joined, sounds, task, ear.hear(mel)) for split, joined, mel in heard}


def _tracks(joined: Joined, sounds: Sounds, task: Task, said: Course) -> list[Track]:
    """What a model says of a joined stream, word by word, with what is spoken in it."""
    tracks = []
    for word in range(len(task.to_find)):
        found = marks(joined, sounds.corpus, word)
        starts, ends = np.array([mark.span for mark in found]).T
        tracks.append(
            Track(
                time_s=said.time_s,
                probability=said.probability[:, word],
                start_s=starts,
                end_s=ends,
                spoken_s=np.array([mark.spoken_s for mark in found]),
                clips=np.array([mark.clip for mark in found], np.int64),
                speakers=np.array([mark.speaker for mark in found]),
                duration_s=joined.duration_s,
                warm_up_s=task.clip_s,
            )
        )
    return tracks


def save_tracks(path: Path, tracks: Tracks) -> None:
    """Writes the tracks of one joining, as a whole or not at all."""
    values = {
        f"{split}_{word}_{field.name}": getattr(track, field.name)
        for split, of_split in tracks.items()
        for word, track in enumerate(of_split)
        for field in fields(Track)
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **values)
    write_atomically(path, buffer.getvalue())


def load_tracks(path: Path, words: int = 1) -> Tracks | None:
    """The tracks of one joining; None where there are none that can be read: they are made again."""
    try:
        with reading(path):
            kept = read_arrays(path)
            return {split: [_track(kept, f"{split}_{word}_") for word in range(words)] for split in SPLITS}
    except ResultsError:
        return None


def _track(kept: Mapping[str, npt.NDArray[Any]], prefix: str) -> Track:
    """A word's track of a split; an error of any kind where the arrays are none."""
    values: dict[str, Any] = {field.name: kept[prefix + field.name] for field in fields(Track)}
    values |= {name: float(values[name]) for name in ("duration_s", "warm_up_s")}
    track = Track(**values)
    of_clips = (track.start_s, track.end_s, track.spoken_s, track.clips, track.speakers)
    for columns in ((track.time_s, track.probability), of_clips):
        if {column.shape for column in columns} != {(len(columns[0]),)} or not len(columns[0]):
            raise ValueError("columns that are not equally long")
    lengths = np.array([track.duration_s, track.warm_up_s])
    numbers = (track.time_s, track.probability, *of_clips[:3], lengths)
    if not all(column.dtype == np.float64 and np.isfinite(column).all() for column in numbers):
        raise ValueError("a time or probability that is no number")
    if track.clips.dtype != np.int64 or track.speakers.dtype.kind != "U" or track.duration_s <= 0:
        raise ValueError("no clips, speakers or length")
    return track
