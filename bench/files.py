"""Files are written as a whole or not at all, and what a killed process left half-made is removed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from models.errors import KwsError

_PREFIX, _SUFFIX = ".kws-bench-", ".tmp"
MOST_TRIES = 1000
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What this process is making, and what is held while something is begun.
_under_way: set[Path] = set()
_making = threading.Lock()


class NoRoomError(KwsError):
    """There is no room for a file; the message names it, what it needs and what is free."""


def file_name(text: str) -> str:
    """A text as part of a file's name, on any system.

    Examples:
        >>> file_name("qat:bits=8/gru.hh=4+kd")
        'qat_bits=8_gru.hh=4+kd'
    """
    return re.sub(r"[^\w.+=-]", "_", text)


def write_text_atomically(path: Path, text: str) -> None:
    """Writes a text as a whole or not at all."""
    write_atomically(path, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file as a whole or not at all: a reader sees the old content or the new one.

    Raises:
        NoRoomError: The disk, a quota or a limit has no room for it.
        OSError: It cannot be written for another reason.
    """
    with replacing(path, len(content)) as made:
        made.write_bytes(content)


@contextmanager
def replacing(path: Path, needs_bytes: int, *, folder: bool = False) -> Iterator[Path]:
    """An empty file beside another, to be filled; filled, it takes the other's place, else all is as it was.

    Args:
        path: Where it will stand; the folder above is made.
        needs_bytes: How large it will be at the least; nothing is begun where there is less room.
        folder: It is a folder.

    Raises:
        NoRoomError: There is no room for it.
        OSError: It cannot be written for another reason.
    """
    with room_for(path, needs_bytes), _named(path), temporary(path.parent, folder=folder) as made:
        disk = shutil.disk_usage(path.parent)
        if disk.free < needs_bytes and disk.total:  # some file systems do not say
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield made
        made.chmod(0o755 if folder else 0o644)  # what is scratch is for this user alone
        if folder:
            _remove(path)
        os.replace(made, path)


@contextmanager
def room_for(path: Path, needs_bytes: int) -> Iterator[None]:
    """Where there is no room for what is written inside, the error says which file it was and what it needs.

    Raises:
        NoRoomError: In the place of the system's own error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        there = next(folder for folder in path.absolute().parents if folder.exists())
        raise NoRoomError(
            f"cannot write {path}: {error.strerror}; it needs {needs_bytes:,} bytes and "
            f"{shutil.disk_usage(there).free:,} are free there; make room, or write elsewhere "
            "(--out, KWS_BENCH_CACHE)"
        ) from None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Other errors of writing name the file, not what it is made in."""
    try:
        yield
    except OSError as error:
        if error.errno and _PREFIX in str(error.filename or _PREFIX):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


@contextmanager
def temporary(parent: Path, *, folder: bool = False) -> Iterator[Path]:
    """An empty file that is gone in the end; those that killed processes left beside it go first.

    Args:
        parent: The folder that it is made in; made if missing.
        folder: It is a folder.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent)
    made, handle = _held(parent, folder)
    try:
        yield made
    finally:
        _remove(made)
        _under_way.discard(made)
        os.close(handle)


def _held(parent: Path, folder: bool) -> tuple[Path, int]:
    """A new file or folder, under a lock that the system lets go of however this process ends."""
    # Until it is locked, somebody may take it for one that is left over: then it is made again.
    while True:
        with _making:
            if folder:
                name = tempfile.mkdtemp(_SUFFIX, _PREFIX, parent)
                try:
                    handle = os.open(name, os.O_RDONLY)
                except FileNotFoundError:
                    continue
            else:
                handle, name = tempfile.mkstemp(_SUFFIX, _PREFIX, parent)
            _under_way.add(Path(name))
        with suppress(OSError):  # a file system without locks: what is left over there stays
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):
            return Path(name), handle
        _under_way.discard(Path(name))
        os.close(handle)


def remove_leftovers(parent: Path) -> None:
    """Removes what killed processes left half-made in a folder."""
    for left in parent.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(left)
            finally:
                os.close(handle)


def leave(status: int) -> NoReturn:
    """Ends this process at once, from any thread, with nothing half-made left behind."""
    with _making:  # for good: nothing is begun any more
        for made in tuple(_under_way):
            _take_away(made)
        os._exit(status)


def _take_away(path: Path) -> None:
    """Removes what another thread may still be filling, until it stays away; it keeps its name.

    So whoever fills it, finds it gone and tidies up, removes the same.
    """
    for _ in range(MOST_TRIES):
        with suppress(OSError):
            _remove(path)
        if not path.exists():
            time.sleep(0.002)
            if not path.exists():
                return


def _remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it; neither has to be there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
