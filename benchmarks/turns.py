"""Two ways side by side: each in a process of its own, a lap each in turn, so both meet the same machine."""

from __future__ import annotations

import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context, set_start_method
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def peak_mb() -> float:
    """The most resident memory this process has held, in MB of 1024 KB; mapped files that it read count.

    Not from getrusage where there is another way: on Linux a process begins with its parent's peak there.
    """
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 / (1024 if sys.platform == "darwin" else 1)


def private_mb() -> float:
    """The resident memory of this process now without mapped files, in MB; not a number where unknown."""
    if not STATUS.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 1024


class Turns:
    """A side's stopwatch. Between its laps the side waits until it is its turn again."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._started = 0.0

    def wait(self) -> None:
        """Preparations are done: waits for the others, then starts the watch."""
        self._connection.send(("lap", None, 0.0))
        self._wait()

    def lap(self, name: str) -> None:
        """Ends a lap; the next one starts when it is this side's turn."""
        seconds = time.perf_counter() - self._started
        self._connection.send(("lap", name, seconds))
        self._wait()

    def note(self, name: str, value: float) -> None:
        """Reports a value without ending the turn."""
        self._connection.send(("note", name, value))

    def _wait(self) -> None:
        self._connection.recv()
        self._started = time.perf_counter()


@dataclass
class Laps:
    """What a side did.

    Attributes:
        seconds: Of each lap, by its name.
        notes: Values that it reported, by name.
        peak_mb: Most resident memory of its process; its own child processes are not counted.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0

    def median_s(self, name: str) -> float:
        """Median of the laps of that name."""
        return statistics.median(self.seconds[name])


Side = Callable[[Turns], None]


def alternate(sides: Mapping[str, Side]) -> dict[str, Laps]:
    """Runs the sides, each in a new process, lap by lap in turn.

    Args:
        sides: Functions that can be pickled. They prepare one after the other, in this order.

    Raises:
        RuntimeError: A side failed; the message holds its traceback.
    """
    context = get_context("spawn")
    laps = {name: Laps() for name in sides}
    waiting: list[str] = []
    running: dict[str, tuple[BaseProcess, Connection[Any, Any]]] = {}
    try:
        for name, side in sides.items():
            here, there = context.Pipe()
            # No daemon: data loaders and feature banks start processes themselves.
            process = context.Process(target=_run, args=(side, there))
            process.start()
            there.close()
            running[name] = process, here
            # One after the other: what a side prepares, it prepares alone.
            if _turn(name, running[name], laps[name]):
                waiting.append(name)
        while waiting:
            waiting = [name for name in waiting if _next(name, running[name], laps[name])]
        for ended, _ in running.values():
            ended.join()
    finally:
        for left, connection in running.values():
            connection.close()
            left.terminate()
            left.join()
    return laps


def _next(name: str, side: tuple[BaseProcess, Connection[Any, Any]], laps: Laps) -> bool:
    side[1].send("go")
    return _turn(name, side, laps)


def _turn(name: str, side: tuple[BaseProcess, Connection[Any, Any]], laps: Laps) -> bool:
    """Listens until the side's turn is over; False if it has ended."""
    while True:
        try:
            kind, what, value = side[1].recv()
        except EOFError:
            raise RuntimeError(f"the process of {name!r} died") from None
        if kind == "note":
            laps.notes[what] = value
        elif kind == "lap":
            if what is not None:
                laps.seconds.setdefault(what, []).append(value)
            return True
        elif kind == "end":
            laps.peak_mb = value
            return False
        else:
            raise RuntimeError(f"{name}: {what}")


def _run(side: Side, connection: Connection[Any, Any]) -> None:
    # A spawned process would spawn its own: data loaders are to start theirs as they do in any program.
    set_start_method(get_all_start_methods()[0], force=True)
    try:
        side(Turns(connection))
        connection.send(("end", None, peak_mb()))
    except Exception:
        connection.send(("error", traceback.format_exc(), 0.0))
