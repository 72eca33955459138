"""The command ``run``: trains, measures and draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.numbers import Number
from bench.commands.options import not_blank, training_options

if TYPE_CHECKING:
    from bench.request import Request


@click.command()
@click.option(
    "--chain",
    "chains",
    multiple=True,
    metavar="CHAIN",
    callback=not_blank,
    help="Compressors, the last to act first, with options, of which sizes are named as the model has them: "
    "dq+kd:hidden=12,kernel=13x5; 'base' is the base alone.  Repeatable.  [default: dq+sp+ad+kd]",
)
@click.option(
    "--preset",
    metavar="NAME|FILE",
    help="Chains to run together, by name or from a TOML file: kws-hw is the reference study.",
)
@click.option(
    "--target-metric",
    type=Number(0),
    metavar="X",
    help="Stop training a student once its headline on validation (au_fa_fr of a keyword, accuracy of words) "
    "is as good as X.",
)
@training_options
def run(
    chains: tuple[str, ...],
    preset: str | None,
    target_metric: float | None,
    *,
    asked: Request,
    plugin: tuple[Path, ...],
    repeats: int,
    fixed_teacher: bool,
    jobs: int,
    out: Path,
) -> None:
    """Train, measure and draw chains of compressors.

    Rows that are there already are not run again, and an interrupted run goes on from its last epoch.
    """
    from bench.config import Repeats
    from bench.presets import configs_of
    from bench.terminal.console import run_and_show

    configs = configs_of(asked, chains, preset, target_metric)
    often = Repeats(repeats, fixed_teacher)
    raise click.exceptions.Exit(run_and_show(configs, out, repeats=often, jobs=jobs, plugins=plugin))
