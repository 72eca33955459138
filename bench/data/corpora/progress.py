"""Progress bars on standard error, for work on many files and for downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextmanager
def progress_bar(
    label: str, total: int | None, shown: bool, *, in_bytes: bool = False, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """A bar that is removed at the end; gives the function that advances it.

    Where standard error is no terminal, one line says at the end what was done.

    Args:
        label: What is being done, one or a few words.
        total: How many steps or bytes there are, if that is known.
        shown: Nothing is printed without it.
        in_bytes: The steps are bytes, shown with their rate.
        done: Steps that were done before.
    """
    amount: list[ProgressColumn] = [MofNCompleteColumn()]
    if in_bytes:
        amount = [DownloadColumn(), TransferSpeedColumn()]
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *amount,
        TimeRemainingColumn(),
        console=console,
        transient=console.is_terminal,
        disable=not shown,
    )
    with bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda steps: bar.advance(task, steps)
