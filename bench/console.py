"""What a run shows in the terminal while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.config import RunConfig
from bench.parallel import run_all
from bench.pipeline import Ui, check
from bench.records import RESULTS_FILE, RunRecord, load_results, write_text_atomically
from bench.report import summary_table
from bench.train import Epoch


class ConsoleUi(Ui):
    """A progress bar for each training, a line for each row; use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("epochs  {task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[int, TaskID] = {}
        self._opened: set[str] = set()
        self._finished: set[str] = set()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def opened(self, corpus_hash: str, about: Sequence[str]) -> None:
        """See ``pipeline.Ui``: once for each corpus."""
        if corpus_hash not in self._opened:
            self._opened.add(corpus_hash)
            self._print("\n".join(about))

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        """See ``pipeline.Ui``."""
        if done:
            self._print(f"{label}: goes on after epoch {done}")
        task = self._progress.add_task(label, total=epochs, completed=done, state="", best=float("inf"))
        self._tasks[job] = task

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        """See ``pipeline.Ui``."""
        task = next(entry for entry in self._progress.tasks if entry.id == self._tasks[job])
        best = min(task.fields["best"], epoch.validation_au_fa_fr)
        state = f"loss {epoch.loss:.3f}  au_fa_fr {epoch.validation_au_fa_fr:.2e}  best {best:.2e}"
        self._progress.update(task.id, completed=epoch.epoch, state=state, best=best)

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        """See ``pipeline.Ui``: a line for each row, the first time that it is there."""
        if job in self._tasks:
            self._progress.remove_task(self._tasks.pop(job))
        if record.run_id in self._finished:
            return
        self._finished.add(record.run_id)
        if record.status != "ok":
            self._print(f"{record.label}: {record.status}: {record.reason}")
            return
        how = "was there already" if reused else f"{record.train_seconds:.0f} s of training"
        self._print(
            f"{record.label}: au_fa_fr {record.validation_au_fa_fr:.2e} on validation, "
            f"{record.size_kb:.1f} KB ({how})"
        )


def run_and_show(configs: Sequence[RunConfig], out: Path, *, jobs: int, plugins: Sequence[Path]) -> int:
    """Runs chains, then shows the table and draws the figures of all rows in ``out``.

    Returns:
        The exit status: 0, or 1 where a chain failed or a training diverged.

    Raises:
        KwsError: A chain, the model or the data is wrong; of chains, before anything is made.
    """
    for config in configs:
        check(config)
    console = Console()
    with ConsoleUi(console) as ui:
        outcome = run_all(configs, out, ui, jobs=jobs, plugins=plugins)
    if outcome.records:
        console.print(summary_table(list(outcome.records.values())))
        draw_if_changed(out)
        console.print(f"{out / RESULTS_FILE}, figures in {out / 'figures'}", highlight=False)
    for line in outcome.failures:
        console.print(f"failed: {line}", highlight=False, markup=False)
    return 1 if outcome.failures or any(row.status != "ok" for row in outcome.records.values()) else 0


def draw_if_changed(out: Path) -> None:
    """Draws the figures of a results folder, unless they were drawn from the very same table."""
    table, stamp = out / RESULTS_FILE, out / "figures" / ".drawn"
    state = f"{version('kws-bench')} {sha256(table.read_bytes()).hexdigest()}"
    if stamp.exists() and stamp.read_text() == state:
        return
    from bench.figures.plots import ALL_KINDS, draw_figures  # takes a second to import

    draw_figures(load_results(table), out / "figures", ALL_KINDS, out / "runs")
    write_text_atomically(stamp, state)
