"""The command ``figures``: draws from tables alone."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("table", metavar="RESULTS.csv", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for PNG and SVG.  [default: figures/, or figures/NAME/ for a NAME.csv, beside it]",
)
@click.option("--kind", "kinds", multiple=True, metavar="NAME", help="Only this figure.  Repeatable.")
def figures(table: Path, out: Path | None, kinds: tuple[str, ...]) -> None:
    """Draw every figure from a table; nothing is trained.

    All but 'det' and 'confusion' need the table alone; those read what the runs in runs/ beside it kept of
    their clips. A table of several corpora or tasks gets a folder for each.
    """
    from bench.figures.plots import draw_figures, kinds_of
    from bench.results.table import RESULTS_FILE, load_results

    beside = table.parent / "figures"
    out = out or (beside if table.name == RESULTS_FILE else beside / table.stem)
    rows = load_results(table)
    drawn = draw_figures(rows, out, kinds or kinds_of(rows), table.parent / "runs")
    for path in drawn.written:
        click.echo(path)
    for line in drawn.left_out:
        click.echo(f"left out: {line}", err=True)
