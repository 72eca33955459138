"""``bench mcu``: a run's model on a microcontroller, and the table of what it takes there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.clips import corpus_of
from bench.data.corpora.base import Corpus, Int16Array
from bench.results.runs import RunFolder, load_integer
from bench.ship.export import find_artifact, of_run
from bench.ship.extras import extra
from bench.ship.mcu import McuReport, measure
from bench.ship.mcu_build import CPUS, OPTIMIZATION, compiler_version
from models.errors import ResultsError
from models.task import LEFT_OUT, Task


@dataclass(frozen=True)
class McuConfig:
    """What to measure on.

    Attributes:
        cpu: A key of ``CPUS``.
        clock_mhz: Of the processor.
        cycles_per_instruction: None for what is assumed of that processor.
        clips: Clips of validation to compare.
    """

    cpu: str = "cortex-m4"
    clock_mhz: float = 64
    cycles_per_instruction: float | None = None
    clips: int = 8


def run_mcu(
    path: Path, data: str | None, config: McuConfig, out: Path | None, say: Callable[[str], None]
) -> McuReport:
    """Compiles a run's model, runs clips of its validation split, and prints what it takes.

    Args:
        path: Run folder, or a file in it.
        data: Where the run's corpus lies now; None for where it lay.
        config: What to measure on.
        out: Folder to keep sources and image in; None to drop them.
        say: Gets the table, line by line.

    Raises:
        KwsError: The run cannot be exported, its corpus cannot be read, or the extra ``mcu`` is missing.
    """
    for module in ("ziglang", "unicorn", "elftools"):
        extra(module, "mcu")
    artifact = find_artifact(path).absolute()
    run = RunFolder(artifact.parent)
    if not run.config_file.exists():
        raise ResultsError(
            f"{artifact} lies in no run folder, so there are no clips to run; give a run folder"
        )
    corpus, task = corpus_of(run, data)
    clips = some_clips(corpus, task, config.clips)
    with tempfile.TemporaryDirectory() as scratch:
        folder = out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = measure(of_run(load_integer(artifact).integer, run), CPUS[config.cpu], clips, folder)
    say(f"{run.run_id} on {config.cpu} ({report.cpu.note})")
    for line in table(report, config):
        say(line)
    if out:
        say(f"sources and image: {out}")
    return report


def some_clips(corpus: Corpus, task: Task, count: int) -> Int16Array:
    """Clips of validation, shape (N, L): one with a word to find, one without, and so on."""
    rows, labels = corpus.indices("validation"), corpus.labels(task)
    rows = rows[labels[rows] != LEFT_OUT]
    spoken = np.isin(labels[rows], task.to_find)
    apart = (rows[spoken], rows[~spoken])
    wanted = [kind[at] for at in range(count) for kind in apart if at < len(kind)]
    return np.ascontiguousarray(corpus.waveforms[np.sort(wanted[:count])])


def table(report: McuReport, config: McuConfig) -> list[str]:
    """The report in lines of at most 80 columns."""
    cycles = config.cycles_per_instruction or report.cpu.cycles_per_instruction
    parts = (report.model, report.frontend)

    def line(name: str, *values: str) -> str:
        return f"{name:<44}" + "".join(f"{value:>11}" for value in values)

    def whole(name: str, values: list[int | None]) -> str:
        return line(name, *("" if value is None else f"{value:,}" for value in values))

    flash = [
        whole(f"  {kind}", [part.flash.get(kind) for part in parts])
        for kind in ("code", "weights", "scales", "tables")
    ]
    totals = [sum(part.flash.values()) for part in parts]
    times_ms = [part.step_instructions * cycles / config.clock_mhz / 1000 for part in parts]
    clips = "1 clip" if report.clips == 1 else f"{report.clips} clips"
    built = f"{compiler_version()}, {OPTIMIZATION['kws_model']} and {OPTIMIZATION['kws_frontend']}"
    return [
        line(f"{built}", "model", "front end"),
        "flash, bytes",
        *flash,
        whole("  all of these", [*totals]),
        f"  {report.shared_bytes:,} more for the compiler's helpers, {report.clip_bytes} for whole clips",
        whole("RAM: state, bytes", [part.state_bytes for part in parts]),
        whole("RAM: peak stack, bytes", [part.stack_bytes for part in parts]),
        whole(f"instructions a step of {report.step_ms:g} ms, at most", [p.step_instructions for p in parts]),
        line(f"estimated ms a step at {config.clock_mhz:g} MHz", *(f"{ms:.2f}" for ms in times_ms)),
        line("estimated share of real time", *(f"{ms / report.step_ms:.1%}" for ms in times_ms)),
        f"estimates take {cycles:g} cycles an instruction; the counts themselves are exact",
        f"{clips}, whole and as streams: all logits equal the integer model's",
        f"front end: within {report.frontend_error:.1e} of log_mel on one clip",
        *_verdict(report.step_ms, times_ms),
    ]


def _verdict(step_ms: float, times_ms: list[float]) -> list[str]:
    """Says so where audio comes faster than it is processed."""
    if sum(times_ms) <= step_ms:
        return []
    return ["too slow for a stream at this clock; floats in hardware, or a faster clock, help"]
