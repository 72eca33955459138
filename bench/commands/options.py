"""Options that commands which train have in common, and the configurations that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bench.commands.numbers import Number, Whole
from bench.plugins import plugin_option
from models.errors import ChainError

Command = Callable[..., Any]

# What is asked of a model; the fields of ``TaskRequest``.
TASK = (
    click.option(
        "--keyword",
        multiple=True,
        metavar="WORD",
        help="The word to spot.  Repeatable.  [default: sheila]",
    ),
    click.option("--words", metavar="A,B,...", help="Words to tell apart, in place of a keyword."),
    click.option("--unknown", is_flag=True, help="With --words: all other words are a class too."),
    click.option(
        "--silence", is_flag=True, help="With --words: clips of no word, from background noise, are too."
    ),
    click.option(
        "--task",
        metavar="NAME",
        help="speech-commands-12, speech-commands-35, or a plugin's.",
    ),
    click.option("--clip-s", type=Number(0.5, 4), help="Length of a clip in seconds.  [default: 1]"),
    click.option("--mels", type=Whole(8, 128), help="Mel bands.  [default: 40]"),
    click.option("--hop-ms", type=Number(5, 64), help="From one frame to the next.  [default: 10]"),
    click.option("--window-ms", type=Number(5, 64), help="What a frame hears.  [default: 25]"),
)
# What to train and how; the other fields of ``Request``.
TRAINING = (
    click.option("--model", help="The base to compress (see bench list).  [default: crnn]"),
    click.option(
        "--base",
        metavar="FILE",
        help="Your own weights of the base, .safetensors or a state_dict of torch: it is not trained. bench "
        "import FILE says what they fit.",
    ),
    click.option(
        "--data",
        default="synthetic",
        show_default=True,
        help="A folder of WORD/CLIP.wav (or .flac, .opus, .mp3, ...), a table clips.csv (path, word, and "
        "where known speaker, split, start_s, end_s), synthetic, speech-commands or speech-commands-v0.02.",
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
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default="cpu",
        show_default=True,
        help="Where features are made, models trained and scored in batches; auto: cuda, else mps, else cpu. "
        "Runs of another device are runs of their own.",
    ),
)
# How often, and where to; no part of what a run is.
RUNNING = (
    plugin_option(expose=True),
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


def task_options(command: Command) -> Command:
    """Decorator that gives a command the options in ``TASK``, as one ``asked: TaskRequest``."""

    @wraps(command)
    def call(**given: Any) -> Any:
        from bench.request import TaskRequest

        return command(asked=_taken(TaskRequest, given), **given)

    return _with(TASK, call)


def training_options(command: Command) -> Command:
    """Decorator that gives a command the options of a training as one ``asked: Request``, and ``RUNNING``."""

    @wraps(command)
    def call(**given: Any) -> Any:
        from bench.request import Request

        return command(asked=_taken(Request, given), **given)

    return _with((*TASK, *TRAINING, *RUNNING), call)


def _taken(kind: type[Any], given: dict[str, Any]) -> Any:
    """A request out of what was given, which is left with the rest."""
    return kind(**{entry.name: given.pop(entry.name) for entry in fields(kind)})


def _with(options: Iterable[Callable[..., Any]], command: Command) -> Command:
    for option in reversed(list(options)):
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
