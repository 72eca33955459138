"""What recordings there are, and the hash of all that determines their clips and splits."""

from __future__ import annotations

import abc
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import pandas as pd
from filelock import FileLock

from bench.data.corpora.base import cache_dir
from bench.data.corpora.progress import progress_bar
from bench.data.corpora.splits import RULE_TEXTS
from bench.files import write_text_atomically

BLOCK_ITEMS = 256
THREADS = min(8, os.cpu_count() or 1)

Item = TypeVar("Item")
Result = TypeVar("Result")


class SourceFile(NamedTuple):
    """One file: its path relative to the root, its size in bytes, its time of change."""

    path: str
    size_bytes: int
    mtime_ns: int


class Listing(NamedTuple):
    """The files that there are, each part sorted by path."""

    root: Path
    clips: tuple[SourceFile, ...]
    noise: tuple[SourceFile, ...]
    lists: tuple[SourceFile, ...]


class Cut(NamedTuple):
    """What is taken of a recording: all of it, or a stretch."""

    path: str
    start_s: float | None = None
    end_s: float | None = None

    @property
    def source(self) -> str:
        """Its name: the path, with the stretch as a media fragment."""
        return self.path if self.start_s is None else f"{self.path}#t={self.start_s:.12g},{self.end_s:.12g}"


class Contents(Protocol):
    """Files whose contents make a hash, which is remembered for as long as they stay as they are."""

    @property
    def listing(self) -> Listing:
        """All of them, as they were found."""

    @property
    def key(self) -> str:
        """Where they were found and for what; what is remembered of them is kept under this name."""

    @property
    def identity(self) -> str:
        """What the hash holds beside the contents of ``files``, as a line of text."""

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Those whose contents the hash holds."""


@dataclass(frozen=True)
class Recordings(abc.ABC):
    """Which recordings there are, and what is known about them.

    Attributes:
        name: The corpus's name.
        split: One of ``SPLIT_RULES``.
        listing: The files.
    """

    name: str
    split: str
    listing: Listing

    @property
    @abc.abstractmethod
    def place(self) -> Path:
        """Where they were found."""

    @property
    def key(self) -> str:
        """See ``Contents``."""
        return f"{self.place} {self.split}"

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """What determines clips and splits beside the contents of ``files``, as a line of text."""

    @property
    @abc.abstractmethod
    def files(self) -> tuple[SourceFile, ...]:
        """Those whose contents determine clips and splits."""

    @abc.abstractmethod
    def table(self) -> tuple[pd.DataFrame, list[Cut]]:
        """One row a clip with word, speaker, split and source, and what is cut for it; by path.

        Raises:
            CorpusError: What says so cannot be read, or does not fit.
        """

    @abc.abstractmethod
    def noise(self) -> list[Cut]:
        """What is background noise."""

    @abc.abstractmethod
    def remedy(self, split: str) -> str:
        """What fills a split that is empty."""

    @abc.abstractmethod
    def scanned(self) -> Listing:
        """The files that there are now."""

    def notes(self) -> list[str]:
        """What else is to be known, a line each."""
        return []


def source_file(path: Path | os.DirEntry[str], name: str) -> SourceFile:
    """A file as it is now."""
    about = path.stat()
    return SourceFile(name, about.st_size, about.st_mtime_ns)


def fingerprint(contents: Contents) -> str:
    """Changes when a file is added, removed, resized or touched, the rule or the format changes."""
    listing = contents.listing
    parts = [contents.identity, listing.root, listing.clips, listing.noise, listing.lists]
    return hashlib.sha256("\n".join(map(str, parts)).encode(errors="surrogateescape")).hexdigest()


def content_hash_of(contents: Contents, progress: bool = False) -> str:
    """Hash of paths, of what the files hold, and of the identity."""
    files = contents.files
    paths = [contents.listing.root / file.path for file in files]
    total = hashlib.sha256(f"{contents.identity}\n".encode(errors="surrogateescape"))
    digests = (digest for block in mapped(_digest, paths, "reading", progress) for digest in block)
    for file, digest in zip(files, digests, strict=True):
        total.update(f"{digest} {file.path}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def rule_text(split: str) -> str:
    """What a hash holds of a split rule."""
    return RULE_TEXTS.get(split, split)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"  # Such a clip is skipped and named when it is decoded.


def known_hash(contents: Contents, progress: bool) -> str:
    """The content hash, out of the index if no file has changed since it was worked out."""
    index_file = cache_dir() / "corpora" / "index.json"
    now = fingerprint(contents)
    entry = _read_index(index_file).get(contents.key, {})
    if entry.get("fingerprint") == now:
        return entry["hash"]
    content_hash = content_hash_of(contents, progress)
    index_file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{index_file}.lock"):
        index = _read_index(index_file) | {contents.key: {"fingerprint": now, "hash": content_hash}}
        write_text_atomically(index_file, json.dumps(index, indent=1))
    return content_hash


def _read_index(index_file: Path) -> dict[str, dict[str, str]]:
    try:
        index: dict[str, dict[str, str]] = json.loads(index_file.read_text())
    except (OSError, ValueError):
        return {}  # It only saves time; a new one is written.
    return index


def mapped(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    label: str,
    progress: bool,
    block_items: int = BLOCK_ITEMS,
) -> Iterator[list[Result]]:
    """The function over all items in order, on a few threads, one block in memory at a time."""
    with progress_bar(label, len(items), progress) as advance, ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(items), block_items):
            block = list(pool.map(function, items[first : first + block_items]))
            advance(len(block))
            yield block
