"""A folder of recordings of any depth as speech; names or folders say who speaks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from bench.data.corpora.contents import Listing, SourceFile, source_file
from bench.data.corpora.folder import is_audio_entry
from bench.data.corpora.splits import NO_HASH_MARK, speaker_of
from bench.data.spoken import FORMAT_VERSION, RECORDING, Files, marks_table
from models.errors import CorpusError

LISTED_TEXTS, TEXT = ".trans.txt", ".txt"
# <speaker>-<chapter>-<utterance>, as LibriSpeech names its files; an id with a number in it before the rest.
SPEAKER_NAMES = (re.compile(r"(\d+)-\d+-\d+"), re.compile(r"([^_]*\d[^_]*)_.+"))


def folder_of_speech(path: Path) -> _Folder:
    """A folder as a source of speech.

    What is said is read from texts that lie beside the recordings: NAME.txt for NAME.wav, and lists as
    LibriSpeech has them (``*.trans.txt``, a name and its text in each line).

    Raises:
        CorpusError: There is no audio in it, or it cannot be listed.
    """
    return _Folder(path.resolve(), scan(path))


@dataclass(frozen=True)
class _Folder(Files):
    """All recordings under a folder, split by speaker."""

    @property
    def name(self) -> str:
        return self.listing.root.name

    @property
    def identity(self) -> str:
        return f"folder of speech {FORMAT_VERSION}"

    @property
    def files(self) -> tuple[SourceFile, ...]:
        return self.listing.clips + self.listing.lists

    def scanned(self) -> Listing:
        return scan(self.place)

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        texts = self._texts()
        rows = [
            (source, speaker_in(file.path), "", texts.get(str(PurePosixPath(file.path).with_suffix("")), ""))
            for source, file in zip(self._sources(), self.listing.clips, strict=True)
        ]
        return pd.DataFrame(rows, columns=RECORDING), marks_table([])

    def _texts(self) -> dict[str, str]:
        """What is said, by path without suffix."""
        found = {}
        for file in self.listing.lists:
            text = (self.listing.root / file.path).read_text(encoding="utf-8", errors="replace")
            if file.path.endswith(LISTED_TEXTS):
                for line in text.splitlines():
                    name, _, said = line.partition(" ")
                    found[str(PurePosixPath(file.path).with_name(name))] = said.strip()
            else:
                found[file.path.removesuffix(TEXT)] = " ".join(text.split())
        return found


def scan(folder: Path) -> Listing:
    """Lists the recordings of a folder of any depth, and the texts beside them, without reading them.

    Raises:
        CorpusError: There is no audio in it, or it cannot be listed.
    """
    root = folder.resolve()
    clips: list[SourceFile] = []
    texts: list[SourceFile] = []
    try:
        for entry in _entries(root):
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.name.endswith(TEXT):
                texts.append(source_file(entry, name))
            elif is_audio_entry(entry):
                clips.append(source_file(entry, name))
    except OSError as error:
        raise CorpusError(f"cannot list {error.filename}: {error.strerror}; make it readable") from error
    if not clips:
        raise CorpusError(
            f"no audio in {folder}, however deep; give a folder of recordings or a table of them"
        )
    stems = {str(PurePosixPath(clip.path).with_suffix("")) for clip in clips}
    of_clips = [
        file for file in texts if file.path.endswith(LISTED_TEXTS) or file.path.removesuffix(TEXT) in stems
    ]
    return Listing(root, tuple(sorted(clips)), (), tuple(sorted(of_clips)))


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """All files under a folder but hidden ones."""
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(entry.path)
        elif entry.is_file():
            yield entry


def speaker_in(path: str) -> str:
    """Who speaks in a recording of a folder, as its name says it, or the folder of the first level.

    Examples:
        >>> [speaker_in(path) for path in ("dev/84/121123/84-121123-0000.flac", "wav48/p225_001.wav")]
        ['84', 'p225']
        >>> [speaker_in(path) for path in ("yes/a1_nohash_0.wav", "id10001/tape/00001.wav", "talk.mp3")]
        ['a1', 'id10001', 'talk.mp3']
    """
    name = PurePosixPath(path)
    if NO_HASH_MARK in name.name:
        return speaker_of(path)
    for pattern in SPEAKER_NAMES:
        if found := pattern.fullmatch(name.stem):
            return found[1]
    return name.parts[0]
