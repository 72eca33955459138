"""Numbers as people type them: plain ASCII, and finite."""

from __future__ import annotations

import math
import re

# More digits than anything that is typed needs, and still a whole number of 64 bits.
MOST_DIGITS = 18
_WHOLE = re.compile(rf"[+-]?[0-9]{{1,{MOST_DIGITS}}}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


def whole(text: str) -> int:
    """Reads a whole number; ``int`` alone also takes spaces, underscores and the digits of other scripts.

    Raises:
        ValueError: It is none, or has more digits than are needed.

    Examples:
        >>> whole("-12")
        -12
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no whole number of at most {MOST_DIGITS} digits, such as 12")
    return int(text)


def number(text: str) -> float:
    """Reads a finite number; ``float`` alone also takes nan, inf and what ``int`` takes.

    Raises:
        ValueError: It is none, or too large.

    Examples:
        >>> number("1e3"), number(".5")
        (1000.0, 0.5)
    """
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise ValueError(f"{text!r} is no finite number such as 0.5 or 1e3")
    return value + 0.0  # -0 is 0


def shortest(value: float) -> str:
    """The shortest text that ``number`` reads back as that very value; without a plus, which joins chains.

    Examples:
        >>> shortest(5.0), shortest(0.9), shortest(1e300)
        ('5', '0.9', '1e300')
    """
    return repr(float(value)).removesuffix(".0").replace("e+", "e")
