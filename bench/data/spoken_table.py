"""A table of recordings as speech: each in one line or in several, which mark the words in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.data.corpora.contents import Listing, SourceFile, source_file
from bench.data.corpora.manifest import NOISE_WORDS, check_named, own_speaker
from bench.data.corpora.table import check_file, read_table, split_named, stretch
from bench.data.spoken import FORMAT_VERSION, RECORDING, Files, marks_table
from models.errors import CorpusError

OTHERS = ("speaker", "split", "text", "word", "start_s", "end_s")
COLUMNS = "a table of speech has the column path, and speaker, split, text, word, start_s and end_s if known"


@dataclass(frozen=True)
class Row:
    """What a table says of one recording; empty where it says nothing.

    Attributes:
        path: Relative to the table.
        speaker: Who speaks.
        split: One of the three.
        text: What is said.
        marks: Words with start and end in seconds, sorted by these.
    """

    path: str
    speaker: str
    split: str
    text: str
    marks: tuple[tuple[str, float, float], ...]


def table_of_speech(path: Path) -> _Table:
    """A table as a source of speech.

    UTF-8, commas between the cells, paths relative to its folder; columns as ``COLUMNS`` says, others are
    passed over. Several lines may mark words in one recording. A word without a stretch is text, where the
    table has none; a stretch without a word marks nothing; noise says nothing. A recording without a speaker
    counts as one of its own, unless its name holds one before ``_nohash_``.

    Raises:
        CorpusError: What is wrong with which line.
    """
    return _Table(path.resolve(), *read_rows(path))


def read_rows(path: Path) -> tuple[Listing, tuple[Row, ...]]:
    """The recordings of a table, as they are now, sorted by path; and what it says of each.

    Raises:
        CorpusError: What is wrong, with the number of the line.
    """
    root = path.resolve().parent
    rows: dict[str, Row] = {}

    def add(given: Mapping[str, str]) -> None:
        row = _row(given)
        if row.path not in rows:
            check_file(root / row.path)
        rows[row.path] = _joined(rows[row.path], row) if row.path in rows else row

    read_table(path, ("path",), OTHERS, COLUMNS, add)
    if not rows:
        raise CorpusError(f"{path} names no recording; {COLUMNS}")
    files = tuple(sorted(source_file(root / name, name) for name in rows))
    listing = Listing(root, files, (), (source_file(path, path.name),))
    return listing, tuple(rows[file.path] for file in files)


def _row(given: Mapping[str, str]) -> Row:
    """One line, checked on its own."""
    check_named(given["word"], given["speaker"])
    word = "" if given["word"] in NOISE_WORDS else given["word"]
    at_s = stretch(given["start_s"], given["end_s"])
    return Row(
        Path(given["path"]).as_posix(),
        given["speaker"],
        split_named(given["split"]),
        " ".join(given["text"].split()) or ("" if at_s else word),
        ((word, *at_s),) if word and at_s else (),
    )


def _joined(above: Row, row: Row) -> Row:
    """Two lines of one recording.

    Raises:
        CorpusError: They contradict each other.
    """
    for name in ("speaker", "split", "text"):
        one, other = getattr(above, name), getattr(row, name)
        if one and other and one != other:
            raise CorpusError(
                f"{row.path} has the {name} {other!r} here and {one!r} in a line above; give one"
            )
    if set(above.marks) & set(row.marks):
        raise CorpusError(f"{row.path} has this mark in a line above; give each once")
    return Row(
        row.path,
        above.speaker or row.speaker,
        above.split or row.split,
        above.text or row.text,
        tuple(sorted({*above.marks, *row.marks}, key=lambda mark: mark[1:])),
    )


@dataclass(frozen=True)
class _Table(Files):
    """Recordings that a table names.

    Attributes:
        rows: What the table says of each recording, in the order of ``listing.clips``.
    """

    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        return f"{self.listing.root.name}-{self.place.stem}"

    @property
    def identity(self) -> str:
        return "\n".join([f"table of speech {FORMAT_VERSION}", *map(repr, self.rows)])

    @property
    def files(self) -> tuple[SourceFile, ...]:
        return self.listing.clips

    def scanned(self) -> Listing:
        return read_rows(self.place)[0]

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        rows = [
            (source, row.speaker or own_speaker(row.path), row.split, row.text)
            for source, row in zip(self._sources(), self.rows, strict=True)
        ]
        marks = [(at, *mark) for at, row in enumerate(self.rows) for mark in row.marks]
        return pd.DataFrame(rows, columns=RECORDING), marks_table(marks)
