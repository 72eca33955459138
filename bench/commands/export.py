"""The command ``export``: a run's model as a ``.kws`` file, as ONNX, or as C code."""

from __future__ import annotations

from pathlib import Path

import click

from bench.plugins import plugin_option


@click.command()
@plugin_option()
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["kws", "onnx", "c"]),
    default="kws",
    show_default=True,
    help="kws: the flat file; onnx: clip and streaming form; c: C99 sources, front end included.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files.  [default: RUN/export/FORMAT]",
)
def export(run_path: Path, form: str, out: Path | None) -> None:
    """Write a run's model for other runtimes.

    RUN is a folder of out/runs, a file in it, or a .kws file. kws and c need a chain that ends in
    integers (sq or qat), onnx takes any.
    """
    from bench.ship.export import export_run

    for path in export_run(run_path, form, out):
        click.echo(f"{path.stat().st_size:>8,} bytes  {path}")
