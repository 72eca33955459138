"""Models, compressors and corpora from outside: files given with ``--plugin``, and entry points.

A plugin registers what it brings when it is imported, with the decorators that the toolkit itself uses:
``models.registry.register``, ``compressors.registry.register`` and ``bench.corpora.register``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click

GROUPS = ("kws_bench.models", "kws_bench.compressors", "kws_bench.corpora")
OWN_PACKAGES = ("bench", "compressors", "models")


@dataclass(frozen=True)
class Broken:
    """A plugin that could not be imported; whatever else there is still works.

    Attributes:
        name: Its file, or the entry point and the distribution that it comes from.
        reason: Of the failure, one line.
    """

    name: str
    reason: str


# Where the modules of plugins come from, for bench list.
_ORIGINS: dict[str, str] = {}


def load_plugins(files: Sequence[Path] = ()) -> list[Broken]:
    """Imports all installed plugins, and those in the given files; each at most once a process.

    Returns:
        Those that failed.
    """
    failures = [_load_entry_point(point) for group in GROUPS for point in entry_points(group=group)]
    failures += [_load_file(path.resolve()) for path in files]
    return [failure for failure in failures if failure is not None]


def origin(module: str) -> str:
    """Where a registered thing comes from, by the name of the module that defines it."""
    return "built in" if module.split(".")[0] in OWN_PACKAGES else _ORIGINS.get(module, module)


def _load_plugins(
    _context: click.Context, _option: click.Parameter, files: tuple[Path, ...]
) -> tuple[Path, ...]:
    """Loads plugins before anything asks a registry; whatever fails is named, and the rest goes on."""
    for broken in load_plugins(files):
        click.echo(f"bench: plugin {broken.name} cannot be imported: {broken.reason}", err=True)
    return files


def plugin_option(*, expose: bool = False) -> Callable[[Any], Any]:
    """``--plugin``, for every command that asks a registry."""
    return click.option(
        "--plugin",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE.py",
        callback=_load_plugins,
        expose_value=expose,
        help="Load models, compressors and corpora from a file first.  Repeatable.",
    )


@cache
def _load_entry_point(point: EntryPoint) -> Broken | None:
    distribution = point.dist.name if point.dist else "?"
    _ORIGINS[point.module] = f"{distribution} ({point.group}: {point.name})"
    return _attempt(f"{point.group}: {point.name} of {distribution}", point.load)


@cache
def _load_file(path: Path) -> Broken | None:
    module = f"kws_bench_plugin_{path.stem}"
    _ORIGINS[module] = str(path)
    return _attempt(str(path), lambda: _import_file(path, module))


def _import_file(path: Path, name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError("no such Python file")
    # Dataclasses look their module up while it is being imported.
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def _attempt(name: str, load: Callable[[], object]) -> Broken | None:
    try:
        load()
    except Exception as error:  # whatever a stranger's module does must not stop the rest
        reason = " ".join(str(error).split()) or "no message"
        return Broken(name, f"{type(error).__name__}: {reason}")
    return None
