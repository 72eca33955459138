"""The command ``data``: looks at data before training on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bench.commands.numbers import Whole
from bench.commands.options import task_options
from bench.plugins import plugin_option

if TYPE_CHECKING:
    from bench.request import TaskRequest
    from models.task import Task

split_option = click.option(
    "--split",
    type=click.Choice(["speaker", "random"]),
    default="speaker",
    show_default=True,
    help="As of bench run.",
)


@click.group()
def data() -> None:
    """Look at data before training on it."""


@data.command("info")
@plugin_option()
@click.argument("path")
@task_options
@split_option
def data_info(path: str, split: str, *, asked: TaskRequest) -> None:
    """Show what a corpus holds. PATH: synthetic, speech-commands, speech-commands-v0.02 or a folder."""
    from bench.data.corpora import open_corpus
    from bench.terminal.tables import corpus_tables
    from bench.texts import plain_console

    console = plain_console()
    for table in corpus_tables(open_corpus(path, _task(path, asked), split=split)):
        console.print(table)


def _task(path: str, asked: TaskRequest) -> Task | None:
    """What is asked of the data; a keyword that nobody gave only of what speaks it."""
    return asked.tasks()[0] if path == "synthetic" or asked.named else None


@data.command("leaks")
@plugin_option()
@click.argument("path")
@task_options
@split_option
@click.option(
    "--pairs", type=Whole(0), default=5, show_default=True, help="Show so many copies of each kind."
)
def data_leaks(path: str, split: str, pairs: int, *, asked: TaskRequest) -> None:
    """Look for what stands in two splits. PATH as in bench data info.

    Looks for speakers, for clips that are the same sample for sample, and for clips that are the same
    recording at another level, a little later or under light noise; counts clips without sound. The exit
    status is 1 where something stands in two splits, else 0.
    """
    from bench.data.corpora import open_corpus
    from bench.data.corpora.leaks import find_leaks
    from bench.terminal.tables import leaks_table
    from bench.texts import plain_console

    corpus = open_corpus(path, _task(path, asked), split=split)
    leaks = find_leaks(corpus, progress=True)
    table, lines = leaks_table(leaks, f"{corpus.name}, split by {split}", pairs)
    console = plain_console()
    console.print(table)
    for line in lines:
        console.print(line, soft_wrap=True)
    raise click.exceptions.Exit(int(leaks.found))
