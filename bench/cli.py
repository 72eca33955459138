"""The command line: parse, call, print. Everything heavy is imported where it is used."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import Any

import click

from bench.commands.ablate import ablate
from bench.commands.cache import cache
from bench.commands.compare import compare
from bench.commands.data import data
from bench.commands.export import export
from bench.commands.figures import figures
from bench.commands.import_ import import_
from bench.commands.latency import latency
from bench.commands.list_ import list_
from bench.commands.mcu import mcu
from bench.commands.operate import operate
from bench.commands.run import run
from bench.commands.stream import stream
from bench.commands.stress import stress

BAD_INPUT = 2
INTERRUPTED = 130
# Commands that take up what they had done before they were stopped.
GO_ON = ("run", "ablate", "operate")


class Commands(click.Group):
    """Turns what users can cause into one line and an exit status, instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        # Ended by another program it stops as by Ctrl-C, and takes the processes that it started with it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            on = ", and the same command goes on from there" if ctx.invoked_subcommand in GO_ON else ""
            click.echo(f"\nstopped; what is finished stays{on}", err=True)
            sys.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except SystemExit as error:
            # No command of ours raises it: what a plugin brings ends the program in the midst of something.
            where = traceback.extract_tb(error.__traceback__)[-1]
            click.echo(
                f"bench: {where.filename}, line {where.lineno}, ended the program with {error!r}; "
                "a plugin must raise an error instead",
                err=True,
            )
            sys.exit(BAD_INPUT)
        except Exception as error:
            # Only now: whoever raised a KwsError has imported its module already.
            from models.errors import KwsError

            if not isinstance(error, (KwsError, OSError)):
                raise
            # A name in it may be of several lines.
            click.echo(f"bench: {' '.join(str(error).splitlines())}", err=True)
            sys.exit(BAD_INPUT)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="kws-bench", prog_name="bench")
def main() -> None:
    """Compress a keyword spotter, and see what each step costs.

    A chain of compressors is trained over a base model, measured, and written as rows of a table and as
    figures. Begin with:  bench run --chain dq+sp+ad+kd
    """


COMMANDS = (
    *(run, ablate, list_, import_, data, compare, figures, stream, operate, stress),
    *(export, latency, mcu, cache),
)
for command in COMMANDS:
    main.add_command(command)
