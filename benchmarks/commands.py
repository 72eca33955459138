"""Whole processes of the command line, from start to exit."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from bench.results.table import RESULTS_FILE
from benchmarks.epochs import BASE, STUDENT, plain_epochs
from benchmarks.rows import Row
from benchmarks.setting import Setting
from benchmarks.turns import alternate

BENCH = (sys.executable, "-m", "bench")
CHAIN = "dq+sp+ad+kd"
# The preset with the study's recipe, up to 400 epochs, on the recordings that the README's figures are of.
STUDY_RECIPE = Path(__file__).parents[1] / "results" / "arabic_start_kws_hw.csv"
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
    command += ("--device", setting.device)
    os.environ["KWS_BENCH_CACHE"] = str(cache)
    try:
        seconds = seconds_of((*command, "--epochs", str(epochs)) if epochs else command)
    finally:
        os.environ["KWS_BENCH_CACHE"] = str(setting.cache)
    table = pd.read_csv(out / RESULTS_FILE)
    trained = table[~table["chain"].fillna("").str.startswith("dq")]
    count = trained["epochs"].sum()
    note = f"from an empty cache; {len(trained)} trainings, {count:,.0f} epochs in all"
    rows = [
        Row("bench run --preset kws-hw --recipe default, s", [seconds], note=note),
        Row("peak resident memory of it, MB", [float(table["peak_memory_mb"].max())]),
    ]
    needed = plain_epochs_needed(trained, pd.read_csv(STUDY_RECIPE)) if not epochs else {}
    return rows + ([_against_plain(setting, seconds, needed)] if needed else [])


def plain_epochs_needed(ours: pd.DataFrame, study: pd.DataFrame) -> dict[str, int]:
    """The epochs of the study's recipe, by label, to the quality at which the preset stops.

    Where it never came so far, all its epochs count, for it takes at least those; that says something where
    ours ended no worse. Empty where the runs are not of the same clips and keyword.

    Args:
        ours: The trained rows of the preset with the default recipe.
        study: Rows of the same preset with the study's recipe.
    """
    if any(set(ours[name]) != set(study[name]) for name in ("corpus_hash", "keyword")):
        return {}
    needed = {}
    theirs = {str(row["label"]): row for row in study.to_dict("records")}
    for row in ours.to_dict("records"):
        label, other = str(row["label"]), theirs[str(row["label"])]
        if pd.notna(other["epochs_to_target"]):
            needed[label] = int(other["epochs_to_target"])
        elif row["validation_au_fa_fr"] <= other["validation_au_fa_fr"]:
            needed[label] = int(other["epochs"])
    return needed


def _against_plain(setting: Setting, seconds: float, needed: Mapping[str, int]) -> Row:
    """What these epochs would take the plain way, by laps timed now."""
    laps = alternate({"plain": partial(plain_epochs, replace(setting, size=replace(setting.size, rounds=2)))})
    plain = laps["plain"].seconds
    of_base, of_student = (statistics.median(plain[label][1:]) for label in (BASE, STUDENT))
    total = sum(epochs * (of_base if label == BASE else of_student) for label, epochs in needed.items())
    shown = ", ".join(f"{label} {epochs}" for label, epochs in needed.items())
    note = f"plain, at least: {shown} epochs at {of_base:.1f} (B) and {of_student:.1f} s; {STUDY_RECIPE.name}"
    what = "the same against the plain way's epochs to the same quality, s"
    return Row(what, [seconds], [total], note=note)
