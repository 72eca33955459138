"""The command ``stress``: models under noise, reverberation, other levels and speaking rates."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.numbers import Whole
from bench.plugins import plugin_option


@click.command()
@plugin_option()
@click.argument("runs", metavar="RUN...", nargs=-1)
@click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="TABLE.csv",
    help="Take each RUN as a label of this table, which lies beside runs/; without RUN, all its rows.",
)
@click.option("--keyword", metavar="WORD", help="Of the table, only the rows of this keyword.")
@click.option(
    "--family",
    "families",
    multiple=True,
    type=click.Choice(["snr", "reverberation", "level", "rate"]),
    help="Only these conditions.  Repeatable.  [default: all]",
)
@click.option("--data", help="Where the runs' corpus lies now.")
@click.option(
    "--draws", type=Whole(10, 1_000_000), default=1000, show_default=True, help="Of each bootstrap interval."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for stress.csv and the figures.  [default: stress/KEYWORD/ or stress/TASK/ beside runs/]",
)
def stress(
    runs: tuple[str, ...],
    results: Path | None,
    keyword: str | None,
    families: tuple[str, ...],
    data: str | None,
    draws: int,
    out: Path | None,
) -> None:
    """Try models where speech is hard: does compression hurt robustness first?

    RUN is a folder of out/runs, of one corpus and task. The form that ships is scored on the test
    clips, clean and under each condition: white, pink, babble and the corpus's own noise from 20 to -5 dB
    below the speech; rooms with an RT60 of 0.2 to 0.8 s; levels from -24 to +12 dB, clipped at full scale;
    speech at 0.8 to 1.25 times its rate. Give the base too: ratios are shown beside its own.
    What was tried until Ctrl-C is kept as stress-stopped.csv.
    """
    if not runs and results is None:
        raise click.UsageError("give run folders, such as out/runs/base-*, or --results TABLE.csv")
    if keyword is not None and results is None:
        raise click.UsageError("--keyword picks rows of a table: give --results TABLE.csv too")
    from bench.results.runs import RunFolder
    from bench.stress.conditions import FAMILIES
    from bench.stress.plot import draw_stress
    from bench.stress.report import stress_tables
    from bench.stress.run import open_runs, run_folders, save_stress
    from bench.stress.run import stress as try_all
    from bench.texts import plain_console

    paths = [Path(run) for run in runs] if results is None else run_folders(results, runs, keyword)
    tried = open_runs(paths)
    out = out or RunFolder(tried[0].path).beside("stress", [tried[0].record.asked])
    table = try_all(
        tried, data, out, families=families or FAMILIES, draws=draws, progress=True, say=click.echo
    )
    path = save_stress(table, out)
    console = plain_console()
    tables, lines = stress_tables(table)
    for shown in tables:
        console.print(shown)
    for line in lines:
        console.print(line, soft_wrap=True)
    for figure in draw_stress(table, out):
        click.echo(figure)
    click.echo(path)
