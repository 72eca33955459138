"""Compressors by token, and how one is written: ``token:option=value,...``."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

from compressors.base import Compressor, Phase
from models.errors import ChainError
from models.numbers import number, shortest, whole
from models.registering import Registry, check_class, check_frozen

_COMPRESSORS: Registry[type[Compressor]] = Registry("compressor", ChainError)
# The modules of this package that register a compressor when they are imported.
_OWN = (
    "compressors.distill",
    "compressors.low_rank",
    "compressors.structured_prune",
    "compressors.quantization.dynamic_quant",
    "compressors.quantization.quantized",
)


def register(compressor: type[Compressor]) -> type[Compressor]:
    """Class decorator that makes a compressor available under its token.

    Raises:
        ChainError: The token is taken, or is not lower-case letters and digits; or it is no frozen dataclass
            that derives from ``Compressor``, with a summary and a phase.
    """
    check_class(compressor, Compressor, ChainError)
    name, token = compressor.__name__, compressor.token
    if not isinstance(token, str) or not re.fullmatch(r"[a-z][a-z0-9]*", token):
        raise ChainError(f"the token {token!r} of {name} must be lower-case letters and digits")
    if token == "base":
        raise ChainError(f"the token 'base' of {name} is the base alone; choose another")
    if not isinstance(compressor.summary, str) or not isinstance(compressor.phase, Phase):
        raise ChainError(f"{name} must have a summary, one line of text, and a phase, such as Phase.TRAIN")
    check_frozen(compressor, ChainError)
    _COMPRESSORS.enter(token, compressor)
    return compressor


def compressors() -> dict[str, type[Compressor]]:
    """All registered compressors by token, sorted."""
    for module in _OWN:
        importlib.import_module(module)
    return dict(sorted(_COMPRESSORS.items()))


def read(piece: str) -> tuple[Compressor, str]:
    """One compressor and its canonical text, from ``token:name=value,...``.

    Raises:
        ChainError: An unknown token or option, or a value that cannot be read; the message lists what exists.

    Example:
        >>> read("KD:hidden=12,alpha=0.90,temperature=2")[1]
        'kd:hidden=12,alpha=0.9'
    """
    token, _, rest = piece.partition(":")
    there = compressors()
    kind = there.get(token.lower())
    if kind is None:
        near = difflib.get_close_matches(token.lower(), there, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ChainError(
            f"no compressor {token!r}; {hint}there is: {', '.join(there)}, and base, which stands alone"
        )
    hints = get_type_hints(kind)
    known = {option.name: option for option in options(kind)}
    given: dict[str, Any] = {}
    for assignment in filter(None, rest.split(",")):
        name, equals, value = assignment.partition("=")
        if name not in known or not equals:
            names = ", ".join(f"{option}=" for option in known) or "none"
            raise ChainError(f"{token}: cannot read option {assignment!r}; its options: {names}")
        given[name] = _value(f"{token}: {name}", value, str(hints[name]))
    # An option that says the default is none: the same chain has the same text.
    changed = [name for name in known if name in given and given[name] != known[name].default]
    canonical = ",".join(f"{name}={written(given[name])}" for name in changed)
    return kind(**given), f"{kind.token}:{canonical}" if canonical else kind.token


def options(kind: type[Compressor]) -> list[Field[Any]]:
    """The fields of a compressor that a chain can set."""
    return [entry for entry in fields(kind) if entry.metadata.get("option", True)]


def default_text(option: Field[Any]) -> str:
    """An option's default, as it would be written."""
    return "open" if option.default in (None, MISSING) else written(option.default)


def _value(where: str, text: str, hint: str) -> Any:
    """Reads an option by the type of its field."""
    readers: list[tuple[str, Callable[[str], Any], str]] = [
        ("tuple", _pair, "two whole numbers such as 15x5"),
        ("bool", lambda raw: {"true": True, "false": False}[raw.lower()], "true or false"),
        ("float", number, "a finite number such as 0.5 or 1e3"),
        ("int", whole, "a whole number such as 12"),
        ("", _text, "without spaces around it"),
    ]
    read, expected = next((read, expected) for name, read, expected in readers if name in hint)
    try:
        return read(text)
    except (ValueError, KeyError):
        raise ChainError(f"{where}={text} must be {expected}") from None


def _pair(text: str) -> tuple[int, int]:
    first, second = text.split("x")
    return whole(first), whole(second)


def _text(text: str) -> str:
    if text != text.strip():
        raise ValueError  # a chain that is read again would lose them
    return text


def written(value: Any) -> str:
    """A value as it is written in a chain, to be read back as the same: 15x5 for a pair."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return shortest(value) if isinstance(value, float) else str(value)
