"""A folder of ``<word>/<clip>`` in any audio format as a corpus: decoded once, found again by content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from filelock import FileLock

from bench.data.audio import AudioError, begins_like_audio, read_audio, read_clip
from bench.data.corpora.base import AUDIO_SUFFIXES, Corpus, Int16Array, cache_dir, load_corpus, write_corpus
from bench.data.corpora.progress import progress_bar
from bench.data.corpora.splits import LIST_FILES, RULE_TEXTS, check_splits, clip_table, list_entries
from bench.files import write_text_atomically
from models.errors import CorpusError

NOISE_FOLDER = "_background_noise_"
LAYOUT = "<word>/<clip>.wav (or .flac, .opus, .mp3, ...), one folder a word"
# Part of every content hash: to be raised when the same files would give other clips or splits.
FORMAT_VERSION = 1
MAX_UNREADABLE_SHARE = 0.05
BLOCK_CLIPS = 256
THREADS = min(8, os.cpu_count() or 1)

Item = TypeVar("Item")
Result = TypeVar("Result")


class SourceFile(NamedTuple):
    """One file of the folder: its path relative to it, its size in bytes, its time of change."""

    path: str
    size_bytes: int
    mtime_ns: int


class Listing(NamedTuple):
    """What a folder holds, each part sorted by path."""

    root: Path
    clips: tuple[SourceFile, ...]
    noise: tuple[SourceFile, ...]
    lists: tuple[SourceFile, ...]


class _UnreadableClipsError(Exception):
    """Why clips cannot be read, by relative path."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(f"{len(reasons)} clips")
        self.reasons = reasons


def folder_corpus(
    path: Path, *, name: str | None = None, split: str = "speaker", progress: bool = True
) -> Corpus:
    """The corpus of a folder; the first call decodes it, later calls open what is in the cache.

    Args:
        path: A folder of ``<word>/<clip>`` in any format of ``AUDIO_SUFFIXES``, known by name or by how the
            file begins. Other files, and folders whose name starts with ``_`` or ``.``, are ignored, but for
            ``_background_noise_``.
        name: The corpus's name; without one, the folder's.
        split: ``speaker``: by ``validation_list.txt`` and ``testing_list.txt``, and by speaker where one
            or both are missing; ``random``: 80/20 over clips, the fifth being validation and test alike,
            for comparison with work that did so.
        progress: Whether to show progress on standard error.

    Raises:
        CorpusError: No such folder, no audio in it, lists that do not fit, too many unreadable files, or
            an empty split.
    """
    listing = scan_folder(path)
    name = name or path.resolve().name
    content_hash = _known_hash(listing, split, progress)
    target = cache_dir() / "corpora" / f"{name}-{content_hash[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f"{target.name}.lock"):
        if not (target / "corpus.json").is_file():
            _build(listing, target, name, content_hash, split, progress)
    return load_corpus(target)


def scan_folder(path: Path) -> Listing:
    """Lists a folder's clips, noise and split lists without opening them.

    Raises:
        CorpusError: No such folder, or no audio in it.
    """
    if not path.is_dir():
        raise CorpusError(f"no folder {path}; give a folder of {LAYOUT}")
    clips: list[SourceFile] = []
    noise: list[SourceFile] = []
    lists: list[SourceFile] = []
    try:
        for entry in os.scandir(path):
            if entry.is_dir() and entry.name == NOISE_FOLDER:
                noise += _audio_files(entry)
            elif entry.is_dir() and not entry.name.startswith(("_", ".")):
                clips += _audio_files(entry)
            elif entry.name in LIST_FILES.values():
                lists.append(_source_file(entry, entry.name))
    except OSError as error:
        raise CorpusError(f"cannot list {error.filename}: {error.strerror}; make it readable") from error
    if not clips:
        raise CorpusError(f"no audio in {path}; clips are looked for as {LAYOUT}")
    return Listing(path.resolve(), tuple(sorted(clips)), tuple(sorted(noise)), tuple(sorted(lists)))


def fingerprint(listing: Listing, split: str) -> str:
    """Changes when a file is added, removed, resized or touched, the rule or the format changes."""
    parts = [
        FORMAT_VERSION,
        RULE_TEXTS.get(split, split),
        str(listing.root),
        listing.clips,
        listing.noise,
        listing.lists,
    ]
    return hashlib.sha256("\n".join(map(str, parts)).encode(errors="surrogateescape")).hexdigest()


