"""The command ``import``: shows what is in a run, a file of weights or a ``.kws`` file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.options import task_options
from bench.plugins import plugin_option

if TYPE_CHECKING:
    from bench.request import TaskRequest


@click.command("import")
@plugin_option()
@click.argument("path", metavar="RUN_OR_FILE", type=click.Path(path_type=Path))
@task_options
def import_(path: Path, *, asked: TaskRequest) -> None:
    """Show what is in a run, a file of weights or a .kws file.

    RUN_OR_FILE is a folder of out/runs, a .safetensors file, a state_dict that torch saved (.pt, .pth), or a
    .kws file. Of a file of weights it says which models have such names and shapes on the task, and how
    bench run takes it as the base.
    """
    from bench.terminal.contents import contents

    click.echo("\n".join(contents(path, asked)))
