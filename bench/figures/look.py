"""What all figures look like: their style, their size, and names as they can be drawn."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import seaborn as sns

# README width: 6.4 inches at 150 dots.
SIZE_INCHES = (6.4, 4.0)
DOTS_PER_INCH = 150
# So much of a name is drawn.
NAME_CHARACTERS = 80
# Of a legend's text, and what a name's own mark takes of it.
LEGEND_CHARACTERS_AN_INCH, LEGEND_MARK_CHARACTERS = 13, 6
SETTINGS: Any = {
    # A fixed salt makes the SVG's identifiers, and so the file, the same each time.
    "svg.hashsalt": "kws-bench",
    "font.size": 10,
    # Names are anyone's: a dollar sign in them is a dollar sign.
    "text.parse_math": False,
}
Style = Literal["whitegrid"] | None


@contextmanager
def styled(style: Style = "whitegrid") -> Iterator[None]:
    """The settings under which every figure is made and saved.

    Args:
        style: Of seaborn's; None for matplotlib's own.
    """
    with sns.axes_style(style), mpl.rc_context(SETTINGS), warnings.catch_warnings():
        # The font's box stands for what it lacks; there is nothing that a reader could do about it.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


def plain_name(name: object) -> str:
    """A name as one line of a figure: of printable characters, and of ``NAME_CHARACTERS`` at most.

    Examples:
        >>> plain_name("KD" + chr(10) + "(2)"), plain_name("_own"), len(plain_name("x" * 1000))
        ('KD (2)', ' _own', 80)
    """
    text = str(name)[: 4 * NAME_CHARACTERS]
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    if len(text) > NAME_CHARACTERS:
        text = text[: NAME_CHARACTERS - 1] + "…"
    # Legends pass over names that begin with an underscore.
    return f" {text}" if text.startswith("_") else text


def legend_columns(names: Iterable[str], most: int, inches: float = SIZE_INCHES[0]) -> int:
    """How many columns of names fit beside each other below or above a figure.

    Args:
        names: As they are drawn.
        most: However short they are.
        inches: Width of the figure.

    Examples:
        >>> legend_columns(["B", "KD"], 4), legend_columns(["B", "x" * 80], 4)
        (4, 1)
    """
    longest = max(map(len, names), default=0) + LEGEND_MARK_CHARACTERS
    return max(1, min(most, int(inches * LEGEND_CHARACTERS_AN_INCH) // longest))
