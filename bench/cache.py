"""What the cache folder holds, and making room in it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bench.data.corpora.base import cache_dir
from bench.files import remove_leftovers

# Folders of the cache, and what making them again takes.
KINDS = {
    "corpora": "decoding or speaking",
    "features": "log-mel and augmentation",
    "downloads": "the network",
}


@dataclass(frozen=True)
class Usage:
    """What one folder of the cache takes.

    Attributes:
        kind: Its name.
        entries: Corpora, arrays of features or downloads in it.
        size_mb: Bytes on disk, in MB of 2^20 bytes.
    """

    kind: str
    entries: int
    size_mb: float


def usage() -> list[Usage]:
    """What each folder of the cache takes."""
    found = []
    for kind in KINDS:
        files = [path for path in (cache_dir() / kind).rglob("*") if path.is_file()]
        entries = [
            path for path in (cache_dir() / kind).glob("[!.]*") if path.suffix not in (".lock", ".json")
        ]
        found.append(Usage(kind, len(entries), sum(path.stat().st_size for path in files) / 2**20))
    return found


def clear(kind: str) -> float:
    """Empties one folder of the cache; what is needed again is made again.

    Args:
        kind: One of ``KINDS``.

    Returns:
        MB that are free now.
    """
    folder: Path = cache_dir() / kind
    freed = next(each.size_mb for each in usage() if each.kind == kind)
    if folder.exists():
        remove_leftovers(folder)
        for entry in folder.iterdir():
            # Locks and half-made files belong to whoever is at work on them.
            if entry.suffix not in (".lock", ".parts") and not entry.name.startswith("."):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return freed - next(each.size_mb for each in usage() if each.kind == kind)
