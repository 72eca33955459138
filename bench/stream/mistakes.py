"""Misses and false alarms of a spotter as recordings to listen to, each with where it comes from."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soundfile as sf

from bench.data.corpora.base import SAMPLE_RATE_HZ, Int16Array
from bench.files import file_name, write_atomically, write_text_atomically
from bench.stream.detection import TOLERANCE_S
from bench.stream.joined import Joined, Placed
from bench.stream.operation import Track, detections, first_hits
from bench.stream.running import Sounds

TABLE_FILE = "mistakes.csv"
# What is heard before a false alarm, and around a word that was missed.
BEFORE_S, AROUND_S = 2.0, 1.0
# So much of a stream is kept while it is cut: sentences overlap with what went wrong inside them.
MOST_SAMPLES = 60 * SAMPLE_RATE_HZ


class Mistake(NamedTuple):
    """A word that was missed, or a detection that is none.

    Attributes:
        kind: ``miss`` or ``false alarm``.
        time_s: In the stream: when the word begins, or when the alarm came.
        end_s: When the word ends; of an alarm when it came.
        probability: The highest within the time that counts; at the alarm.
    """

    kind: str
    time_s: float
    end_s: float
    probability: float

    @property
    def window(self) -> tuple[int, int]:
        """The samples of the stream to listen to."""
        before, after = (AROUND_S, AROUND_S) if self.kind == "miss" else (BEFORE_S, 0.0)
        first = max(0, round((self.time_s - before) * SAMPLE_RATE_HZ))
        return first, round((self.end_s + after) * SAMPLE_RATE_HZ)


def mistakes(track: Track, threshold: float) -> list[Mistake]:
    """All misses and false alarms at a threshold, in order of time."""
    frames = detections(track, threshold)
    hits = first_hits(track, frames)
    alarms = sorted(set(frames.tolist()) - set(hits.tolist()))
    found = [
        Mistake("false alarm", time_s, time_s, float(track.probability[frame]))
        for frame in alarms
        for time_s in [float(track.time_s[frame])]
    ]
    for word in np.flatnonzero(hits < 0):
        start_s, end_s = float(track.start_s[word]), float(track.end_s[word])
        counts = (track.time_s >= start_s) & (track.time_s <= end_s + TOLERANCE_S)
        found.append(Mistake("miss", start_s, end_s, float(track.probability[counts].max(initial=0.0))))
    return sorted(found, key=lambda one: one.time_s)


def save_mistakes(
    sounds: Sounds, joined: Joined, word: str, found: Sequence[Mistake], out: Path
) -> list[Path]:
    """Writes a recording of each, and a table that says of which file and speaker it is.

    Args:
        sounds: What the stream was made of.
        joined: The stream.
        word: The word that was to be found.
        found: What went wrong, in order of time.
        out: Folder; made if missing.

    Returns:
        The files, the table last.
    """
    rows, written = [], []
    for mistake, samples in zip(found, _cut(sounds.blocks(joined), found), strict=True):
        name = f"{mistake.time_s:08.2f}-{mistake.kind.replace(' ', '-')}-{file_name(word)}.wav"
        buffer = io.BytesIO()
        sf.write(buffer, samples, SAMPLE_RATE_HZ, format="WAV")
        write_atomically(out / name, buffer.getvalue())
        written.append(out / name)
        rows.append(
            {"recording": name, "word": word, **mistake._asdict(), **_source(sounds, joined, mistake)}
        )
    columns = ["recording", "word", *Mistake._fields, "file", "at_s", "speaker"]
    table = pd.DataFrame(rows, columns=columns)
    write_text_atomically(out / TABLE_FILE, table.to_csv(index=False))
    return [*written, out / TABLE_FILE]


def _cut(blocks: Iterable[Int16Array], found: Sequence[Mistake]) -> Iterator[Int16Array]:
    """The samples of each; no more of the stream is kept than the longest of them needs."""
    kept, at = np.zeros(0, np.int16), 0
    stream = iter(blocks)
    for mistake in found:
        first, last = mistake.window
        while at + len(kept) < last and (block := next(stream, None)) is not None:
            kept = np.concatenate([kept, block])
            drop = max(0, min(first - MOST_SAMPLES, at + len(kept)) - at)
            kept, at = kept[drop:], at + drop
        yield kept[max(0, first - at) : last - at].copy()


def _source(sounds: Sounds, joined: Joined, mistake: Mistake) -> dict[str, object]:
    """The recording that a moment of a stream is of, and when it is in there; of a gap the one before."""
    at = round(mistake.time_s * SAMPLE_RATE_HZ)
    before = bisect_right([one.start_sample for one in joined.clips], at)
    clip = joined.clips[max(0, before - 1)]
    about = _about(sounds, clip)
    inside = (at - clip.start_sample + clip.first) / SAMPLE_RATE_HZ
    return {"file": about["source"], "at_s": round(inside, 3), "speaker": about["speaker"]}


def _about(sounds: Sounds, clip: Placed) -> pd.Series[Any]:
    of_speech = clip.running and sounds.speech is not None
    table: pd.DataFrame = sounds.speech.recordings if of_speech and sounds.speech else sounds.corpus.clips
    return table.iloc[clip.row]
