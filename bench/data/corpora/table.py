"""Tables of recordings as people write them: UTF-8, commas between the cells, a line each."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from models.errors import CorpusError
from models.numbers import number

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

Made = TypeVar("Made")


def read_table(
    path: Path,
    needed: Sequence[str],
    others: Sequence[str],
    columns: str,
    row: Callable[[Mapping[str, str]], Made],
) -> list[Made]:
    """What a function makes of each line of a table.

    Args:
        path: The table.
        needed: Columns that must be there.
        others: Columns that may be; others than these are passed over, too.
        columns: What to say about columns where something is wrong with them.
        row: Gets the cells of a line by column, stripped; those of columns that are not there are empty.

    Raises:
        CorpusError: What is wrong, with the number of the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is no UTF-8 text ({error.reason}); {columns}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, needed, others, columns)
        return [row(_cells(header, (*needed, *others), cells)) for cells in reader if any(cells)]
    except (CorpusError, csv.Error, ValueError, OSError) as error:
        raise CorpusError(f"{path}, line {max(1, reader.line_num)}: {error}") from None


def _check_header(header: list[str], needed: Sequence[str], others: Sequence[str], columns: str) -> None:
    for name in needed:
        if name not in header:
            hint = ", empty where no word is named" if name == "word" else ""
            raise CorpusError(
                f"no column {name!r} among {', '.join(header) or 'none'}; add it{hint}: {columns}"
            )
    known = (*needed, *others)
    if twice := [name for name, count in Counter(header).items() if count > 1 and name in known]:
        raise CorpusError(f"the column {twice[0]!r} stands there twice")


def _cells(header: list[str], names: Sequence[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise CorpusError(f"{len(cells)} cells, but the header has {len(header)}")
    given = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    if not given["path"]:
        raise CorpusError("an empty path; give the recording's, relative to the table")
    return {name: given.get(name, "") for name in names}


def split_named(split: str) -> str:
    """A split as the corpora call it, empty where none is given.

    Raises:
        CorpusError: It is none.
    """
    if split and split.lower() not in SPLIT_NAMES:
        raise CorpusError(f"split {split!r}; give train, validation (or dev, val) or test, or leave it empty")
    return SPLIT_NAMES.get(split.lower(), "")


def stretch(start: str, end: str) -> tuple[float, float] | None:
    """Where a stretch of a recording begins and ends in seconds; None where the cells are empty.

    Raises:
        CorpusError: It is none.
    """
    if not start and not end:
        return None
    if not (start and end):
        raise CorpusError("only one of start_s and end_s; give both, or neither for the whole recording")
    start_s, end_s = number(start), number(end)
    if not 0 <= start_s < end_s:
        raise CorpusError(
            f"a stretch from {start} to {end} s; it must begin at 0 or later and end after that"
        )
    return start_s, end_s


def check_file(path: Path) -> None:
    """Refuses a path that names no file."""
    if not path.is_file():
        raise CorpusError(f"no file {path}; paths are relative to the table")
