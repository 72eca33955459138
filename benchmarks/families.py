"""What every integer run of a folder takes on a Cortex-M4: ``python -m benchmarks.families OUT TABLE.csv``.

Nothing is timed: bytes and instructions are exact. Clips are noise that is always the same; recordings give
the same counts but for a few numbers that are limited or not.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bench.files import write_text_atomically
from bench.results.runs import load_integer
from bench.ship.c_plan import Plan
from bench.ship.mcu import measure
from bench.ship.mcu_build import CPUS
from models.integer.file import to_bytes
from models.integer.kws import KWS_FILE
from models.integer.model import IntegerModel

CPU = "cortex-m4"


def measured(model: IntegerModel) -> dict[str, float]:
    """One model's row: bytes of its file, of flash, of memory, and instructions for a second of audio."""
    waves = np.random.default_rng(0).normal(0, 2000, (2, 16_000)).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        report = measure(model, CPUS[CPU], waves, Path(folder))
    plan = Plan(model)
    part = report.model
    return {
        "kws_bytes": len(to_bytes(model)),
        "flash_bytes": sum(part.flash.values()) + report.shared_bytes,
        "state_bytes": part.state_bytes,
        "stack_bytes": part.stack_bytes,
        "arena_bytes": plan.arena_bytes,
        "least_arena_bytes": plan.least_arena_bytes,
        "step_ms": report.step_ms,
        "instructions_per_s": part.step_instructions * 1000 / report.step_ms,
    }


def rows(out: Path) -> Iterator[dict[str, object]]:
    """A row for each integer run of a folder's table, in the order of the table."""
    table = pd.read_csv(out / "results.csv")
    for run in table.itertuples():
        file = out / "runs" / str(run.run_id) / KWS_FILE
        if file.exists():
            about = {"model": run.model, "label": run.label, "run_id": run.run_id}
            yield about | measured(load_integer(file).integer)
            print(run.model, run.label, flush=True)


def main(out: Path, target: Path) -> None:
    """Writes the table."""
    write_text_atomically(target, pd.DataFrame(rows(out)).to_csv(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
