"""Several chains at once, in processes of their own; one that fails does not stop the rest."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from bench.config import RunConfig
from bench.plugins import load_plugins
from bench.processes import Line, begin_work, listen, tell
from bench.results.records import RunRecord
from bench.running.pipeline import base_config, check, run_chain
from bench.running.stages import with_base
from bench.running.ui import Ui
from bench.training.state import Epoch
from models.errors import KwsError


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
        plugins: Files to load first.
    """

    configs: tuple[RunConfig, ...]
    out: Path
    plugins: tuple[Path, ...] = ()


def run_all(
    configs: Sequence[RunConfig], out: Path, ui: Ui, *, jobs: int = 1, plugins: Sequence[Path] = ()
) -> Outcome:
    """Runs chains, first all bases and then what needs them.

    Args:
        configs: Each has been checked.
        out: As for ``run_chain``.
        ui: Is told how it goes; with several jobs their messages come interleaved.
        jobs: Processes, each with one thread.
        plugins: Files that every process loads.

    Raises:
        KwsError: Wrong data or a wrong keyword, which would fail each chain alike.
        OSError: So would a place that cannot be written.
    """
    configs = _with_bases(configs)
    if jobs == 1:
        return _in_turn(configs, out, ui, progress=True)
    outcome = Outcome()
    shared = [replace(config, chain="", label="") for config in configs]
    trained = {(each.chain, each.model): check(each).trained.text for each in distinct_chains(configs)}
    groups: dict[tuple[RunConfig, str], list[RunConfig]] = {}
    for config, rest in zip(configs, shared, strict=True):
        groups.setdefault((rest, trained[config.chain, config.model]), []).append(config)
    for stage in ([[base] for base in dict.fromkeys(map(base_config, shared))], groups.values()):
        work = (Job(tuple(chains), out, tuple(plugins)) for chains in stage)
        _run_jobs(work, jobs, ui, outcome)
    return outcome


def _with_bases(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Configurations that say which weights their bases' files hold; each file is read once."""
    distinct = {(each.base, each.model, each.task): each for each in configs}
    known = {key: with_base(each).base_hash for key, each in distinct.items()}
    return [replace(each, base_hash=known[each.base, each.model, each.task]) for each in configs]


def distinct_chains(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """A configuration for each chain and model, however many seeds and keywords there are."""
    return list({(config.chain, config.model): config for config in configs}.values())


def _run_jobs(work: Iterable[Job], jobs: int, ui: Ui, outcome: Outcome) -> None:
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    end, workers_end = context.Pipe(duplex=False)
    listener = threading.Thread(target=listen, args=(end, ui), daemon=True)
    listener.start()
    line = Line(workers_end, context.Lock())
    pool = ProcessPoolExecutor(jobs, context, initializer=begin_work, initargs=(line,))
    try:
        _collect(pool, iter(work), jobs, outcome)
    except BaseException:
        # Whatever a job had finished stays, and its checkpoint lets it go on.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        workers_end.close()  # the last one that was open
        listener.join()


def _collect(pool: ProcessPoolExecutor, work: Iterator[Job], jobs: int, outcome: Outcome) -> None:
    """Keeps all workers busy, with no more jobs under way than it takes, until there is no work left."""
    pending: dict[Future[Outcome], Job] = {}
    while True:
        for job in islice(work, jobs + 1 - len(pending)):
            pending[_submitted(pool, job)] = job
        if not pending:
            return
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            job, error = pending.pop(future), future.exception()
            if isinstance(error, (KwsError, OSError)):
                raise error
            done = future.result() if error is None else Outcome()
            outcome.records |= done.records
            outcome.failures += done.failures
            if error is not None:
                outcome.failures.append(_failure(job.configs[-1], error))


def _submitted(pool: ProcessPoolExecutor, job: Job) -> Future[Outcome]:
    try:
        return pool.submit(run_job, job)
    except BrokenProcessPool as error:  # one of its processes was killed: what is left fails alike
        failed: Future[Outcome] = Future()
        failed.set_exception(error)
        return failed


def run_job(job: Job) -> Outcome:
    """One job in a process of its own: a picklable configuration in, rows out."""
    load_plugins(job.plugins)
    return _in_turn(job.configs, job.out, ToldToParent(os.getpid()))


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
class ToldToParent(Ui):
    """Sends what a run says to the process that shows it.

    Attributes:
        job: Tells the jobs apart.
    """

    job: int

    def opened(self, corpus_hash: str, about: Sequence[str]) -> None:
        """See ``Ui``."""
        tell("opened", corpus_hash, about)

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        """See ``Ui``."""
        tell("started", label, epochs, done, self.job)

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        """See ``Ui``."""
        tell("epoch", epoch, self.job)

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        """See ``Ui``."""
        tell("finished", record, reused, self.job)


def _failure(config: RunConfig, error: BaseException) -> str:
    return f"{config.label or check(config).label}: {type(error).__name__}: {' '.join(str(error).split())}"
