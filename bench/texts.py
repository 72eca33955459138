"""What is printed to the terminal: names as they are, and not more of them than anyone reads."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

NAME_CHARACTERS = 80


def plain_console() -> Console:
    """Prints names as they are: brackets and colons in labels, words and paths mean nothing to it."""
    return Console(highlight=False, markup=False, emoji=False)


def several(names: Iterable[object], most: int = 20) -> str:
    """Names for a message, the first few of many and the beginnings of long ones.

    Examples:
        >>> several(["B", "KD", "SP"], most=2)
        'B, KD and 1 more'
    """
    unique = list(dict.fromkeys(" ".join(str(name)[:NAME_CHARACTERS].split()) for name in names))
    more = f" and {len(unique) - most:,} more" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more
