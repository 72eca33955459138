"""A table of recordings as a corpus: path and word, and where it is known speaker, split and stretch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.data.corpora.base import SPEECH, Corpus
from bench.data.corpora.contents import Cut, Listing, Recordings, SourceFile, rule_text, source_file
from bench.data.corpora.folder import NOISE_FOLDER, audio_files
from bench.data.corpora.recordings import recordings_corpus
from bench.data.corpora.splits import NO_HASH_MARK, filled_splits, random_splits, speaker_of
from bench.data.corpora.table import check_file, read_table, split_named, stretch
from models.errors import CorpusError

# Part of every content hash: to be raised when the same table would give other clips or splits.
FORMAT_VERSION = 1
NEEDED, OTHERS = ("path", "word"), ("speaker", "split", "start_s", "end_s")
NOISE_WORDS = (NOISE_FOLDER, "_noise_")
COLUMNS = "a table has the columns path and word, and speaker, split, start_s and end_s where they are known"


class Row(NamedTuple):
    """One line of a table: what is cut, and what it is; empty where that is not said."""

    cut: Cut
    word: str
    speaker: str
    split: str


def manifest_corpus(path: Path, *, split: str, clip_samples: int, progress: bool) -> Corpus:
    """The corpus of a table of recordings; decoded once, and found again by content.

    A clip is cut around the stretch that a row names, with more of the recording on both sides; without a
    stretch it is cut as a folder's are. Rows without a word are speech in which none is named. Rows without
    a speaker count each recording as a speaker of its own, unless its name holds one before ``_nohash_``.

    Args:
        path: UTF-8, commas between the cells, paths relative to its folder; columns as ``COLUMNS`` says,
            others are passed over. Noise is ``_background_noise_`` beside it, and rows of that word.
        split: ``speaker``: by the column, and by speaker where it is empty; ``random``: over clips.
        clip_samples: Samples L of a clip.
        progress: Whether to show progress on standard error.

    Raises:
        CorpusError: What is wrong with which line, or as ``recordings_corpus`` has it.
    """
    listing, rows = _read(path)
    name = f"{listing.root.name}-{path.stem}"
    return recordings_corpus(_Manifest(name, split, listing, path.resolve(), rows), clip_samples, progress)


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a table, sorted by path and stretch.

    Raises:
        CorpusError: What is wrong, with the number of the line.
    """
    root = path.resolve().parent
    rows: dict[Cut, Row] = {}

    def add(given: Mapping[str, str]) -> None:
        row = _row(given)
        if row.cut in rows:
            raise CorpusError(f"{row.cut.source} stands in a line above; give each stretch once")
        check_file(root / row.cut.path)
        rows[row.cut] = row

    read_table(path, NEEDED, OTHERS, COLUMNS, add)
    if all(row.word in NOISE_WORDS for row in rows.values()):
        raise CorpusError(f"{path} names no recording; {COLUMNS}")
    return tuple(
        sorted(rows.values(), key=lambda row: (row.cut.path, row.cut.start_s or -1, row.cut.end_s or 0))
    )


def _row(given: Mapping[str, str]) -> Row:
    """One line, checked on its own."""
    check_named(given["word"], given["speaker"])
    start_s, end_s = stretch(given["start_s"], given["end_s"]) or (None, None)
    return Row(
        Cut(Path(given["path"]).as_posix(), start_s, end_s),
        given["word"] or SPEECH,
        given["speaker"],
        split_named(given["split"]),
    )


def check_named(word: str, speaker: str) -> None:
    """Refuses names that are no text of one line, and words that are kept for what is none."""
    if not (word + speaker).isprintable():
        raise CorpusError(f"word {word!r} or speaker {speaker!r} is not one line of text")
    if word.startswith("_") and word not in NOISE_WORDS:
        raise CorpusError(
            f"word {word!r}: such names are kept for what is no word; leave it empty where none is named, "
            f"and call noise {NOISE_FOLDER}"
        )


def _read(path: Path) -> tuple[Listing, tuple[Row, ...]]:
    """The rows, and the files that they name, as they are now."""
    rows, root = read_rows(path), path.resolve().parent
    beside = audio_files(root / NOISE_FOLDER) if (root / NOISE_FOLDER).is_dir() else []
    files: dict[bool, set[SourceFile]] = {True: set(beside), False: set()}
    for name, is_noise in {(row.cut.path, row.word in NOISE_WORDS) for row in rows}:
        files[is_noise].add(source_file(root / name, name))
    clips, noise = (tuple(sorted(files[is_noise])) for is_noise in (False, True))
    return Listing(root, clips, noise, (source_file(path, path.name),)), rows


@dataclass(frozen=True)
class _Manifest(Recordings):
    """See the base class.

    Attributes:
        path: The table.
        rows: What it holds.
    """

    path: Path
    rows: tuple[Row, ...]

    @property
    def place(self) -> Path:
        return self.path

    @property
    def identity(self) -> str:
        lines = [f"manifest {FORMAT_VERSION} {rule_text(self.split)}", *map(repr, self.rows)]
        return "\n".join(lines)

    @property
    def files(self) -> tuple[SourceFile, ...]:
        return self.listing.clips + self.listing.noise

    def table(self) -> tuple[pd.DataFrame, list[Cut]]:
        rows = self._spoken()
        speakers = [row.speaker or own_speaker(row.cut.path) for row in rows]
        by_chance = self.split == "random"
        splits = (
            random_splits(len(rows)) if by_chance else filled_splits([row.split for row in rows], speakers)
        )
        cuts = [row.cut for row in rows]
        sources, words = [cut.source for cut in cuts], [row.word for row in rows]
        table = {"word": words, "speaker": speakers, "split": splits, "source": sources}
        return pd.DataFrame(table), cuts

    def noise(self) -> list[Cut]:
        rows = [row.cut for row in self.rows if row.word in NOISE_WORDS]
        named = {cut.path for cut in rows}
        return [Cut(file.path) for file in self.listing.noise if file.path not in named] + rows

    def scanned(self) -> Listing:
        return _read(self.path)[0]

    def remedy(self, split: str) -> str:
        return f"name {split} in the column split of some rows, or leave that column out"

    def notes(self) -> list[str]:
        rows = self._spoken()
        stretches = sum(row.cut.start_s is not None for row in rows)
        wordless = sum(row.word == SPEECH for row in rows)
        lines = [
            f"{self.path.name}: {len(rows):,} rows of {len(self.listing.clips):,} recordings; "
            f"{stretches:,} name a stretch of theirs, {wordless:,} no word"
        ]
        if nobody := sum(not row.speaker for row in rows):
            lines.append(
                f"{nobody:,} rows name no speaker: each of their recordings counts as one of its own"
            )
        return lines

    def _spoken(self) -> list[Row]:
        return [row for row in self.rows if row.word not in NOISE_WORDS]


def own_speaker(path: str) -> str:
    """Who speaks in a recording of which nothing says so: the name before ``_nohash_``, else nobody else."""
    return speaker_of(path) if NO_HASH_MARK in path else path
