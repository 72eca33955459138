"""The command ``data``: looks at data before training on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bench.commands.numbers import Whole
from bench.commands.options import task_options
from bench.plugins import plugin_option

if TYPE_CHECKING:
    from bench.data.corpora.base import Corpus
    from bench.request import TaskRequest

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
@click.argument("path", required=False)
@task_options
@split_option
@click.option(
    "--speech",
    multiple=True,
    metavar="PATH",
    help="Long audio: a folder of any depth, a table clips.csv (path, and where known speaker, split, text, "
    "word, start_s, end_s), or synthetic. Repeatable. Says where the keyword or words, if given, are named.",
)
def data_info(path: str | None, split: str, speech: tuple[str, ...], *, asked: TaskRequest) -> None:
    """Show what a corpus holds, or long audio.

    PATH: synthetic, speech-commands, speech-commands-v0.02, a folder, or a table of recordings (clips.csv).
    """
    if path is None and not speech:
        from models.errors import CorpusError

        raise CorpusError("nothing to look at; give PATH or --speech PATH")
    if path is not None:
        _show_corpus(_opened(path, asked, split))
    if speech:
        _show_speech(speech, asked)


def _show_corpus(corpus: Corpus) -> None:
    from bench.terminal.tables import corpus_tables
    from bench.texts import plain_console

    console = plain_console()
    for table in corpus_tables(corpus):
        console.print(table)
    for line in corpus.about():
        console.print(line, soft_wrap=True)


def _show_speech(sources: tuple[str, ...], asked: TaskRequest) -> None:
    from bench.data.speech import open_speech
    from bench.terminal.speech import speech_lines, speech_table
    from bench.texts import plain_console

    words = [word for task in asked.tasks() for word in task.needed] if asked.named else []
    console, speech = plain_console(), open_speech(sources, progress=True)
    console.print(speech_table(speech))
    for line in speech_lines(speech, words):
        console.print(line, soft_wrap=True)


def _opened(path: str, asked: TaskRequest, split: str) -> Corpus:
    """The corpus as a run would have it; words that nobody gave are only asked of what speaks them."""
    from bench.data.corpora import open_corpus

    return open_corpus(path, asked.tasks()[0], split=split, check=path == "synthetic" or asked.named)


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
    from bench.data.corpora.leaks import find_leaks
    from bench.terminal.tables import leaks_table
    from bench.texts import plain_console

    corpus = _opened(path, asked, split)
    leaks = find_leaks(corpus, progress=True)
    table, lines = leaks_table(leaks, f"{corpus.name}, split by {split}", pairs)
    console = plain_console()
    console.print(table)
    for line in lines:
        console.print(line, soft_wrap=True)
    raise click.exceptions.Exit(int(leaks.found))
