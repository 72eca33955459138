"""``bench latency``: a run's times in all runtimes, as a table and as a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.files import write_text_atomically
from bench.results.open import open_run
from bench.ship.latency import FLOAT, UNPACKED, Latency, measure_run

LATENCY_FILE = "latency.csv"


def show_latency(path: Path, *, rounds: int, out: Path | None, say: Callable[[str], None]) -> None:
    """Measures a run, prints the table and what it says about int8, and writes the CSV.

    Args:
        path: Run folder, or a file in it.
        rounds: Bursts of each runtime.
        out: CSV file; None for ``latency.csv`` in the run folder.
        say: Gets the lines below the table.

    Raises:
        KwsError: There is no complete run, or its model cannot be streamed.
    """
    run, _ = open_run(path)
    rows = measure_run(run, rounds=rounds)
    target = out or run.path / LATENCY_FILE
    write_text_atomically(target, as_csv(rows, rounds))
    title = f"{run.run_id}: a clip of {run.task().clip_s:g} s, a step of a stream"
    Console().print(latency_table(rows, title))
    say(f"medians of {rounds} rounds in turn, one thread, on {processor()}")
    for line in [*findings(rows), str(target)]:
        say(line)


def as_csv(rows: Sequence[Latency], rounds: int) -> str:
    """The rows, and where and how they were measured."""
    cpu = processor()
    return pd.DataFrame(
        [asdict(row) | {"threads": 1, "rounds": rounds, "processor": cpu} for row in rows]
    ).to_csv(index=False)


def latency_table(rows: Sequence[Latency], title: str) -> Table:
    """A line for each runtime; times in microseconds."""
    table = Table(title=title, box=SIMPLE_HEAD)
    for heading in ("runtime", "weights"):
        table.add_column(heading, no_wrap=True)
    for heading in ("clip\nus", "to\ntorch", "step\nus", "to\ntorch"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("int8\nfaster?", no_wrap=True)
    for name, weights in dict.fromkeys((row.runtime, row.weights) for row in rows):
        pair = [row for row in rows if (row.runtime, row.weights) == (name, weights)]
        cells = [cell for row in pair for cell in (f"{row.latency_us:,.0f}", f"{row.ratio:.2f}x")]
        if any(row.reason for row in pair):
            cells = ["-"] * 4
        faster = ", ".join(row.faster_than_float for row in pair if row.faster_than_float)
        table.add_row(name, weights, *cells, faster)
    return table


def findings(rows: Sequence[Latency]) -> list[str]:
    """Where int8 is faster than float and where not, and what was not measured."""
    lines = []
    for form, what in (("clip", "a clip"), ("step", "a step")):
        slow = [row for row in rows if row.form == form and row.faster_than_float == "no"]
        fast = [row for row in rows if row.form == form and row.faster_than_float == "yes"]
        for found, says in ((fast, "is faster than float"), (slow, "is not faster than float")):
            if found:
                names = "; ".join(f"{row.runtime}, {row.weights}" for row in found)
                lines.append(f"int8 {says} for {what}: {names}")
    if any(row.runtime == "C" and not row.reason for row in rows):
        lines.append(f"C has no {FLOAT} form: it is held against ONNX Runtime's")
    if any(row.weights == UNPACKED for row in rows):
        lines.append(f"{UNPACKED}: stored in int8, made float when loaded, and then the float model")
    reasons = dict.fromkeys((row.runtime, row.weights, row.reason) for row in rows if row.reason)
    return [*lines, *(f"not measured: {name}, {weights}: {reason}" for name, weights, reason in reasons)]


def processor() -> str:
    """The processor, and whether it has the instructions (VNNI) that int8 sums need not to saturate."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "an unknown processor"
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    flags = found.get("flags", "").split()
    vnni = "with VNNI" if {"avx512_vnni", "avx_vnni"} & set(flags) else "without VNNI"
    return f"{found.get('model name', 'an unknown processor')} {vnni}"