def content_hash_of(listing: Listing, split: str, progress: bool = False) -> str:
    """Hash of paths, file contents, split rule and format: all that determines clips and splits."""
    files = [*listing.clips, *listing.noise, *listing.lists]
    paths = [listing.root / file.path for file in files]
    total = hashlib.sha256(f"folder {FORMAT_VERSION} {RULE_TEXTS.get(split, split)}\n".encode())
    digests = (digest for block in _mapped(_digest, paths, "reading", progress) for digest in block)
    for file, digest in zip(files, digests, strict=True):
        total.update(f"{digest} {file.path}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _source_file(entry: os.DirEntry[str], path: str) -> SourceFile:
    about = entry.stat()
    return SourceFile(path, about.st_size, about.st_mtime_ns)


def _audio_files(folder: os.DirEntry[str]) -> list[SourceFile]:
    return [
        _source_file(entry, f"{folder.name}/{entry.name}")
        for entry in os.scandir(folder.path)
        if entry.name[0] != "." and entry.is_file() and _is_audio(entry)
    ]


def _is_audio(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(AUDIO_SUFFIXES) or begins_like_audio(Path(entry.path))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"  # Such a clip is skipped and named when it is decoded.


def _known_hash(listing: Listing, split: str, progress: bool) -> str:
    """The content hash, out of the index if no file has changed since it was worked out."""
    index_file = cache_dir() / "corpora" / "index.json"
    key = f"{listing.root} {split}"
    now = fingerprint(listing, split)
    entry = _read_index(index_file).get(key, {})
    if entry.get("fingerprint") == now:
        return entry["hash"]
    content_hash = content_hash_of(listing, split, progress)
    index_file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{index_file}.lock"):
        index = _read_index(index_file) | {key: {"fingerprint": now, "hash": content_hash}}
        write_text_atomically(index_file, json.dumps(index, indent=1))
    return content_hash


def _read_index(index_file: Path) -> dict[str, dict[str, str]]:
    try:
        index: dict[str, dict[str, str]] = json.loads(index_file.read_text())
    except (OSError, ValueError):
        return {}  # It only saves time; a new one is written.
    return index


def _build(listing: Listing, target: Path, name: str, content_hash: str, split: str, progress: bool) -> None:
    clips = clip_table([clip.path for clip in listing.clips], split, _read_lists(listing))
    check_splits(clips, name)
    noise, bad_noise = _read_noise(listing)
    bad_clips: dict[str, str] = {}
    while True:
        try:
            write_corpus(
                target,
                name=name,
                content_hash=content_hash,
                clips=clips,
                waveforms=_decoded(listing, clips["source"].tolist(), progress),
                noise=noise,
                skipped=[f"{path}: {reason}" for path, reason in (bad_clips | bad_noise).items()],
            )
            return
        except _UnreadableClipsError as found:
            # Which clips are bad is known after a pass over all; the next one leaves them out.
            bad_clips |= found.reasons
            _check_unreadable(bad_clips, listing)
            clips = clips[~clips["source"].isin(list(bad_clips))]
            check_splits(clips, name)


def _read_lists(listing: Listing) -> dict[str, list[str]]:
    listed = {}
    for split, list_file in LIST_FILES.items():
        if any(file.path == list_file for file in listing.lists):
            try:
                listed[split] = list_entries((listing.root / list_file).read_text(encoding="utf-8-sig"))
            except (OSError, UnicodeDecodeError) as error:
                raise CorpusError(f"cannot read {list_file}: {error}; it must be UTF-8 text") from error
    return listed


def _read_noise(listing: Listing) -> tuple[Int16Array, dict[str, str]]:
    """All background noise in one row, and the reasons for the files left out."""
    rows, bad = [np.zeros(0, np.int16)], {}
    for file in listing.noise:
        try:
            rows.append(read_audio(listing.root / file.path))
        except AudioError as error:
            bad[file.path] = error.reason
    return np.concatenate(rows), bad


def _check_unreadable(bad: dict[str, str], listing: Listing) -> None:
    if len(bad) > MAX_UNREADABLE_SHARE * len(listing.clips):
        path, reason = next(iter(bad.items()))
        raise CorpusError(
            f"{len(bad)} of {len(listing.clips)} clips in {listing.root} cannot be read, more than "
            f"{MAX_UNREADABLE_SHARE:.0%} ({path}: {reason}); repair or remove them"
        )


def _decoded(listing: Listing, sources: Sequence[str], progress: bool) -> Iterator[Int16Array]:
    """Blocks of clips, shape (n, L).

    Raises:
        _UnreadableClipsError: At the end: some could not be read; the blocks are of no use then.
        CorpusError: At the end: the folder has changed, so that its content hash no longer holds.
    """
    bad: dict[str, str] = {}

    def read(source: str) -> tuple[str, Int16Array | str]:
        try:
            return source, read_clip(listing.root / source)
        except AudioError as error:
            return source, error.reason

    for block in _mapped(read, sources, "decoding", progress):
        bad |= {source: clip for source, clip in block if isinstance(clip, str)}
        if not bad:
            yield np.stack([clip for _, clip in block if not isinstance(clip, str)])
    if bad:
        raise _UnreadableClipsError(bad)
    if scan_folder(listing.root) != listing:
        raise CorpusError(f"{listing.root} was changed while it was read; run again when it is complete")


def _mapped(
    function: Callable[[Item], Result], items: Sequence[Item], label: str, progress: bool
) -> Iterator[list[Result]]:
    """The function over all items in order, on a few threads, one block in memory at a time."""
    with progress_bar(label, len(items), progress) as advance, ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(items), BLOCK_CLIPS):
            block = list(pool.map(function, items[first : first + BLOCK_CLIPS]))
            advance(len(block))
            yield block
