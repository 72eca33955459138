"""A folder of ``<word>/<clip>`` in any audio format as a corpus."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.data.audio import is_audio
from bench.data.corpora.base import AUDIO_SUFFIXES, Corpus
from bench.data.corpora.contents import Cut, Listing, Recordings, SourceFile, rule_text, source_file
from bench.data.corpora.recordings import recordings_corpus
from bench.data.corpora.splits import LIST_FILES, clip_table, list_entries
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ

NOISE_FOLDER = "_background_noise_"
LAYOUT = "<word>/<clip>.wav (or .flac, .opus, .mp3, ...), one folder a word"
# Part of every content hash: to be raised when the same files would give other clips or splits.
FORMAT_VERSION = 1


def folder_corpus(
    path: Path,
    *,
    name: str | None = None,
    split: str = "speaker",
    clip_samples: int = SAMPLE_RATE_HZ,
    progress: bool = True,
) -> Corpus:
    """The corpus of a folder; the first call decodes it, later calls open what is in the cache.

    Args:
        path: A folder of ``<word>/<clip>`` in any format that libsndfile reads, known by name or by what
            the file holds. Other files, and folders whose name starts with ``_`` or ``.``, are ignored, but
            for ``_background_noise_``.
        name: The corpus's name; without one, the folder's.
        split: ``speaker``: by ``validation_list.txt`` and ``testing_list.txt``, and by speaker where one
            or both are missing; ``random``: 80/20 over clips, the fifth being validation and test alike,
            for comparison with work that did so.
        clip_samples: Samples L of a clip; of longer recordings the loudest stretch is taken.
        progress: Whether to show progress on standard error.

    Raises:
        CorpusError: No such folder, no audio in it, lists that do not fit, too many unreadable files, or
            an empty split.
    """
    folder = _Folder(name or path.resolve().name, split, scan_folder(path))
    return recordings_corpus(folder, clip_samples, progress)


def scan_folder(path: Path) -> Listing:
    """Lists a folder's clips, noise and split lists without reading them.

    Raises:
        CorpusError: No such folder, or no audio in it.
    """
    if not path.is_dir():
        raise CorpusError(f"no folder {path}; give a folder of {LAYOUT}")
    clips: list[SourceFile] = []
    lists: list[SourceFile] = []
    try:
        for entry in os.scandir(path):
            if entry.is_dir() and not entry.name.startswith(("_", ".")):
                clips += audio_files(path / entry.name)
            elif entry.name in LIST_FILES.values():
                lists.append(source_file(entry, entry.name))
        noise = audio_files(path / NOISE_FOLDER) if (path / NOISE_FOLDER).is_dir() else []
    except OSError as error:
        raise CorpusError(f"cannot list {error.filename}: {error.strerror}; make it readable") from error
    if not clips:
        raise CorpusError(f"no audio in {path}; clips are looked for as {LAYOUT}")
    return Listing(path.resolve(), tuple(sorted(clips)), tuple(sorted(noise)), tuple(sorted(lists)))


def audio_files(folder: Path) -> list[SourceFile]:
    """The audio of a folder, each file named by the folder and its own name."""
    return [
        source_file(entry, f"{folder.name}/{entry.name}")
        for entry in os.scandir(folder)
        if entry.name[0] != "." and entry.is_file() and is_audio_entry(entry)
    ]


def is_audio_entry(entry: os.DirEntry[str]) -> bool:
    """Whether a file is audio, by its name or by what it holds."""
    return entry.name.lower().endswith(AUDIO_SUFFIXES) or is_audio(Path(entry.path))


@dataclass(frozen=True)
class _Folder(Recordings):
    """See the base class."""

    @property
    def place(self) -> Path:
        return self.listing.root

    @property
    def identity(self) -> str:
        return f"folder {FORMAT_VERSION} {rule_text(self.split)}"

    @property
    def files(self) -> tuple[SourceFile, ...]:
        return self.listing.clips + self.listing.noise + self.listing.lists

    def table(self) -> tuple[pd.DataFrame, list[Cut]]:
        paths = [clip.path for clip in self.listing.clips]
        return clip_table(paths, self.split, self._lists()), [Cut(path) for path in paths]

    def noise(self) -> list[Cut]:
        return [Cut(file.path) for file in self.listing.noise]

    def remedy(self, split: str) -> str:
        if split in LIST_FILES:
            return f"list its clips in {LIST_FILES[split]}"
        return f"take clips out of {' and '.join(LIST_FILES.values())}"

    def scanned(self) -> Listing:
        return scan_folder(self.listing.root)

    def _lists(self) -> dict[str, list[str]]:
        listed = {}
        for split, list_file in LIST_FILES.items():
            if any(file.path == list_file for file in self.listing.lists):
                try:
                    text = (self.listing.root / list_file).read_text(encoding="utf-8-sig")
                except (OSError, UnicodeDecodeError) as error:
                    raise CorpusError(f"cannot read {list_file}: {error}; it must be UTF-8 text") from error
                listed[split] = list_entries(text)
        return listed
