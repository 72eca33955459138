"""Options that commands which train have in common, and the configurations that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands.numbers import Whole
from bench.plugins import plugin_option
from models.errors import ChainError

if TYPE_CHECKING:
    from bench.config import RunConfig

TRAINING = (
    plugin_option(expose=True),
    click.option("--model", help="The base to compress (see bench list).  [default: crnn]"),
    click.option(
        "--data",
        default="synthetic",
        show_default=True,
        help="A folder of WORD/CLIP.wav (or .flac, .opus, .mp3, ...), synthetic, speech-commands or "
        "speech-commands-v0.02.",
    ),
    click.option(
        "--keyword",
        "keywords",
        multiple=True,
        default=("sheila",),
        metavar="WORD",
        help="The word to spot.  Repeatable.  [default: sheila]",
    ),
    click.option(
        "--split",
        type=click.Choice(["speaker", "random"]),
        default="speaker",
        show_default=True,
        help="speaker: none in two splits. random: over clips, as in the reference study; the same fifth of "
        "them chooses the epoch and is reported.",
    ),
    click.option("--recipe", help="How to train (see bench list).  [default: default, or the preset's]"),
    click.option("--epochs", type=Whole(1), help="Epochs of each training at most.  [default: the recipe's]"),
    click.option(
        "--versions",
        type=Whole(0, 1000),
        help="Augmented versions of each clip made ahead; 0: augment in every step.  [default: the recipe's]",
    ),
    click.option(
        "--seed", type=Whole(), default=0, show_default=True, help="Of weights, order and augmentation."
    ),
    click.option(
        "--repeats",
        type=Whole(1, 10_000),
        default=1,
        show_default=True,
        help="Train so often, with the seeds SEED, SEED + 1 and so on, bases and students alike.",
    ),
    click.option(
        "--fixed-teacher",
        is_flag=True,
        help="One base, of SEED, for all repeats: only the students vary.",
    ),
    click.option(
        "--jobs",
        type=Whole(1),
        default=1,
        show_default=True,
        help="Trainings at once, each in a process of its own.",
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("out"),
        show_default=True,
        help="Folder for results.csv, summary.csv, figures/ and runs/.",
    ),
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that gives a command the options in ``TRAINING``."""
    for option in reversed(TRAINING):
        command = option(command)
    return command


def not_blank(_context: click.Context, _option: click.Parameter, given: Any) -> Any:
    """Refuses an empty chain, which is more likely a variable that is not set than the base."""
    for chain in (given,) if isinstance(given, str) else given:
        if not chain.strip():
            raise ChainError(
                f"--chain {chain!r} is empty; write base for the base alone, or a chain such as kd"
            )
    return given


def shared_config(
    *,
    chain: str,
    model: str,
    data: str,
    split: str,
    recipe: str,
    epochs: int | None,
    versions: int | None,
    seed: int,
) -> RunConfig:
    """What the options say of all runs alike; keywords and repeats come later.

    Raises:
        KwsError: There is no such recipe.
    """
    from bench.config import RunConfig, recipe_named

    how = recipe_named(recipe)
    how = how if versions is None else replace(how, versions=versions)
    return RunConfig(chain, model=model, data=data, recipe=how, epochs=epochs, seed=seed, split=split)
