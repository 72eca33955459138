"""Numbers on the command line: click's ranges, which alone take nan, inf and the digits of other scripts."""

from __future__ import annotations

from typing import Any

import click

from models.numbers import number, whole


class Whole(click.IntRange):
    """A whole number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See the base class; a default is a number already."""
        try:
            return super().convert(whole(value) if isinstance(value, str) else value, param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Number(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See the base class; a default is a number already."""
        try:
            return super().convert(number(value) if isinstance(value, str) else value, param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)
