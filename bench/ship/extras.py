"""Packages that only shipping needs: one line that says what to install where one is missing."""

from __future__ import annotations

import importlib
from typing import Any

from models.errors import KwsError


class MissingExtraError(KwsError):
    """A package of an extra is not installed."""


def extra(module: str, name: str) -> Any:
    """A module of the extra of that name.

    Raises:
        MissingExtraError: It is not installed; the message says how it would be.

    Examples:
        >>> extra("no_such_package", "onnx")
        Traceback (most recent call last):
        ...
        bench.ship.extras.MissingExtraError: no_such_package is not installed; pip install "kws-bench[onnx]"
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise MissingExtraError(f'{package} is not installed; pip install "kws-bench[{name}]"') from None
