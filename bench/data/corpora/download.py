"""Fetching one large file: goes on where it was cut off, and is checked before it is used."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock

from bench.data.corpora.progress import progress_bar
from bench.files import room_for
from models.errors import CorpusError

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 18
# Lost connections in a row, without a byte between them, after which it gives up.
MAX_IDLE_TRIES = 3

RANGE_NOT_SATISFIABLE = 416


def download(url: str, target: Path, *, sha256: str, progress: bool = True) -> Path:
    """The file of a URL, at ``target``; a file already there is checked and not fetched again.

    What has come so far stands in ``target`` + ``.part``, and the next call goes on from there if the
    server allows it. A connection lost on the way is taken up again at once.

    Args:
        url: Where to fetch it from, http or https.
        target: Where it will stand, complete and checked; its folder is made.
        sha256: Its checksum, 64 hex digits.
        progress: Whether to show bytes and rate on standard error.

    Returns:
        ``target``.

    Raises:
        CorpusError: No connection, or another checksum than expected.
        NoRoomError: The disk has no room for it; what came stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.exists():
            if (got := file_sha256(target)) != sha256:
                raise CorpusError(f"{target} is not {url}: sha256 {got}, expected {sha256}; remove it")
            return target
        part = target.with_name(f"{target.name}.part")
        complete = part.exists() and file_sha256(part) == sha256
        if not complete:
            _fetch(url, part, target, progress)
        if (got := file_sha256(part)) != sha256:
            part.unlink()
            raise CorpusError(f"{url} came with sha256 {got}, expected {sha256}; run again to fetch it anew")
        os.replace(part, target)
    return target


def file_sha256(path: Path) -> str:
    """The checksum of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, part: Path, target: Path, progress: bool) -> None:
    """Fills the part file, in as many connections as it takes."""
    by_hand = f"or put the file at {target} by hand and run again"
    idle_tries = 0
    while True:
        before = _size(part)
        try:
            if _fetch_once(url, part, progress):
                return
            reason = "the connection was lost"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != RANGE_NOT_SATISFIABLE or not before:
                raise CorpusError(f"cannot download {url}: {error}; try later, {by_hand}") from error
            # Nothing is left to send, yet the checksum was wrong: the part file is of something else.
            part.unlink()
            continue
        except urllib.error.URLError as error:
            raise CorpusError(f"cannot download {url}: {error.reason}; go online, {by_hand}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        idle_tries = 0 if _size(part) > before else idle_tries + 1
        if idle_tries == MAX_IDLE_TRIES:
            have = f"{_size(part):,} bytes are kept"
            raise CorpusError(f"cannot download {url}: {reason}; {have}, run again to go on, {by_hand}")


def _fetch_once(url: str, part: Path, progress: bool) -> bool:
    """Takes what one connection gives; True if that was all the server announced."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        if response.status != http.client.PARTIAL_CONTENT or _range_start(response) != start:
            start = 0  # The server sends all of it, whatever was asked for.
        announced = response.headers.get("Content-Length")
        total = start + int(announced) if announced else None
        label = url.rsplit("/", 1)[-1]
        with (
            room_for(part, total or 0),
            part.open("ab" if start else "wb") as file,
            progress_bar(label, total, progress, in_bytes=True, done=start) as advance,
        ):
            while chunk := response.read1(CHUNK_BYTES):
                file.write(chunk)
                advance(len(chunk))
            return total is None or file.tell() == total


def _range_start(response: http.client.HTTPResponse) -> int | None:
    """Where a partial answer begins, as its Content-Range says."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
