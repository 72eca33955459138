"""The command ``ablate``: what each compressor of a chain contributes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.options import not_blank, training_options

if TYPE_CHECKING:
    from bench.request import Request


@click.command()
@click.option(
    "--chain",
    metavar="CHAIN",
    default="dq+sp+ad+kd",
    show_default=True,
    callback=not_blank,
    help="The chain to take apart.",
)
@training_options
def ablate(
    chain: str,
    *,
    asked: Request,
    plugin: tuple[Path, ...],
    repeats: int,
    fixed_teacher: bool,
    jobs: int,
    out: Path,
) -> None:
    """Show what each compressor of a chain contributes to size, MACs and quality.

    The chain is run whole, without each of its compressors, and as the base alone; what bench run has made
    in OUT is used, the rest is trained. Says of every order of the compressors which run it is, or that it
    cannot work. Writes ablation-CHAIN-TASK.csv to OUT, and a figure of that name to OUT/figures.
    """
    from bench.config import Repeats
    from bench.terminal.console import ablate_and_show

    configs = asked.configs([(chain, "")])
    often = Repeats(repeats, fixed_teacher)
    status = ablate_and_show(configs, out, repeats=often, jobs=jobs, plugins=plugin)
    raise click.exceptions.Exit(status)
