"""A table of recordings as a corpus: path and word, and where it is known speaker, split and stretch."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.data.corpora.base import SPEECH, Corpus
from bench.data.corpora.contents import Cut, Listing, Recordings, SourceFile, rule_text, source_file
from bench.data.corpora.folder import NOISE_FOLDER, audio_files
from bench.data.corpora.recordings import recordings_corpus
from bench.data.corpora.splits import NO_HASH_MARK, filled_splits, random_splits, speaker_of
from models.errors import CorpusError
from models.numbers import number

# Part of every content hash: to be raised when the same table would give other clips or splits.
FORMAT_VERSION = 1
NEEDED, OTHERS = ("path", "word"), ("speaker", "split", "start_s", "end_s")
NOISE_WORDS = (NOISE_FOLDER, "_noise_")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is no UTF-8 text ({error.reason}); {COLUMNS}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: dict[Cut, Row] = {}
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header)
        for cells in reader:
            if any(cells):
                row = _row(header, cells)
                if row.cut in rows:
                    raise CorpusError(f"{row.cut.source} stands in a line above; give each stretch once")
                _check_file(path.resolve().parent / row.cut.path)
                rows[row.cut] = row
    except (CorpusError, csv.Error, ValueError, OSError) as error:
        raise CorpusError(f"{path}, line {max(1, reader.line_num)}: {error}") from None
    if all(row.word in NOISE_WORDS for row in rows.values()):
        raise CorpusError(f"{path} names no recording; {COLUMNS}")
    return tuple(
        sorted(rows.values(), key=lambda row: (row.cut.path, row.cut.start_s or -1, row.cut.end_s or 0))
    )


def _check_header(header: list[str]) -> None:
    for name in NEEDED:
        if name not in header:
            hint = ", empty where no word is named" if name == "word" else ""
            raise CorpusError(
                f"no column {name!r} among {', '.join(header) or 'none'}; add it{hint}: {COLUMNS}"
            )
    if twice := [name for name, count in Counter(header).items() if count > 1 and name in NEEDED + OTHERS]:
        raise CorpusError(f"the column {twice[0]!r} stands there twice")


def _row(header: list[str], cells: list[str]) -> Row:
    """One line, checked on its own."""
    if len(cells) != len(header):
        raise CorpusError(f"{len(cells)} cells, but the header has {len(header)}")
    given = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    path, word, speaker, split, *stretch = (given.get(name, "") for name in NEEDED + OTHERS)
    if not path:
        raise CorpusError("an empty path; give the recording's, relative to the table")
    if not (word + speaker).isprintable():
        raise CorpusError(f"word {word!r} or speaker {speaker!r} is not one line of text")
    if word.startswith("_") and word not in NOISE_WORDS:
        raise CorpusError(
            f"word {word!r}: such names are kept for what is no word; leave it empty where none is named, "
            f"and call noise {NOISE_FOLDER}"
        )
    if split and split.lower() not in SPLIT_NAMES:
        raise CorpusError(f"split {split!r}; give train, validation (or dev, val) or test, or leave it empty")
    return Row(
        Cut(Path(path).as_posix(), *_stretch(*stretch)),
        word or SPEECH,
        speaker,
        SPLIT_NAMES.get(split.lower(), ""),
    )


def _stretch(start: str, end: str) -> tuple[float, float] | tuple[None, None]:
    if not start and not end:
        return None, None
    if not (start and end):
        raise CorpusError("only one of start_s and end_s; give both, or neither for the whole recording")
    start_s, end_s = number(start), number(end)
    if not 0 <= start_s < end_s:
        raise CorpusError(
            f"a stretch from {start} to {end} s; it must begin at 0 or later and end after that"
        )
    return start_s, end_s


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise CorpusError(f"no file {path}; paths are relative to the table")


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
        speakers = [row.speaker or _own_speaker(row.cut.path) for row in rows]
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


def _own_speaker(path: str) -> str:
    return speaker_of(path) if NO_HASH_MARK in path else path
