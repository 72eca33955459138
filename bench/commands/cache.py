"""The command ``cache``: shows the cache and makes room."""

from __future__ import annotations

import click


@click.group()
def cache() -> None:
    """See what corpora and features take on disk, and make room."""


@cache.command("info")
def cache_info() -> None:
    """Show where the cache lies, and how much each part of it takes."""
    from bench.cache import KINDS, usage
    from bench.data.corpora.base import cache_dir

    click.echo(cache_dir())
    for each in usage():
        size = f"{each.entries:>5} entries {each.size_mb:>10,.1f} MB"
        click.echo(f"  {each.kind:<10}{size}, made by {KINDS[each.kind]}")


@cache.command("clear")
@click.argument("kinds", nargs=-1, type=click.Choice(["corpora", "features", "downloads"]))
def cache_clear(kinds: tuple[str, ...]) -> None:
    """Empty the cache, or only KINDS of it. What is needed again is made again; results stay."""
    from bench.cache import KINDS, clear

    for kind in kinds or KINDS:
        click.echo(f"{kind}: {clear(kind):,.1f} MB freed")
