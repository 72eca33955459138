"""The command ``run``: trains, measures and draws."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from bench.plugins import plugin_option


@click.command()
@plugin_option(expose=True)
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
@click.option("--model", help="The base to compress (see bench list).  [default: crnn]")
@click.option(
    "--data",
    default="synthetic",
    show_default=True,
    help="A folder of WORD/CLIP.wav or .flac, synthetic, speech-commands or speech-commands-v0.02.",
)
@click.option("--keyword", default="sheila", show_default=True, help="The word to spot.")
@click.option(
    "--split",
    type=click.Choice(["speaker", "random"]),
    default="speaker",
    show_default=True,
    help="No speaker in two splits; or 80/20 over clips, the fifth both choosing the epoch and being "
    "reported, as in the reference study.",
)
@click.option("--recipe", help="How to train (see bench list).  [default: default, or the preset's]")
@click.option(
    "--epochs", type=click.IntRange(1), help="Epochs of each training at most.  [default: the recipe's]"
)
@click.option(
    "--versions",
    type=click.IntRange(0),
    help="Augmented versions of each clip made ahead; 0: augment in every step.  [default: the recipe's]",
)
@click.option(
    "--target-metric",
    type=click.FloatRange(0),
    metavar="X",
    help="Stop training a student once its au_fa_fr on validation is at most X.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of initialisation, order and augmentation."
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Chains to run at once, a process each.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder for results.csv, figures/ and runs/.",
)
def run(
    plugin: tuple[Path, ...],
    chains: tuple[str, ...],
    preset: str | None,
    model: str | None,
    data: str,
    keyword: str,
    split: str,
    recipe: str | None,
    epochs: int | None,
    versions: int | None,
    target_metric: float | None,
    seed: int,
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
        keyword=keyword,
        recipe=how if versions is None else replace(how, versions=versions),
        epochs=epochs or asked.epochs,
        target_metric=asked.target_metric if target_metric is None else target_metric,
        seed=seed,
        split=split,
    )
    rows = asked.rows + (given if preset else ())
    configs = [replace(shared, chain=row.chain, label=row.label) for row in rows]
    sys.exit(run_and_show(configs, out, jobs=jobs, plugins=plugin))
