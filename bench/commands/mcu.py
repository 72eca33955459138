"""The command ``mcu``: flash, memory and instructions of a run's model on a microcontroller."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.numbers import Number, Whole
from bench.plugins import plugin_option

CPU_NAMES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")


@click.command()
@plugin_option()
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--cpu", type=click.Choice(CPU_NAMES), default="cortex-m4", show_default=True, help="The processor."
)
@click.option(
    "--clock-mhz",
    type=Number(0.001, 100_000),
    default=64,
    show_default=True,
    help="For the estimate.",
)
@click.option(
    "--cycles-per-instruction",
    type=Number(0.001, 1000),
    help="For the estimate.  [default: 1.0 to 1.5, by processor]",
)
@click.option("--clips", type=Whole(1), default=8, show_default=True, help="Clips of validation to compare.")
@click.option("--data", help="Where the run's corpus lies now.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Keep sources and ELF image here."
)
def mcu(
    run_path: Path,
    cpu: str,
    clock_mhz: float,
    cycles_per_instruction: float | None,
    clips: int,
    data: str | None,
    out: Path | None,
) -> None:
    """Say what a run's model takes on a microcontroller.

    Compiles it and runs real clips there. RUN is a folder of out/runs whose chain ends in integers (sq or
    qat), or a file in it. The processor is emulated: instructions are counted, times are estimates.
    Needs pip install "kws-bench[mcu]".
    """
    from bench.ship.mcu_run import McuConfig, run_mcu

    run_mcu(run_path, data, McuConfig(cpu, clock_mhz, cycles_per_instruction, clips), out, click.echo)
