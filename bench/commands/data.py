"""The command ``data``: looks at data before training on it."""

from __future__ import annotations

import click

from bench.plugins import plugin_option

split_option = click.option(
    "--split",
    type=click.Choice(["speaker", "random"]),
    default="speaker",
    show_default=True,
    help="How bench run would split it (see there).",
)


@click.group()
def data() -> None:
    """Look at data before training on it."""


@data.command("info")
@plugin_option()
@click.argument("path")
@click.option(
    "--keyword", default="sheila", show_default=True, help="Spoken by the synthetic corpus; else ignored."
)
@split_option
def data_info(path: str, keyword: str, split: str) -> None:
    """Show what a corpus holds. PATH: synthetic, speech-commands, speech-commands-v0.02 or a folder."""
    from rich.console import Console

    from bench.corpora import open_corpus
    from bench.report import corpus_tables

    console = Console()
    spoken = keyword if path == "synthetic" else None
    for table in corpus_tables(open_corpus(path, spoken, split=split)):
        console.print(table)
