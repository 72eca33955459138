"""Several chains at once, in processes whose threads do not fight; one that fails does not stop the rest."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Queue
from typing import Any

import torch

from bench.config import RunConfig
from bench.pipeline import base_config, check, run_chain
from bench.plugins import load_plugins
from bench.records import RunRecord
from bench.training import Epoch
from bench.ui import Ui
from models.errors import KwsError

# The name of a method of Ui with its arguments; None ends the listening.
Messages = Queue[tuple[str, tuple[Any, ...]] | None]


@dataclass
class Outcome:
    """What came of a number of chains.

    Attributes:
        records: The rows, by run id.
        failures: One line for each chain that raised something unforeseen.
    """

    records: dict[str, RunRecord] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """A picklable piece of work: chains that share a training, one after the other.

    Attributes:
        configs: What to run.
        out: Where the rows go.
        threads: For torch, in this process.
        plugins: Files to load first.
    """

    configs: tuple[RunConfig, ...]
    out: Path
    threads: int
    plugins: tuple[Path, ...] = ()


def run_all(
    configs: Sequence[RunConfig], out: Path, ui: Ui, *, jobs: int = 1, plugins: Sequence[Path] = ()
) -> Outcome:
    """Runs chains, first all bases and then what needs them.

    Args:
        configs: Each has been checked.
        out: As for ``run_chain``.
        ui: Is told how it goes; with several jobs their messages come interleaved.
        jobs: Processes; the machine's cores are shared out among them.
        plugins: Files that every process loads.

    Raises:
        KwsError: Wrong data or a wrong keyword, which would fail each chain alike.
        OSError: So would a place that cannot be written.
    """
    if jobs == 1:
        return _in_turn(configs, out, ui, progress=True)
    outcome = Outcome()
    bases = tuple(dict.fromkeys(base_config(replace(config, chain="", label="")) for config in configs))
    groups: dict[tuple[RunConfig, str], list[RunConfig]] = {}
    for config in configs:
        groups.setdefault((replace(config, chain="", label=""), check(config).trained.text), []).append(
            config
        )
    threads = max(1, (os.cpu_count() or 1) // jobs)
    for stage in ([(base,) for base in bases], [tuple(group) for group in groups.values()]):
        work = [Job(chains, out, threads, tuple(plugins)) for chains in stage]
        _run_jobs(work, jobs, ui, outcome)
    return outcome


def _run_jobs(work: Sequence[Job], jobs: int, ui: Ui, outcome: Outcome) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        assert isinstance(manager, SyncManager)
        others = set(multiprocessing.active_children())  # the manager, which the listener still needs
        messages: Messages = manager.Queue()
        listener = threading.Thread(target=_listen, args=(messages, ui), daemon=True)
        listener.start()
        futures: dict[Future[Outcome], Job] = {pool.submit(run_job, job, messages): job for job in work}
        try:
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, (KwsError, OSError)):
                    raise error
                done = future.result() if error is None else Outcome()
                outcome.records |= done.records
                outcome.failures += done.failures
                if error is not None:
                    outcome.failures.append(_failure(futures[future].configs[-1], error))
        except BaseException:
            # Whatever a job had finished stays, and its checkpoint lets it go on.
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            messages.put(None)
            listener.join()


def run_job(job: Job, messages: Messages) -> Outcome:
    """One job in a process of its own: a picklable configuration in, rows out."""
    torch.set_num_threads(job.threads)
    load_plugins(job.plugins)
    return _in_turn(job.configs, job.out, QueueUi(messages, os.getpid()))


def _in_turn(configs: Sequence[RunConfig], out: Path, ui: Ui, *, progress: bool = False) -> Outcome:
    """One chain after the other; what is wrong with the data is wrong for all, anything else for one."""
    outcome = Outcome()
    for config in configs:
        try:
            records = run_chain(config, out, ui, progress=progress)
        except (KwsError, OSError):
            raise
        except Exception as error:
            outcome.failures.append(_failure(config, error))
        else:
            outcome.records |= {record.run_id: record for record in records}
    return outcome


@dataclass(frozen=True)
class QueueUi(Ui):
    """Sends what a run says to the process that shows it.

    Attributes:
        messages: Method names of ``Ui`` with their arguments.
        job: Tells the jobs apart.
    """

    messages: Messages
    job: int

    def opened(self, corpus_hash: str, about: Sequence[str]) -> None:
        """See ``Ui``."""
        self.messages.put(("opened", (corpus_hash, about)))

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        """See ``Ui``."""
        self.messages.put(("started", (label, epochs, done, self.job)))

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        """See ``Ui``."""
        self.messages.put(("epoch", (epoch, self.job)))

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        """See ``Ui``."""
        self.messages.put(("finished", (record, reused, self.job)))


def _listen(messages: Messages, ui: Ui) -> None:
    while (message := messages.get()) is not None:
        name, arguments = message
        getattr(ui, name)(*arguments)


def _failure(config: RunConfig, error: BaseException) -> str:
    return f"{config.label or check(config).label}: {type(error).__name__}: {' '.join(str(error).split())}"
