"""The command ``run``: trains, measures and draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from bench.commands.numbers import Number
from bench.commands.options import not_blank, shared_config, training_options


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
    from bench.config import Repeats
    from bench.presets import Preset, Row, load_preset
    from bench.terminal.console import run_and_show

    given = tuple(map(Row, chains))
    asked = load_preset(preset) if preset else Preset(given or (Row("dq+sp+ad+kd"),))
    shared = shared_config(
        chain="",
        model=model or asked.model,
        data=data,
        split=split,
        recipe=recipe or asked.recipe,
        epochs=epochs or asked.epochs,
        versions=versions,
        seed=seed,
    )
    target = asked.target_metric if target_metric is None else target_metric
    rows = asked.rows + (given if preset else ())
    words = [replace(shared, target_metric=target, keyword=keyword) for keyword in dict.fromkeys(keywords)]
    configs = [replace(word, chain=row.chain, label=row.label) for word in words for row in rows]
    often = Repeats(repeats, fixed_teacher)
    raise click.exceptions.Exit(run_and_show(configs, out, repeats=often, jobs=jobs, plugins=plugin))
