"""The command ``operate``: runs on long audio, at thresholds chosen on validation."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.numbers import Number, Whole
from bench.plugins import plugin_option


@click.command()
@plugin_option()
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN ...]", type=click.Path(path_type=Path))
@click.option(
    "--max-false-alarms",
    "rates",
    type=Number(0),
    multiple=True,
    default=(0.1, 0.5, 1.0),
    show_default=True,
    help="Allowed an hour on validation: one operating point each.  Repeatable.",
)
@click.option(
    "--joinings",
    type=Whole(1),
    default=3,
    show_default=True,
    help="Streams of each split: the same clips in other orders, gaps and noise.",
)
@click.option(
    "--max-buffer-len",
    type=Whole(1),
    help="Model frames that attention or a mean over time looks back on, of 80 ms in crnn.  [default: 0.96 "
    "of a clip]",
)
@click.option("--data", help="Where the runs' corpus lies now.")
@click.option(
    "--speech",
    multiple=True,
    metavar="PATH",
    help="Running speech, a folder or a table clips.csv: its sentences that hold the word, where their times "
    "are marked, else the clips of the word set into it.  Repeatable.  [default: clips alone]",
)
@click.option(
    "--save-errors",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep every miss and false alarm, at the highest rate, as a recording, with file and speaker.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for tables and figures.  [default: operate/KEYWORD/ or operate/TASK/ beside runs/]",
)
def operate(
    runs: tuple[Path, ...],
    rates: tuple[float, ...],
    joinings: int,
    max_buffer_len: int | None,
    data: str | None,
    speech: tuple[str, ...],
    save_errors: Path | None,
    out: Path | None,
) -> None:
    """Measure misses at so many false alarms an hour, and detection delay, on long audio.

    The clips of each RUN's validation and test speakers are joined with background noise to streams;
    thresholds are chosen on validation and applied to test, for each word by itself. More joinings give
    finer steps, but the speech stays the same, and intervals stay those of one joining.
    """
    from bench.stream.operate import OperateConfig
    from bench.stream.operate import operate as run_operate
    from bench.texts import plain_console

    allowed = tuple(dict.fromkeys(sorted(rates)))
    config = OperateConfig(max_buffer_len, joinings, allowed, speech, save_errors)
    table = run_operate(runs, data, config, out, lambda line: click.echo(line, err=True))
    plain_console().print(table)
