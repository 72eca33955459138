"""What a run shows in the terminal while it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
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

from bench.comparing.summary import summarise
from bench.config import Repeats, RunConfig
from bench.data.corpora import open_corpus
from bench.files import file_name, write_text_atomically
from bench.results.records import RunRecord
from bench.results.table import RESULTS_FILE, load_results
from bench.running.executors import Outcome, distinct_chains, run_all
from bench.running.pipeline import check
from bench.running.ui import Ui
from bench.studies.ablation import contributions, orders, variants
from bench.terminal.tables import (
    ablation_table,
    missing_lines,
    order_lines,
    repeats_table,
    summary_table,
    validation_text,
)
from bench.texts import plain_console
from bench.training.state import Epoch
from models.registry import base_spec

SUMMARY_FILE = "summary.csv"


class ConsoleUi(Ui):
    """A progress bar for each training, a line for each row; use it as a context manager.

    Args:
        console: To print to.
        several: Whether there are several tasks or seeds to tell apart.
    """

    def __init__(self, console: Console, *, several: bool = False) -> None:
        self._console, self._several = console, several
        self._progress = Progress(
            TextColumn("{task.description:<14}", markup=False),
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
        """See ``Ui``: once for each corpus."""
        if corpus_hash not in self._opened:
            self._opened.add(corpus_hash)
            self._print("\n".join(about))

    def _end(self, job: int) -> None:
        if job in self._tasks:
            self._progress.remove_task(self._tasks.pop(job))

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        """See ``Ui``."""
        if done:
            self._print(f"{label}: goes on after epoch {done}")
        self._end(job)  # a training that failed said nothing
        task = self._progress.add_task(label, total=epochs, completed=done, state="", best=None)
        self._tasks[job] = task

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        """See ``Ui``."""
        task = next(entry for entry in self._progress.tasks if entry.id == self._tasks[job])
        best: Epoch | None = task.fields["best"]
        if best is None or epoch.rank < best.rank:
            best = epoch
        now, then = (f"{each.validation_headline:.3g}" for each in (epoch, best))
        state = f"loss {epoch.loss:.3f}  {epoch.headline} {now}  best {then}"
        self._progress.update(task.id, completed=epoch.epoch, state=state, best=best)

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        """See ``Ui``: a line for each row, the first time that it is there."""
        self._end(job)
        if record.run_id in self._finished:
            return
        self._finished.add(record.run_id)
        name = f"{record.task}, seed {record.seed}, {record.label}" if self._several else record.label
        if record.status != "ok":
            self._print(f"{name}: {record.status}: {record.reason}")
            return
        trained = (
            "no epoch of training" if record.epochs == 0 else f"{record.train_seconds:.0f} s of training"
        )
        how = "was there already" if reused else trained
        self._print(f"{name}: {validation_text(record)} on validation, {record.size_kb:.1f} KB ({how})")


# Every configuration once: there is nothing to repeat.
ONCE = Repeats()


def run_and_show(
    configs: Sequence[RunConfig], out: Path, *, jobs: int, plugins: Sequence[Path], repeats: Repeats = ONCE
) -> int:
    """Runs chains, then shows the table and draws the figures of all rows in ``out``.

    Args:
        configs: What to run, without its repeats, one task after the other.
        out: Gets ``results.csv``, ``summary.csv``, ``figures/`` and ``runs/``.
        jobs: Processes.
        plugins: Files that every process loads.
        repeats: How often each configuration is run.

    Returns:
        The exit status: 0, or 1 where a chain failed or a training diverged.

    Raises:
        KwsError: A chain, the model or the data is wrong; of chains, before anything is made.
    """
    console = plain_console()
    outcome = run_all_of(configs, out, console, jobs=jobs, plugins=plugins, repeats=repeats)
    for rows in _of_task(outcome.records.values(), configs):
        console.print(summary_table(rows) if len({row.seed for row in rows}) == 1 else repeats_table(rows))
    if outcome.records:
        for line in renew_if_changed(out):
            console.print(f"left out: {line}", soft_wrap=True)
        tables = f"{out / RESULTS_FILE}, {out / SUMMARY_FILE}"
        where = f"{tables}, figures in {out / 'figures'}, models in {out / 'runs'}"
        console.print(where, soft_wrap=True)
    return _status(outcome, console)


def ablate_and_show(
    configs: Sequence[RunConfig], out: Path, *, jobs: int, plugins: Sequence[Path], repeats: Repeats = ONCE
) -> int:
    """Runs a chain without each of its compressors; writes a table and a figure for each task.

    Args:
        configs: The whole chain, of one task after the other.
        out: As for ``run_and_show``; what is there already is used.
        jobs: Processes.
        plugins: Files that every process loads.
        repeats: As for ``run_and_show``.

    Returns:
        The exit status, as of ``run_and_show``.
    """
    from bench.figures.ablation import draw_ablation  # takes a second to import

    base = base_spec(configs[0].model, configs[0].task)
    found, ordered = variants(configs[0].chain, base), orders(configs[0].chain, base)
    there = [replace(config, chain=each.chain) for config in configs for each in found if not each.reason]
    console = plain_console()
    outcome = run_all_of(there, out, console, jobs=jobs, plugins=plugins, repeats=repeats)
    if outcome.records:
        write_summary(out)
    for rows in _of_task(outcome.records.values(), configs):
        table = contributions(found, rows)
        name = f"ablation-{file_name(found[0].chain)}-{file_name(rows[0].task.removeprefix('keyword '))}"
        write_text_atomically(out / f"{name}.csv", table.to_csv(index=False))
        console.print(ablation_table(table, rows[0].task))
        written = [out / f"{name}.csv"]
        if table["runs"].any():
            title = f"{table['label'].iloc[0] or found[0].chain}, {rows[0].task}"
            written += draw_ablation(table, out / "figures" / name, title)
        for line in (*missing_lines(table), *map(str, written)):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    for line in order_lines(ordered):
        console.print(line, highlight=False, markup=False)
    return _status(outcome, console)


def run_all_of(
    configs: Sequence[RunConfig],
    out: Path,
    console: Console,
    *,
    jobs: int = 1,
    plugins: Sequence[Path] = (),
    repeats: Repeats = ONCE,
) -> Outcome:
    """Checks and runs chains, as ``run_and_show`` does; a quiet console shows nothing of it.

    Raises:
        KwsError: A chain, the model or the data is wrong; of chains, before anything is made.
    """
    # Each chain and each word once, however many repeats: the last is not to fail after others were trained.
    for config in distinct_chains(configs):
        check(config)
    for data, task, split in dict.fromkeys((each.data, each.task, each.split) for each in configs):
        open_corpus(data, task, split=split, progress=not console.quiet)
    several = repeats.count > 1 or len({config.task for config in configs}) > 1
    with ConsoleUi(console, several=several) as ui:
        return run_all(list(repeats.of(configs)), out, ui, jobs=jobs, plugins=plugins)


def _of_task(records: Iterable[RunRecord], configs: Sequence[RunConfig]) -> list[list[RunRecord]]:
    """The rows of each task, in the order in which they were asked for, whichever was done first."""
    groups: dict[str, list[RunRecord]] = {config.task.text: [] for config in configs}
    for record in records:
        groups[record.task].append(record)
    return [rows for rows in groups.values() if rows]


def _status(outcome: Outcome, console: Console) -> int:
    for line in outcome.failures:
        console.print(f"failed: {line}", highlight=False, markup=False)
    return 1 if outcome.failures or any(row.status != "ok" for row in outcome.records.values()) else 0


def write_summary(out: Path) -> None:
    """Writes means, standard deviations and intervals over repeats of all rows, as ``summary.csv``."""
    summary = summarise(load_results(out / RESULTS_FILE))
    write_text_atomically(out / SUMMARY_FILE, summary.to_csv(index=False))


def renew_if_changed(out: Path) -> list[str]:
    """Makes a results folder's summary and figures, unless they were made from the very same table.

    Returns:
        What was left out of the figures, a line each.
    """
    table, stamp = out / RESULTS_FILE, out / "figures" / ".drawn"
    state = f"{version('kws-bench')} {sha256(table.read_bytes()).hexdigest()}"
    if stamp.exists() and stamp.read_text() == state:
        return []
    write_summary(out)
    from bench.figures.plots import draw_figures, kinds_of  # takes a second to import

    rows = load_results(table)
    drawn = draw_figures(rows, out / "figures", kinds_of(rows), out / "runs")
    write_text_atomically(stamp, state)
    return drawn.left_out
