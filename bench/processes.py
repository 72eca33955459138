"""Processes that work for another one: they tell it how it goes, and do not outlive it.

Light to import, so that a process that is just starting hears of its parent's end before torch is there.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Lock
from typing import Any

from bench.files import leave

ENDED = 1


@dataclass(frozen=True)
class Line:
    """The worker's end of a line to its parent; it is handed over when the worker starts.

    Attributes:
        end: To write to.
        turn: Held by the worker that writes.
    """

    end: Connection
    turn: Lock


_line: Line | None = None


def begin_work(line: Line) -> None:
    """The first thing that a worker does."""
    global _line
    _line = line
    parent = multiprocessing.parent_process()
    assert parent is not None
    leave_when(parent.join)


def leave_when(gone: Callable[[], object]) -> None:
    """Ends this process once a call comes back, or by SIGTERM, with no file left half-written.

    Args:
        gone: Comes back when nobody waits for this process any more.
    """

    def watch() -> None:
        gone()
        leave(ENDED)

    def ended(*_: object) -> None:
        # In a thread of its own: this one may be about to begin a file, which ``leave`` waits for.
        threading.Thread(target=leave, args=(ENDED,)).start()

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGTERM, ended)
    # Ctrl-C reaches the parent as well, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def tell(name: str, *arguments: Any) -> None:
    """Sends the parent a message: the name of what it is to call, and the arguments."""
    assert _line is not None
    with _line.turn:
        _line.end.send((name, arguments))


def listen(end: Connection, receiver: object) -> None:
    """Calls the receiver's methods as workers tell, until the last of them has hung up; hangs up itself then.

    So it does where the receiver fails: workers that went on telling would wait for ever.
    """
    with end:
        while True:
            try:
                name, arguments = end.recv()
            except (EOFError, OSError):  # the latter where a worker was killed half-way through a message
                return
            getattr(receiver, name)(*arguments)
