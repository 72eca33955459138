"""What ``import bench`` gives: from recordings to rows; from a run to a model that scores, streams and ships.

What the functions take is called as the command line's options are, and means the same.

Examples:
    >>> import bench
    >>> rows = bench.run("kd", keyword="happy", data="path/to/folder")  # doctest: +SKIP
    >>> spotter = bench.load("out/runs/" + rows["run_id"].iloc[-1])  # doctest: +SKIP
    >>> [(found.word, found.time_s) for found in spotter.stream("talk.wav")]  # doctest: +SKIP
    [('happy', 3.24)]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich.console import Console

from bench.commands.run import run as command
from bench.comparing.paired import compare_labels
from bench.comparing.tables import compare_all
from bench.config import Repeats
from bench.loaded import Found, Spotter, load
from bench.plugins import load_plugins
from bench.presets import configs_of
from bench.request import Request
from bench.results.table import RESULTS_FILE, load_results
from bench.terminal.catalogue import names
from bench.terminal.console import run_all_of
from models.errors import KwsError

__all__ = ["Found", "KwsError", "Spotter", "compare", "list_", "load", "run"]

Texts = str | Sequence[str]


def run(
    chain: Texts = (),
    *,
    preset: str | Path | None = None,
    target_metric: float | None = None,
    keyword: Texts = (),
    words: Texts | None = None,
    unknown: bool = False,
    silence: bool = False,
    task: str | None = None,
    clip_s: float | None = None,
    mels: int | None = None,
    hop_ms: float | None = None,
    window_ms: float | None = None,
    model: str | None = None,
    base: str | Path | None = None,
    data: str | Path = "synthetic",
    split: str = "speaker",
    recipe: str | None = None,
    epochs: int | None = None,
    versions: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    plugin: Sequence[str | Path] = (),
    repeats: int = 1,
    fixed_teacher: bool = False,
    jobs: int = 1,
    out: str | Path = "out",
    progress: bool = False,
) -> pd.DataFrame:
    """Trains chains and measures them, as ``bench run`` does, without its figures.

    What is in ``out`` already is not made again, and what was interrupted goes on.

    Args:
        chain: One chain, or several; neither this nor a preset: ``dq+sp+ad+kd``.
        preset: Chains to run together, by name or from a TOML file.
        target_metric: Stop a student once its headline on validation is as good as this.
        keyword: The word to spot, or several, a task each.
        words: Words to tell apart, in place of a keyword; in one text with commas between them.
        unknown: All other words are a class too.
        silence: Clips of no word are a class too.
        task: A registered task, in place of keyword and words.
        clip_s: Length of a clip in seconds.
        mels: Mel bands M.
        hop_ms: From one frame to the next.
        window_ms: What a frame hears.
        model: The registered base to compress.
        base: A file of its weights, in place of its training.
        data: A folder, a table ``clips.csv``, or a registered corpus.
        split: ``speaker``, or ``random`` as in the reference study.
        recipe: How to train.
        epochs: Of each training at most.
        versions: Augmented versions of each clip made ahead; 0: augment in every step.
        seed: Of weights, order and augmentation.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``.
        plugin: Files to load first.
        repeats: Train so often, with the seeds that follow.
        fixed_teacher: One base for all repeats.
        jobs: Trainings at once. Above 1 a script must be importable: ``if __name__ == "__main__":``.
        out: Gets ``results.csv`` and ``runs/``.
        progress: Show what ``bench run`` shows.

    Returns:
        A row for each model, in the order in which they were made, with the columns of ``results.csv``.

    Raises:
        KwsError: A chain, the model or the data is wrong; or a chain failed, and what was done stays.

    Examples:
        >>> run("dq+kd", keyword="happy", model="gru", epochs=0)
        Traceback (most recent call last):
        models.errors.KwsError: epochs: 0 is not in the range x>=1.
    """
    return _run(_as_options(locals()))


def _run(given: Mapping[str, Any]) -> pd.DataFrame:
    _refuse_what_the_command_refuses(given)
    if broken := load_plugins(given["plugin"]):
        raise KwsError(f"plugin {broken[0].name} cannot be imported: {broken[0].reason}")
    asked = Request(**{each.name: given[each.name] for each in fields(Request)})
    configs = configs_of(asked, given["chain"], given["preset"], given["target_metric"])
    console = Console(quiet=not given["progress"], highlight=False, markup=False, emoji=False)
    often = Repeats(given["repeats"], given["fixed_teacher"])
    out, jobs = Path(given["out"]), given["jobs"]
    outcome = run_all_of(configs, out, console, jobs=jobs, plugins=given["plugin"], repeats=often)
    if outcome.failures:
        raise KwsError("; ".join(outcome.failures))
    table = load_results(out / RESULTS_FILE).set_index("run_id", drop=False)
    return table.loc[[*outcome.records]].reset_index(drop=True)


def compare(
    *tables: str | Path, measure: Texts = (), test: Texts = (), keyword: str | None = None
) -> pd.DataFrame:
    """Holds tables of results against the first one, or labels of one table against each other.

    Args:
        tables: Files such as ``out/results.csv``; one, where labels are tested.
        measure: Only these.
        test: Two labels or more, or ``all``: they are tested pair by pair, on the same test clips.
        keyword: For a test: on this one; None: on the mean over all.

    Returns:
        A row a label and measure: before, after, the difference and a verdict. Of a test a row a pair: the
        difference b - a, its interval and its p-values, corrected for the number of pairs.

    Raises:
        KwsError: A file is no table of results, or there is no such label or measure.

    Examples:
        >>> ledger = compare("results/kws_hw_published.csv", "results/arabic_start.csv", measure="macs")
        >>> ledger.loc[ledger["label"] == "KD", ["before", "after"]].to_numpy().round(0).tolist()
        [[305167.0, 305719.0]]
    """
    paths, wanted, labels = [Path(table) for table in tables], _texts(measure), _texts(test)
    if labels:
        if len(paths) != 1 or len(wanted) > 1:
            raise KwsError("a test takes one table, and at most one measure")
        return compare_labels(paths[0], labels, wanted[0] if wanted else "", keyword)
    if len(paths) < 2:
        raise KwsError('give two tables or more, or one and test="all"')
    compared = compare_all(paths)
    changes = pd.concat([each.changes.assign(table=each.after.name) for each in compared], ignore_index=True)
    if missing := set(wanted) - set(changes["measure"]):
        raise KwsError(f"no measure {min(missing)!r}; there is: {', '.join(changes['measure'].unique())}")
    return changes[changes["measure"].isin(wanted)].reset_index(drop=True) if wanted else changes


def list_() -> dict[str, list[str]]:
    """What there is to choose from, by name; ``bench list`` says more about each.

    Examples:
        >>> "bc-resnet" in list_()["models"], list_()["presets"]
        (True, ['kws-hw'])
    """
    load_plugins()
    return names()


def _as_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a function was given, in the form that a command's options have."""
    found = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    words = None if given["words"] is None else ",".join(_texts(given["words"]))
    plugins = tuple(Path(path) for path in given["plugin"])
    texts = {name: _texts(given[name]) for name in ("chain", "keyword")}
    return found | texts | {"words": words, "plugin": plugins}


def _refuse_what_the_command_refuses(given: Mapping[str, Any]) -> None:
    """Holds values to the ranges and choices of the options of ``bench run``."""
    context = click.Context(command)
    for option in command.params:
        value = given.get(option.name or "")
        if value is None or option.multiple:
            continue
        try:
            option.type_cast_value(context, str(value) if isinstance(value, int | float) else value)
        except click.BadParameter as error:
            raise KwsError(f"{option.name}: {error.message}") from None


def _texts(given: Texts) -> tuple[str, ...]:
    """One text or several, as several."""
    return (given,) if isinstance(given, str) else tuple(given)
