"""Google Speech Commands v0.01 and v0.02, downloaded on demand, with their official lists."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock

from bench.data.corpora.base import Corpus, cache_dir
from bench.data.corpora.download import download
from bench.data.corpora.folder import folder_corpus
from bench.data.corpora.progress import progress_bar
from bench.data.corpora.splits import LIST_FILES
from bench.files import replacing
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ

# The words that v0.02 brought; they tell the two releases apart in a folder of any name.
WORDS_NEW_IN_V0_02 = frozenset({"backward", "follow", "forward", "learn", "visual"})


@dataclass(frozen=True)
class Release:
    """One published archive.

    Attributes:
        version: ``v0.01`` or ``v0.02``.
        url: Where the archive is published.
        sha256: Its checksum, 64 hex digits.
    """

    version: str
    url: str
    sha256: str

    @property
    def folder_name(self) -> str:
        """The archive's name without extension, and the folder it is extracted to."""
        return f"speech_commands_{self.version}"


_BASE_URL = "http://download.tensorflow.org/data"
RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        release.version: release
        for release in (
            Release(
                "v0.01",
                f"{_BASE_URL}/speech_commands_v0.01.tar.gz",
                "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
            ),
            Release(
                "v0.02",
                f"{_BASE_URL}/speech_commands_v0.02.tar.gz",
                "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            ),
        )
    }
)


def speech_commands_corpus(
    version: str = "v0.01",
    *,
    root: Path | None = None,
    releases: Mapping[str, Release] = RELEASES,
    split: str = "speaker",
    clip_samples: int = SAMPLE_RATE_HZ,
    progress: bool = True,
) -> Corpus:
    """Speech Commands with its official splits; found on disk, else downloaded and extracted.

    Args:
        version: ``v0.01`` (30 words, 64,727 clips) or ``v0.02`` (35 words, 105,829 clips).
        root: A folder that is, or holds, the extracted archive; looked into before the cache.
        releases: The archives that exist, by version.
        split: ``speaker``: the official lists; ``random``: over clips (see ``folder_corpus``).
        clip_samples: Samples L of a clip.
        progress: Whether to show progress on standard error.

    Raises:
        CorpusError: An unknown version, a ``root`` that holds another one, or no way to download it.
    """
    if version not in releases:
        raise CorpusError(f"no Speech Commands {version!r}; there are: {', '.join(sorted(releases))}")
    release = releases[version]
    folder = None if root is None else find_extracted(release, root)
    if folder is None:
        folder = _fetched(release, progress)
    name = f"speech-commands-{version}"
    return folder_corpus(folder, name=name, split=split, clip_samples=clip_samples, progress=progress)


def find_extracted(release: Release, root: Path) -> Path | None:
    """The folder of a release that ``root`` is or holds; None if there is none.

    Raises:
        CorpusError: ``root`` does not exist, or is a folder of the other release.
    """
    if not root.is_dir():
        raise CorpusError(f"no folder {root}; give the one that holds {release.folder_name}, or none")
    # The second is how torchaudio lays out its downloads.
    for folder in (root / release.folder_name, root / "SpeechCommands" / release.folder_name, root):
        if _has_lists(folder):
            _check_version(folder, release)
            return folder
    return None


def _has_lists(folder: Path) -> bool:
    return all((folder / list_file).is_file() for list_file in LIST_FILES.values())


def _check_version(folder: Path, release: Release) -> None:
    found = "v0.02" if any((folder / word).is_dir() for word in WORDS_NEW_IN_V0_02) else "v0.01"
    if found != release.version:
        raise CorpusError(f"{folder} holds Speech Commands {found}, not {release.version}; ask for {found}")


def _fetched(release: Release, progress: bool) -> Path:
    """The release in the cache, downloaded and extracted if need be; the archive is removed after that."""
    folder = cache_dir() / "downloads" / release.folder_name
    archive = folder.parent / f"{release.folder_name}.tar.gz"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not _has_lists(folder):
            download(release.url, archive, sha256=release.sha256, progress=progress)
            _extract(archive, folder, progress)
        archive.unlink(missing_ok=True)
    return folder


def _extract(archive: Path, folder: Path, progress: bool) -> None:
    """Unpacks an archive as a whole or not at all."""
    size_bytes = archive.stat().st_size
    with (
        replacing(folder, size_bytes, folder=True) as scratch,
        archive.open("rb") as file,
        tarfile.open(fileobj=file, mode="r:gz") as tar,
        progress_bar("extracting", size_bytes, progress, in_bytes=True) as advance,
    ):
        done = 0
        for member in tar:
            tar.extract(member, scratch, filter="data")
            advance(file.tell() - done)
            done = file.tell()
