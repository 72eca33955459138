"""The command line: parse, call, print. Everything heavy is imported where it is used."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bench.plugins import plugin_option
from bench.stream.command import stream

BAD_INPUT = 2
INTERRUPTED = 130
FILE = click.Path(dir_okay=False, path_type=Path)


class Commands(click.Group):
    """Turns what users can cause into one line and an exit status, instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nstopped; what is finished stays, and the same command goes on from there", err=True)
            sys.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            # Only now: whoever raised a KwsError has imported its module already.
            from models.errors import KwsError

            if not isinstance(error, (KwsError, OSError)):
                raise
            click.echo(f"bench: {error}", err=True)
            sys.exit(BAD_INPUT)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="kws-bench", prog_name="bench")
def main() -> None:
    """Compress a keyword spotter, and see what each step costs.

    A chain of compressors is trained over a base model, measured, and written as rows of a table and as
    figures. Begin with:  bench run --chain dq+sp+ad+kd
    """


@main.command()
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
    )
    rows = asked.rows + (given if preset else ())
    configs = [replace(shared, chain=row.chain, label=row.label) for row in rows]
    sys.exit(run_and_show(configs, out, jobs=jobs, plugins=plugin))


@main.command("list")
@plugin_option()
@click.argument(
    "section", required=False, type=click.Choice(["compressors", "models", "recipes", "presets", "data"])
)
def list_(section: str | None) -> None:
    """Show the compressors with their options, and the models, recipes, presets and data there are."""
    from bench.catalogue import catalogue

    for title, lines in catalogue().items():
        if section in (None, title):
            click.echo("\n".join([title, *lines]))


@main.group()
def data() -> None:
    """Look at data before training on it."""


@data.command("info")
@plugin_option()
@click.argument("path")
@click.option(
    "--keyword", default="sheila", show_default=True, help="Spoken by the synthetic corpus; else ignored."
)
def data_info(path: str, keyword: str) -> None:
    """Show what a corpus holds. PATH: synthetic, speech-commands, speech-commands-v0.02 or a folder."""
    from rich.console import Console

    from bench.corpora import open_corpus
    from bench.report import corpus_tables

    console = Console()
    for table in corpus_tables(open_corpus(path, keyword if path == "synthetic" else None)):
        console.print(table)


@main.command()
@click.argument("tables", nargs=-1, required=True, metavar="A.csv B.csv [C.csv ...]", type=FILE)
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
def compare(tables: tuple[Path, ...], form: str, measures: tuple[str, ...], limits: tuple[str, ...]) -> None:
    """Hold tables of results against the first one, label by label.

    Quality is only compared on the same corpus, keyword and split; cost always. With the published table
    (results/kws_hw_published.csv) the result is a ledger of MACs, parameters and sizes.
    """
    from rich.console import Console

    from bench.compare.limits import exceeded, parse_limit
    from bench.compare.report import as_csv, as_json, as_markdown, as_rich, sheet
    from bench.compare.tables import compare_all

    if len(tables) < 2:
        raise click.UsageError("give two tables or more: bench compare A.csv B.csv")
    bounds = [parse_limit(text) for text in limits]
    comparisons = compare_all(tables)
    sheets = [sheet(each, measures) for each in comparisons]
    if form == "table":
        Console(highlight=False).print(as_rich(sheets))
    else:
        texts = {"csv": as_csv, "json": as_json}
        click.echo(texts[form](comparisons) if form in texts else as_markdown(sheets), nl=False)
    broken = [line for bound in bounds for each in comparisons for line in exceeded(bound, each)]
    for line in broken:
        click.echo(f"bench: {line}", err=True)
    if broken:
        sys.exit(1)


@main.command()
@click.argument("table", metavar="RESULTS.csv", type=FILE)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for PNG and SVG.  [default: figures/, or figures/NAME/ for a NAME.csv, beside it]",
)
@click.option("--kind", "kinds", multiple=True, metavar="NAME", help="Only this figure.  Repeatable.")
def figures(table: Path, out: Path | None, kinds: tuple[str, ...]) -> None:
    """Draw every figure from a table alone; nothing is trained.

    A table of several corpora or keywords gets a folder for each.
    """
    from bench.figures.plots import KINDS, draw_figures
    from bench.records import RESULTS_FILE, load_results

    beside = table.parent / "figures"
    out = out or (beside if table.name == RESULTS_FILE else beside / table.stem)
    drawn = draw_figures(load_results(table), out, kinds or tuple(KINDS))
    for path in drawn.written:
        click.echo(path)
    for line in drawn.left_out:
        click.echo(f"left out: {line}", err=True)


@main.group()
def cache() -> None:
    """See what corpora and features take on disk, and make room."""


@cache.command("info")
def cache_info() -> None:
    """Show where the cache lies, and how much each part of it takes."""
    from bench.cache import KINDS, usage
    from bench.corpora.base import cache_dir

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


main.add_command(stream)
