"""Whole processes of the command line, from start to exit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.records import RESULTS_FILE
from benchmarks.rows import Row
from benchmarks.setting import Setting

BENCH = (sys.executable, "-m", "bench")
CHAIN = "dq+sp+ad+kd"
IMPORTS = {"Python alone": "pass", "with torch imported": "import torch"}


def seconds_of(command: Sequence[str]) -> float:
    """Wall time of a process.

    Raises:
        RuntimeError: It failed; the message holds what it wrote.
    """
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed: {done.stderr.strip()}")
    return seconds


def bench_run(setting: Setting, out: Path) -> tuple[str, ...]:
    """The start of a ``bench run`` on the setting's folder."""
    return (*BENCH, "run", "--data", str(setting.folder), "--keyword", setting.keyword, "--out", str(out))


def measure_commands(setting: Setting) -> list[Row]:
    """``bench --help``, and ``bench run`` of a chain whose rows are there, in turn with bare Python."""
    again = (*bench_run(setting, setting.scratch / "again"), "--chain", CHAIN, "--epochs", "1")
    seconds_of(again)
    commands = {
        "help": (*BENCH, "--help"),
        "again": again,
        **{name: (sys.executable, "-c", code) for name, code in IMPORTS.items()},
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(setting.size.commands):
        for name, command in commands.items():
            times[name].append(seconds_of(command))
    return [
        Row("bench --help, s", times["help"]),
        Row(f"bench run --chain {CHAIN}, all rows there already, s", times["again"]),
        *(Row(f"for comparison: {name}, s", times[name]) for name in IMPORTS),
    ]


def measure_preset(setting: Setting) -> list[Row]:
    """``bench run --preset kws-hw`` with the default recipe, from an empty cache."""
    out, cache = setting.scratch / "preset", setting.scratch / "preset-cache"
    epochs = setting.size.preset_epochs
    command = (*bench_run(setting, out), "--preset", "kws-hw", "--recipe", "default")
    os.environ["KWS_BENCH_CACHE"] = str(cache)
    try:
        seconds = seconds_of((*command, "--epochs", str(epochs)) if epochs else command)
    finally:
        os.environ["KWS_BENCH_CACHE"] = str(setting.cache)
    table = pd.read_csv(out / RESULTS_FILE)
    trained = table.loc[~table["chain"].fillna("").str.startswith("dq"), "epochs"]
    note = f"from an empty cache; {len(trained)} trainings, {trained.sum():,.0f} epochs in all"
    return [
        Row("bench run --preset kws-hw --recipe default, s", [seconds], note=note),
        Row("peak resident memory of it, MB", [float(table["peak_memory_mb"].max())]),
    ]
