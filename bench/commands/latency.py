"""The command ``latency``: times of a run's model on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.numbers import Whole
from bench.plugins import plugin_option


@click.command()
@plugin_option()
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--rounds", type=Whole(3), default=30, show_default=True, help="Bursts of each runtime, in turn."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The table.  [default: RUN/latency.csv]"
)
def latency(run_path: Path, rounds: int, out: Path | None) -> None:
    """Time a run's model on this machine: torch, ONNX Runtime and C, float and int8.

    RUN is a folder of out/runs, or a file in it. One thread; features are already made. Needs
    pip install "kws-bench[onnx]" and a C compiler for all rows; what is missing is named and left out.
    """
    from bench.ship.latency_run import show_latency

    show_latency(run_path, rounds=rounds, out=out, say=click.echo)
