"""The command line: parse, call, print. Everything heavy is imported where it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.config import RunConfig

BAD_INPUT = 2
INTERRUPTED = 130


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

            if not isinstance(error, KwsError):
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
@click.option(
    "--chain",
    "chains",
    multiple=True,
    metavar="CHAIN",
    default=("dq+sp+ad+kd",),
    show_default=True,
    help="Compressors, the last to act first, with options: dq+kd:hidden=12,kernel=13x5. Repeatable; "
    "'base' is the base alone.",
)
@click.option("--model", default="crnn", show_default=True, help="The base to compress (see bench list).")
@click.option(
    "--data",
    default="synthetic",
    show_default=True,
    help="synthetic, speech-commands, speech-commands-v0.02, or a folder of WORD/CLIP.wav or .flac.",
)
@click.option("--keyword", default="sheila", show_default=True, help="The word to spot.")
@click.option("--recipe", default="default", show_default=True, help="How to train (see bench list).")
@click.option(
    "--epochs", type=click.IntRange(1), help="Epochs of each training at most.  [default: the recipe's]"
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
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder for results.csv, figures/ and runs/.",
)
def run(
    chains: tuple[str, ...],
    model: str,
    data: str,
    keyword: str,
    recipe: str,
    epochs: int | None,
    target_metric: float | None,
    seed: int,
    out: Path,
) -> None:
    """Train, measure and draw chains of compressors.

    Rows that are there already are not run again, and an interrupted run goes on from its last epoch.
    """
    from bench.config import RunConfig, recipe_named

    shared = RunConfig(
        chain="",
        model=model,
        data=data,
        keyword=keyword,
        recipe=recipe_named(recipe),
        epochs=epochs,
        target_metric=target_metric,
        seed=seed,
    )
    _run_all([replace(shared, chain=chain) for chain in chains], out)


def _run_all(configs: Sequence[RunConfig], out: Path) -> None:
    """Runs chains one after the other, then shows the table and draws the figures of all rows in ``out``."""
    from rich.console import Console

    from bench.console import ConsoleUi
    from bench.pipeline import check, run_chain
    from bench.plots import draw_figures
    from bench.records import RESULTS_FILE, RunRecord, load_results
    from bench.report import summary_table

    console = Console()
    for config in configs:
        check(config)
    records: dict[str, RunRecord] = {}
    with ConsoleUi(console) as ui:
        for config in configs:
            records |= {record.run_id: record for record in run_chain(config, out, ui)}
    console.print(summary_table(list(records.values())))
    figures = draw_figures(load_results(out / RESULTS_FILE), out / "figures")
    console.print(f"{out / RESULTS_FILE}, {len(figures)} figure files in {out / 'figures'}", highlight=False)


@main.command("list")
def list_() -> None:
    """Show the compressors with their options, and the models, recipes and data there are."""
    from bench.config import RECIPES
    from compressors.registry import compressors, default_text, options
    from models.registry import family, names

    click.echo("compressors")
    for token, kind in compressors().items():
        click.echo(f"  {token:<4}{kind.summary}")
        shown = [f"{option.name}={default_text(option)}" for option in options(kind)]
        click.echo(f"      options: {', '.join(shown) or 'none'}")
    click.echo("models")
    for name in names():
        click.echo(f"  {name}  {family(name).default}")
    click.echo("recipes")
    for name, recipe in RECIPES.items():
        click.echo(
            f"  {name}  {recipe.epochs} epochs, batch {recipe.batch_size}, peak rate {recipe.learning_rate:g}"
        )
    click.echo("data")
    for name in ("synthetic", "speech-commands", "speech-commands-v0.02", "PATH"):
        click.echo(f"  {name}")


@main.group()
def data() -> None:
    """Look at data before training on it."""


@data.command("info")
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
