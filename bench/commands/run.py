"""The command ``run``: trains, measures and draws."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from bench.commands.options import repeated, training_options


@click.command()
@click.option(
    "--chain",
    "chains",
    multiple=True,
    metavar="CHAIN",
    help="Compressors, the last to act first, with options: dq+kd:hidden=12,kernel=13x5. Repeatable; "
    "'base' is the base alone.  [default: dq+sp+ad+kd]",
)
@click.option(
    "--preset",
    metavar="NAME|FILE",
    help="Chains to run together, from a TOML file: kws-hw is the reference study.",
)
@click.option(
    "--target-metric",
    type=click.FloatRange(0),
    metavar="X",
    help="Stop training a student once its au_fa_fr on validation is at most X.",
)
@training_options
def run(
    chains: tuple[str, ...],
    preset: str | None,
    target_metric: float | None,
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
    """Train, measure and draw chains of compressors.

    Rows that are there already are not run again, and an interrupted run goes on from its last epoch.
    """
    from bench.config import RunConfig, recipe_named
    from bench.console import run_and_show
    from bench.presets import Preset, Row, load_preset

    given = tuple(Row(chain) for chain in chains)
    asked = load_preset(preset) if preset else Preset(given or (Row("dq+sp+ad+kd"),))
    how = recipe_named(recipe or asked.recipe)
    shared = RunConfig(
        chain="",
        model=model or asked.model,
        data=data,
        recipe=how if versions is None else replace(how, versions=versions),
        epochs=epochs or asked.epochs,
        target_metric=asked.target_metric if target_metric is None else target_metric,
        seed=seed,
        split=split,
    )
    rows = asked.rows + (given if preset else ())
    configs = [
        replace(each, chain=row.chain, label=row.label)
        for each in repeated(shared, keywords, repeats, fixed_teacher)
        for row in rows
    ]
    sys.exit(run_and_show(configs, out, jobs=jobs, plugins=plugin))
