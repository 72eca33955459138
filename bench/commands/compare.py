"""The command ``compare``: holds tables against each other."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument(
    "tables",
    nargs=-1,
    required=True,
    metavar="A.csv [B.csv ...]",
    type=click.Path(dir_okay=False, path_type=Path),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "markdown", "json"]),
    default="table",
    show_default=True,
    help="csv and json hold every measure.",
)
@click.option("--measure", "measures", multiple=True, metavar="NAME", help="Show this one.  Repeatable.")
@click.option(
    "--fail-if",
    "limits",
    multiple=True,
    metavar="CHANGE",
    help='Exit with 1 on a change such as "au_fa_fr>+10%" or "size_kb>+0".  Repeatable.',
)
@click.option(
    "--test",
    "labels",
    multiple=True,
    metavar="LABEL",
    help="Test labels of ONE table against each other; all: those of finished runs.  Repeatable.",
)
@click.option("--keyword", metavar="WORD", help="For --test: on this one.  [default: the mean over all]")
def compare(
    tables: tuple[Path, ...],
    form: str,
    measures: tuple[str, ...],
    limits: tuple[str, ...],
    labels: tuple[str, ...],
    keyword: str | None,
) -> None:
    """Hold tables of results against the first one, label by label.

    Quality is only compared on the same corpus, task and split; cost always. With the published table
    (results/kws_hw_published.csv) the result is a ledger of MACs, parameters and sizes.

    With --test, labels of one table are tested pair by pair: the difference on the same test clips, its
    interval and p-value from a paired bootstrap by speaker, over keywords and seeds where there are several.
    """
    if labels:
        _test(tables, form, measures, limits, labels, keyword)
        return
    from bench.comparing.limits import exceeded, parse_limit
    from bench.comparing.report import as_csv, as_json, as_markdown, as_rich, sheet
    from bench.comparing.tables import compare_all
    from bench.texts import plain_console

    if len(tables) < 2:
        raise click.UsageError("give two tables or more: bench compare A.csv B.csv, or one with --test all")
    bounds = [parse_limit(text) for text in limits]
    comparisons = compare_all(tables)
    sheets = [sheet(each, measures) for each in comparisons]
    if form == "table":
        plain_console().print(as_rich(sheets))
    else:
        texts = {"csv": as_csv, "json": as_json}
        click.echo(texts[form](comparisons) if form in texts else as_markdown(sheets), nl=False)
    broken = [line for bound in bounds for each in comparisons for line in exceeded(bound, each)]
    for line in broken:
        click.echo(f"bench: {line}", err=True)
    if broken:
        raise click.exceptions.Exit(1)


def _test(
    tables: tuple[Path, ...],
    form: str,
    measures: tuple[str, ...],
    limits: tuple[str, ...],
    labels: tuple[str, ...],
    keyword: str | None,
) -> None:
    from bench.comparing.paired import compare_labels, pairs_as_json, sheet_of_pairs
    from bench.comparing.report import as_markdown, as_rich
    from bench.texts import plain_console

    if len(tables) != 1 or len(measures) > 1 or limits:
        raise click.UsageError("--test takes one table, one --measure and no --fail-if")
    pairs = compare_labels(tables[0], labels, measures[0] if measures else "", keyword)
    sheets = [sheet_of_pairs(tables[0].name, pairs)]
    if form == "table":
        plain_console().print(as_rich(sheets))
    else:
        texts = {"csv": lambda: pairs.to_csv(index=False), "json": lambda: pairs_as_json(pairs)}
        click.echo(texts[form]() if form in texts else as_markdown(sheets), nl=False)
