"""The command ``ablate``: what each compressor of a chain contributes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from bench.commands.options import not_blank, shared_config, training_options


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
    plugin: tuple[Path, ...],
    model: str | None,
    data: str,
    keywords: tuple[str, ...],
    split: str,
    recipe: str | None,
    epochs: int | None,
    versions: int | None,
    seed: int,
    repeats: int,
    fixed_teacher: bool,
    jobs: int,
    out: Path,
) -> None:
    """Show what each compressor of a chain contributes to size, MACs and quality.

    The chain is run whole, without each of its compressors, and as the base alone; what bench run has made
    in OUT is used, the rest is trained. Says of every order of the compressors which run it is, or that it
    cannot work. Writes ablation-CHAIN-KEYWORD.csv to OUT, and a figure of that name to OUT/figures.
    """
    from bench.config import Repeats
    from bench.terminal.console import ablate_and_show

    shared = shared_config(
        chain=chain,
        model=model or "crnn",
        data=data,
        split=split,
        recipe=recipe or "default",
        epochs=epochs,
        versions=versions,
        seed=seed,
    )
    configs = [replace(shared, keyword=keyword) for keyword in dict.fromkeys(keywords)]
    often = Repeats(repeats, fixed_teacher)
    status = ablate_and_show(configs, out, repeats=often, jobs=jobs, plugins=plugin)
    raise click.exceptions.Exit(status)
