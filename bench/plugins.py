"""Models, compressors, corpora and measures from outside: files given with ``--plugin``, and entry points.

A plugin registers what it brings when it is imported, with the decorators that the toolkit itself uses:
``models.registry.register``, ``compressors.registry.register``, ``bench.data.corpora.register`` and
``bench.quality.measures.register``.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FrameType
from typing import Any

import click

from models.registering import REGISTRIES, Registry

GROUPS = (
    "kws_bench.models",
    "kws_bench.compressors",
    "kws_bench.corpora",
    "kws_bench.speech",
    "kws_bench.tasks",
    "kws_bench.measures",
)
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
        help="Load models, compressors, corpora and measures from a file first.  Repeatable.",
    )


@cache
def _load_entry_point(point: EntryPoint) -> Broken | None:
    distribution = point.dist.name if point.dist else "?"
    _ORIGINS[point.module] = f"{distribution} ({point.group}: {point.name})"
    return _attempt(f"{point.group}: {point.name} of {distribution}", point.load)


@cache
def _load_file(path: Path) -> Broken | None:
    # Two files of one name in two folders are two modules.
    module = f"kws_bench_plugin_{path.stem}_{zlib.crc32(bytes(path)):08x}"
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
    """Imports a plugin, which may add to what is registered, but neither change it nor end the command."""
    before, broken = _registered(), None
    with _signals_noted() as came:
        try:
            load()
        except BaseException as error:  # whatever a stranger's module does must not stop the rest
            broken = Broken(name, f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}")
    if came:
        raise KeyboardInterrupt
    if changed := [what for owner in before for what in owner.restore()]:
        return Broken(
            name, f"it must not change {', '.join(changed)}, but bring something under another name"
        )
    return broken


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Tells Ctrl-C, and an end from outside, from a KeyboardInterrupt that a plugin raises itself."""
    came: list[int] = []

    def noting(handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def note(number: int, frame: FrameType | None) -> None:
            came.append(number)
            handler(number, frame)

        return note

    # No other thread gets signals, or may say what they do.
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if main}
    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, noting(handler))
    try:
        yield came
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Owner:
    """A registry, or a class that something registered is made of, as it was before a plugin was imported.

    Attributes:
        there: The registry or class.
        held: What it held, by name.
    """

    there: Registry[Any] | type
    held: dict[str, Any]

    def restore(self) -> list[str]:
        """Undoes all but additions to a registry, and says what that was."""
        now = _held(self.there)
        changed = [name for name, value in self.held.items() if name not in now or now[name] is not value]
        if not isinstance(self.there, type):
            self.there.update({name: self.held[name] for name in changed})
            return [f"the {self.there.what} {name!r}" for name in changed]
        for name in changed:
            setattr(self.there, name, self.held[name])
        added = [name for name in now if name not in self.held]
        for name in added:
            delattr(self.there, name)
        return [f"{self.there.__name__}.{name}" for name in (*changed, *added)]


def _registered() -> list[_Owner]:
    """All registries, and all classes of ours behind what is in them."""
    from bench.data.corpora import corpora
    from bench.data.speech import speeches
    from bench.quality.measures import known_measures
    from compressors.registry import compressors
    from models.registry import family, names

    corpora()
    speeches()
    families = [family(name) for name in names()]
    kinds: list[type] = [
        *compressors().values(),
        *(each.model for each in families),
        *(type(each.default) for each in families),
        *map(type, known_measures()),
    ]
    ours = dict.fromkeys(
        kind for each in kinds for kind in each.__mro__ if origin(kind.__module__) == "built in"
    )
    owners: list[Registry[Any] | type] = [*REGISTRIES, *ours]
    return [_Owner(each, _held(each)) for each in owners]


def _held(owner: Registry[Any] | type) -> dict[str, Any]:
    """What a registry holds, or a class defines; Python adds names with two underscores as it needs them."""
    if isinstance(owner, type):
        return {name: value for name, value in vars(owner).items() if not name.startswith("__")}
    return dict(owner)
