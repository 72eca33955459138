"""Compressors by token, and how one is written: ``token:option=value,...``."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from compressors.base import Compressor, Phase
from models.base import ModelSpec
from models.errors import ChainError
from models.numbers import number, shortest, whole
from models.registering import Registry, check_class, check_frozen

_COMPRESSORS: Registry[type[Compressor]] = Registry("compressor", ChainError)
# The modules of this package that register a compressor when they are imported.
_OWN = (
    "compressors.distill",
    "compressors.feature_distill",
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


class Option(NamedTuple):
    """What a chain can set of a compressor.

    Attributes:
        name: As it is written.
        hint: The type of its values.
        default: What holds where it is not written; None or MISSING: open.
        holder: The compressor's field that holds it with others, where it is one of the model's; else empty.
    """

    name: str
    hint: Any
    default: Any
    holder: str = ""


def read(piece: str, base: ModelSpec) -> tuple[Compressor, str]:
    """One compressor and its canonical text, from ``token:name=value,...``.

    Args:
        piece: As it is written.
        base: The model that the chain starts from, some of whose fields are options too.

    Raises:
        ChainError: An unknown token or option, or a value that cannot be read; the message lists what exists.

    Examples:
        >>> from models.crnn import CrnnSpec
        >>> read("KD:hidden=12,alpha=0.90,temperature=2", CrnnSpec())[1]
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
    known = {option.name: option for option in options(kind, base)}
    given: dict[str, Any] = {}
    for assignment in filter(None, rest.split(",")):
        name, equals, value = assignment.partition("=")
        if name not in known or not equals:
            names = ", ".join(f"{option}=" for option in known) or "none"
            raise ChainError(f"{token}: cannot read option {assignment!r}; its options: {names}")
        if name in given:
            raise ChainError(f"{token}: {name} is given twice; write it once")
        given[name] = _value(f"{token}: {name}", value, known[name].hint)
    # An option that says the default is none: the same chain has the same text.
    changed = [name for name in known if name in given and given[name] != known[name].default]
    canonical = ",".join(f"{name}={written(given[name])}" for name in changed)
    own = {name: value for name, value in given.items() if not known[name].holder}
    for option in known.values():
        if option.holder:
            own.setdefault(option.holder, {})[option.name] = given.get(option.name, option.default)
    return kind(**own), f"{kind.token}:{canonical}" if canonical else kind.token


def options(kind: type[Compressor], base: ModelSpec | None = None) -> list[Option]:
    """What a chain can set of a compressor; of the model's fields only where a model is given."""
    hints = get_type_hints(kind)
    found: list[Option] = []
    for entry in fields(kind):
        if "of_the_model" in entry.metadata:
            found += _model_options(kind, base, entry.name) if base else []
        elif entry.metadata.get("option", True):
            found.append(Option(entry.name, hints[entry.name], entry.default))
    return found


def _model_options(kind: type[Compressor], base: ModelSpec, holder: str) -> list[Option]:
    """The options that are fields of the model; what the compressor has itself under that name goes first."""
    hints, own = get_type_hints(type(base)), {entry.name for entry in fields(kind)} - {holder}
    return [
        Option(name, hints[name], default, holder)
        for name, default in kind.model_options(base).items()
        if name not in own and _reader(hints[name])
    ]


def default_text(option: Option) -> str:
    """An option's default, as it would be written."""
    return "open" if option.default in (None, MISSING) else written(option.default)


def _value(where: str, text: str, hint: Any) -> Any:
    """Reads an option by its type; what is of no type that is known is a text."""
    read, expected = _reader(hint) or _READERS[str]
    try:
        return read(text)
    except (ValueError, KeyError):
        raise ChainError(f"{where}={text} must be {expected}") from None


def _text(text: str) -> str:
    if text != text.strip():
        raise ValueError  # a chain that is read again would lose them
    return text


_Reader = tuple[Callable[[str], Any], str]
_READERS: dict[Any, _Reader] = {
    bool: (lambda raw: {"true": True, "false": False}[raw.lower()], "true or false"),
    float: (number, "a finite number such as 0.5 or 1e3"),
    int: (whole, "a whole number such as 12"),
    str: (_text, "without spaces around it"),
}


def _reader(hint: Any) -> _Reader | None:
    """How a value of a type is read, and what is expected; None where it cannot be written in a chain."""
    several = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kind = next((kind for kind in several if kind is not NoneType), None)
    if get_origin(kind) is not tuple:
        return _READERS.get(kind)
    entries = [entry for entry in get_args(kind) if entry is not Ellipsis]
    if not entries or set(entries) not in ({int}, {float}):
        return None
    count = None if Ellipsis in get_args(kind) else len(entries)

    def several_of(text: str) -> tuple[Any, ...]:
        found = tuple(map(_READERS[entries[0]][0], text.split("x")))
        if count not in (None, len(found)):
            raise ValueError
        return found

    what = "whole numbers" if entries[0] is int else "numbers"
    return (
        several_of,
        f"{count or 'any number of'} {what} joined by x, such as {'x'.join('8642'[: count or 3])}",
    )


def written(value: Any) -> str:
    """A value as it is written in a chain, to be read back as the same: 15x5 for a pair."""
    if isinstance(value, tuple):
        return "x".join(map(written, value))
    return shortest(value) if isinstance(value, float) else str(value)
