"""What a run shows in the terminal while it goes on."""

from __future__ import annotations

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

from bench.corpora.base import Corpus
from bench.records import RunRecord
from bench.train import Epoch


SKIPPED_SHOWN = 5


class ConsoleUi:
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
        self._task: TaskID | None = None
        self._best = float("inf")
        self._opened: set[str] = set()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def opened(self, corpus: Corpus) -> None:
        """See ``pipeline.Ui``: once for each corpus, and what of it could not be read."""
        if corpus.hash in self._opened:
            return
        self._opened.add(corpus.hash)
        clips = corpus.clips
        self._print(
            f"{corpus.name}: {len(clips):,} clips, {clips['word'].nunique()} words, "
            f"{clips['speaker'].nunique()} speakers, {len(corpus.skipped)} files skipped"
        )
        for line in corpus.skipped[:SKIPPED_SHOWN]:
            self._print(f"  skipped {line}")
        if len(corpus.skipped) > SKIPPED_SHOWN:
            self._print(f"  and {len(corpus.skipped) - SKIPPED_SHOWN} more")

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def started(self, label: str, epochs: int, done: int) -> None:
        """See ``pipeline.Ui``."""
        if done:
            self._print(f"{label}: goes on after epoch {done}")
        self._best = float("inf")
        self._task = self._progress.add_task(label, total=epochs, completed=done, state="")

    def epoch(self, epoch: Epoch) -> None:
        """See ``pipeline.Ui``."""
        if self._task is None:
            return
        self._best = min(self._best, epoch.validation_au_fa_fr)
        state = f"loss {epoch.loss:.3f}  au_fa_fr {epoch.validation_au_fa_fr:.2e}  best {self._best:.2e}"
        self._progress.update(self._task, completed=epoch.epoch, state=state)

    def finished(self, record: RunRecord, reused: bool) -> None:
        """See ``pipeline.Ui``."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        if record.status != "ok":
            self._print(f"{record.label}: {record.status}: {record.reason}")
            return
        how = "was there already" if reused else f"{record.train_seconds:.0f} s of training"
        self._print(
            f"{record.label}: au_fa_fr {record.validation_au_fa_fr:.2e} on validation, "
            f"{record.size_kb:.1f} KB ({how})"
        )
