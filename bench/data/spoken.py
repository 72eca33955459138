"""Sources of speech laid one after the other: recordings in files, and speech that is there already."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from bench.data.audio import READ_FRAMES, roughly_samples, stream_audio
from bench.data.corpora.base import Int16Array, derived_hash
from bench.data.corpora.contents import Listing, SourceFile, known_hash, mapped
from bench.data.corpora.splits import filled_splits
from bench.data.speech import Speech
from bench.data.speech_store import Read, is_there, load_speech, speech_folder, write_speech
from models.errors import CorpusError

# Part of every content hash: to be raised when the same files would give other speech.
FORMAT_VERSION = 1
RECORDING, MARK = ["source", "speaker", "split", "text"], ["recording", "word", "start_s", "end_s"]


def marks_table(marks: Sequence[tuple[int, str, float, float]]) -> pd.DataFrame:
    """Marks as a table: row number of the recording, word, start and end in seconds."""
    kinds = {"recording": "int64", "start_s": "float64", "end_s": "float64"}
    return pd.DataFrame(marks, columns=MARK).astype(kinds)


class Source(abc.ABC):
    """One source of speech."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Its name."""

    @abc.abstractmethod
    def hash(self, progress: bool) -> str:
        """Hash of all that determines what it gives."""

    @abc.abstractmethod
    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Recordings with the columns ``RECORDING``, an empty split being open; marks with row numbers."""

    @abc.abstractmethod
    def reads(self) -> Iterator[Read]:
        """Each recording's samples; at the end it refuses what has changed meanwhile."""

    @abc.abstractmethod
    def samples(self) -> int:
        """About how many there will be."""


def joined(sources: Sequence[Source], progress: bool) -> Speech:
    """Speech of several sources, one after the other.

    Raises:
        CorpusError: A source cannot be read, or has changed meanwhile, or they differ over a speaker's split.
        NoRoomError: The disk has no room for it.
    """
    name = "+".join(source.name for source in sources)
    hashes = [source.hash(progress) for source in sources]
    content_hash = derived_hash(" ".join(hashes), f"speech {FORMAT_VERSION}")
    folder = speech_folder(name, content_hash)
    if is_there(folder):
        return load_speech(folder)
    tables = [source.tables() for source in sources]
    splits = joint_splits([(source.name, table) for source, (table, _) in zip(sources, tables, strict=True)])
    recordings = pd.concat([table for table, _ in tables], ignore_index=True)
    firsts = [sum(len(table) for table, _ in tables[:at]) for at in range(len(tables))]
    marks = [
        mark.assign(recording=mark["recording"] + at) for at, (_, mark) in zip(firsts, tables, strict=True)
    ]
    return write_speech(
        folder,
        name=name,
        content_hash=content_hash,
        recordings=recordings.assign(split=[splits[speaker] for speaker in recordings["speaker"]]),
        marks=pd.concat(marks, ignore_index=True),
        reads=(read for source in sources for read in source.reads()),
        needs_samples=sum(source.samples() for source in sources),
        progress=progress,
    )


def joint_splits(tables: Sequence[tuple[str, pd.DataFrame]]) -> dict[str, str]:
    """The split of every speaker: as some table names it, else by the rule of the first in which they stand.

    Args:
        tables: Of recordings, each with the name of its source; several may have the same.

    Raises:
        CorpusError: One is named in two splits.
    """
    named: dict[str, tuple[str, str]] = {}
    for name, table in tables:
        for speaker, split in (
            table.loc[table["split"] != "", ["speaker", "split"]].drop_duplicates().to_numpy()
        ):
            other, by = named.setdefault(speaker, (split, name))
            if other != split:
                raise CorpusError(
                    f"speaker {speaker!r} is in {other} by {by} and in {split} by {name}; put all of a "
                    "speaker into one split, and give two people two names"
                )
    splits = {speaker: split for speaker, (split, _) in named.items()}
    for _, table in tables:
        filled = filled_splits(table["split"].to_list(), table["speaker"].to_list())
        for speaker, split in zip(table["speaker"], filled, strict=True):
            splits.setdefault(speaker, split)
    return splits


@dataclass(frozen=True)
class Ready(Source):
    """Speech that is there already, as a part of more.

    Attributes:
        speech: All of it.
    """

    speech: Speech

    @property
    def name(self) -> str:
        """See the base class."""
        return self.speech.name

    def hash(self, progress: bool) -> str:
        """See the base class."""
        return self.speech.hash

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """See the base class."""
        return self.speech.recordings.loc[:, RECORDING], self.speech.marks

    def reads(self) -> Iterator[Read]:
        """See the base class."""
        return (partial(self._whole, row) for row in range(len(self.speech.recordings)))

    def _whole(self, row: int) -> list[Int16Array]:
        return [self.speech.audio(row)]

    def samples(self) -> int:
        """See the base class."""
        return len(self.speech.samples)


@dataclass(frozen=True)
class Files(Source):
    """Recordings in files; ``Contents``, so that their hash is remembered.

    Attributes:
        place: What the user named.
        listing: The recordings as clips, and other files that say something about them as lists.
    """

    place: Path
    listing: Listing

    @property
    def key(self) -> str:
        """See ``Contents``."""
        return f"{self.place} speech"

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """See ``Contents``."""

    @property
    @abc.abstractmethod
    def files(self) -> tuple[SourceFile, ...]:
        """See ``Contents``."""

    @abc.abstractmethod
    def scanned(self) -> Listing:
        """The files that there are now."""

    def hash(self, progress: bool) -> str:
        """See the base class."""
        return known_hash(self, progress)

    def reads(self) -> Iterator[Read]:
        """See the base class."""
        for path in self._paths():
            yield partial(stream_audio, path, READ_FRAMES)
        if self.scanned() != self.listing:
            raise CorpusError(f"{self.place} was changed while it was read; run again when it is complete")

    def samples(self) -> int:
        """See the base class."""
        return sum(map(sum, mapped(roughly_samples, self._paths(), "looking", False)))

    def _paths(self) -> list[Path]:
        return [self.listing.root / file.path for file in self.listing.clips]

    def _sources(self) -> list[str]:
        return [f"{self.listing.root.name}/{file.path}" for file in self.listing.clips]
