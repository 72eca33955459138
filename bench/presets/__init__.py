"""Presets: small files of chains that are run together. The TOML files beside this one are built in."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench.config import RunConfig
from bench.request import Request
from models.errors import KwsError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """A chain and the name of its row.

    Attributes:
        chain: As ``--chain`` takes it.
        label: What the table calls it; empty: the chain's own name.
    """

    chain: str
    label: str = ""


@dataclass(frozen=True)
class Preset:
    """Chains to run together, and what they have in common.

    Attributes:
        rows: In the order in which they run.
        summary: One line for ``bench list``.
        model: The base.
        recipe: How to train.
        epochs: Epochs of each training at most; None: the recipe's.
        target_metric: Students stop once their headline on validation is as good as this; None: never.
    """

    rows: tuple[Row, ...]
    summary: str = ""
    model: str = "crnn"
    recipe: str = "default"
    epochs: int | None = None
    target_metric: float | None = None

    def settle(self, asked: Request) -> Request:
        """What is asked, with the preset's word on what was left open."""
        return replace(
            asked,
            model=asked.model or self.model,
            recipe=asked.recipe or self.recipe,
            epochs=asked.epochs or self.epochs,
        )


def configs_of(
    asked: Request, chains: Sequence[str], preset: str | None, target_metric: float | None
) -> list[RunConfig]:
    """The configurations of a request: the rows of a preset, then the chains that are given beside it.

    Args:
        asked: What to train, and how.
        chains: As ``--chain`` takes them; with neither these nor a preset the main job, ``dq+sp+ad+kd``.
        preset: Its name or file.
        target_metric: In place of the preset's.

    Raises:
        KwsError: There is no such preset, recipe or task.

    Examples:
        >>> [config.chain for config in configs_of(Request(), ["kd", "dq+kd"], None, None)]
        ['kd', 'dq+kd']
    """
    given = tuple(map(Row, chains))
    listed = load_preset(preset) if preset else Preset(given or (Row("dq+sp+ad+kd"),))
    rows = listed.rows + (given if preset else ())
    target = listed.target_metric if target_metric is None else target_metric
    return listed.settle(asked).configs([(row.chain, row.label) for row in rows], target)


def preset_names() -> list[str]:
    """The presets that come with the toolkit, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_preset(name: str) -> Preset:
    """A preset by its name, or by the path of a TOML file.

    Raises:
        KwsError: There is none, or the file is no preset; the message says what is wrong in it.

    Examples:
        >>> [row.label for row in load_preset("kws-hw").rows][:3]
        ['B', 'DQ+B', 'KD']
    """
    path = FOLDER / f"{name}.toml" if name in preset_names() else Path(name)
    try:
        content = tomllib.loads(path.read_text())
    except (FileNotFoundError, IsADirectoryError):
        raise KwsError(
            f"no preset {name!r}: give a TOML file or one of: {', '.join(preset_names())}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KwsError(f"preset {path} cannot be read: {error}") from None
    rows = content.pop("rows", None)
    if not isinstance(rows, list) or not rows:
        raise KwsError(f"preset {path} has no [[rows]]; each needs a chain, and may have a label")
    _check_entries(path, content, Preset)
    for row in rows:
        _check_entries(path, row, Row)
        if not row.get("chain", "").strip():
            raise KwsError(f'preset {path}: a row without a chain; write chain = "kd", or chain = "base"')
    return Preset(rows=tuple(Row(**row) for row in rows), **content)


def _check_entries(path: Path, given: Any, kind: type[Preset] | type[Row]) -> None:
    """Names and types; TOML leaves only text, whole numbers and numbers to tell apart."""
    if not isinstance(given, dict):
        raise KwsError(f'preset {path}: rows are tables; write [[rows]] and below it chain = "kd"')
    known = {entry.name: str(entry.type) for entry in fields(kind)}
    for name, value in given.items():
        if name not in known:
            raise KwsError(f"preset {path}: unknown entry {name!r}; there is: {', '.join(known)}")
        expected = next(shown for mark, shown in _TYPES.items() if mark in known[name])
        if isinstance(value, bool) or not _IS[expected](value):
            raise KwsError(f"preset {path}: {name} = {value!r} must be {expected}")


_TYPES = {"float": "a number, 0 or more", "int": "a whole number, 1 or more", "str": "a text"}
_IS: dict[str, Callable[[Any], bool]] = {
    "a number, 0 or more": lambda value: isinstance(value, (int, float)) and 0 <= value < float("inf"),
    "a whole number, 1 or more": lambda value: isinstance(value, int) and value >= 1,
    "a text": lambda value: isinstance(value, str),
}
