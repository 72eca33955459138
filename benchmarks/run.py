"""Measures speed and memory side by side with the plain way: ``python -m benchmarks.run``."""

from __future__ import annotations

import importlib
import os
import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from bench.commands.numbers import Number, Whole
from models.errors import KwsError

# Each part's module and function, in the order in which they run.
PARTS = {
    "metrics": ("benchmarks.steps", "measure_metrics"),
    "step": ("benchmarks.steps", "measure_step"),
    "features": ("benchmarks.epochs", "measure_bank"),
    "ear": ("benchmarks.ear", "measure_ear"),
    "epochs": ("benchmarks.epochs", "measure_epochs"),
    "commands": ("benchmarks.commands", "measure_commands"),
    "preset": ("benchmarks.commands", "measure_preset"),
    "scale": ("benchmarks.scale", "measure_scale"),
}
TRIALS = ("quality", "choices")
LONG = ("preset", "scale")
MEASUREMENTS, QUALITY, README = "measurements.jsonl", "quality.jsonl", "README.md"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--data", help="A folder of mono 16 kHz audio, WORD/CLIP.  [default: the toy corpus]")
@click.option("--keyword", default="sheila", show_default=True, help="The word to spot.")
@click.option("--rounds", type=Whole(1), help="Laps that count, of each measure.  [default: 5]")
@click.option("--small", is_flag=True, help="Seconds instead of minutes, to see that it works.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="cpu",
    show_default=True,
    help="What both ways train on; the parts epochs and preset know others than cpu, and are all by default.",
)
@click.option("--scale", is_flag=True, help="Also the corpus of 105,829 clips: 13 GB of disk, minutes.")
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice([*PARTS, *TRIALS]),
    help="Only this one.  Repeatable.  [default: all but preset, scale, quality and choices]",
)
@click.option("--keywords", help="For the parts quality and choices: A,B,C.  [default: the keyword]")
@click.option(
    "--epochs",
    type=Whole(1),
    default=60,
    show_default=True,
    help="Of each training in the parts quality and choices.",
)
@click.option(
    "--target-metric",
    type=Number(0),
    default=5.5e-5,
    show_default=True,
    help="For the part quality: au_fa_fr on validation.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(__file__).parent,
    help=f"Folder for {README}, {MEASUREMENTS} and {QUALITY}.  [default: benchmarks]",
)
def main(
    data: str | None,
    keyword: str,
    rounds: int | None,
    small: bool,
    device: str,
    scale: bool,
    parts: tuple[str, ...],
    keywords: str | None,
    epochs: int,
    target_metric: float,
    out: Path,
) -> None:
    """Measure speed and memory, and write README.md.

    What was measured before stays in the page until it is measured again. The parts quality and choices go on
    where they were stopped.
    """
    from bench.device import device_named
    from benchmarks.setting import SMALL, Setting, Size, scratch_folder, toy_folder

    size = SMALL if small else Size()
    size = replace(size, rounds=rounds or size.rounds)
    try:
        device = device_named(device)
        chosen = _chosen(parts, scale, device)
        folder = Path(data) if data else toy_folder(keyword, small)
        names = tuple(keywords.split(",")) if keywords else (keyword,)
        for part in (part for part in TRIALS if part in chosen):
            _trials(part, Setting(folder, keyword, size, out), names, epochs, target_metric, out)
        with scratch_folder() as scratch:
            setting = Setting(folder, keyword, size, scratch, device)
            # What is wrong with the data or the keyword is said before anything is measured.
            setting.corpus()
            for part in chosen:
                if part in PARTS:
                    click.echo(f"{part} ...", err=True)
                    module, function = PARTS[part]
                    _record(part, getattr(importlib.import_module(module), function), setting, out)
    except KwsError as error:
        raise click.ClickException(str(error)) from None
    click.echo(out / README)


def _chosen(parts: tuple[str, ...], scale: bool, device: str) -> list[str]:
    """What to measure.

    Raises:
        KwsError: A part that is of the CPU alone.
    """
    from benchmarks.readme import ON_CARDS

    usual = [part for part in PARTS if part not in LONG] if device == "cpu" else ON_CARDS
    chosen = list(dict.fromkeys([*(parts or usual), *(["scale"] if scale else [])]))
    if device != "cpu" and (others := [part for part in chosen if part not in ON_CARDS]):
        raise KwsError(f"--device {device}: the part {others[0]} is of the CPU; give {' or '.join(ON_CARDS)}")
    return chosen


def _trials(
    part: str, setting: Any, keywords: tuple[str, ...], epochs: int, target: float, out: Path
) -> None:
    """Trains what is missing; what is done outlives this process, in the cache."""
    from bench.config import content_hash
    from bench.data.corpora.base import cache_dir
    from benchmarks.choices import measure_choices
    from benchmarks.journal import Journal
    from benchmarks.quality import Trials, quality_rows, run_trials

    state = cache_dir() / "benchmarks" / f"quality-{content_hash(str(out.resolve()))}"
    if part == "choices":
        _record(part, lambda given: measure_choices(given, keywords, epochs, state), setting, out)
        return
    journal, trials = Journal(out / QUALITY), Trials(keywords, epochs, target, state)
    run_trials(setting, trials, journal)
    seconds = _epoch_seconds(Journal(out / MEASUREMENTS))
    _record(part, lambda given: quality_rows(given.folder.name, trials, journal, seconds), setting, out)


def _epoch_seconds(journal: Any) -> dict[tuple[str, str], float]:
    """Median seconds of an epoch by side and model, from the latest line of the part ``epochs``."""
    from statistics import median

    from benchmarks.epochs import EPOCH_ROWS

    found: dict[tuple[str, str], float] = {}
    rows = [row for line in journal.lines() if line["part"] == "epochs" for row in line["rows"]]
    for row in rows:
        for model, what in EPOCH_ROWS.items():
            if row["what"] == what:
                found |= {(side, model): median(row[side]) for side in ("plain", "ours")}
    return found


def _record(part: str, measure: Callable[[Any], list[Any]], setting: Any, out: Path) -> None:
    """Measures a part, keeps its line, and writes the page anew."""
    from bench.files import write_text_atomically
    from benchmarks.journal import Journal
    from benchmarks.readme import render

    rows = [asdict(row) for row in measure(setting)]
    part = part if setting.device == "cpu" else f"{part} on {setting.device}"
    journal = Journal(out / MEASUREMENTS)
    journal.add({"part": part, "rows": rows, "command": command_line(), "about": about(setting)})
    latest = {line["part"]: line for line in journal.lines()}
    write_text_atomically(out / README, render(latest))


def command_line() -> str:
    """The command as it was given, with paths shortened to their last part and without ``--out``."""
    words = iter(sys.argv[1:])
    kept: list[str] = []
    for word in words:
        if word == "--out":
            next(words, None)
        elif not word.startswith("--out="):
            kept.append(Path(word).name if "/" in word else word)
    return shlex.join(["python", "-m", "benchmarks.run", *kept])


def about(setting: Any) -> dict[str, Any]:
    """The machine's kind and the data, without names of hosts or users."""
    import torch

    from benchmarks.setting import Size

    corpus = setting.corpus()
    card = torch.cuda.get_device_name(0) if setting.device == "cuda" else setting.device
    return ({} if setting.device == "cpu" else {"device": card}) | {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "data": setting.folder.name,
        "keyword": setting.keyword,
        "clips": len(corpus.clips),
        "train": len(corpus.indices("train")),
        "small": setting.size.scores < Size().scores,
    }


if __name__ == "__main__":
    main()
