"""The command ``list``: shows what there is."""

from __future__ import annotations

import click

from bench.plugins import plugin_option


@click.command("list")
@plugin_option()
@click.argument(
    "section",
    required=False,
    type=click.Choice(["compressors", "models", "tasks", "measures", "recipes", "presets", "data", "speech"]),
)
def list_(section: str | None) -> None:
    """Show compressors with their options, models, tasks, measures, recipes, presets, data and speech."""
    from bench.terminal.catalogue import catalogue

    for title, lines in catalogue().items():
        if section in (None, title):
            click.echo("\n".join([title, *lines]))
