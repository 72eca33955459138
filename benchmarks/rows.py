"""One line of the table: a measure, the plain way's figure and the toolkit's."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A measure.

    Attributes:
        what: Its name, with its unit.
        plain: Figures of the plain way, one a lap; empty where there is no such way.
        ours: Figures of the toolkit.
        more_is_better: Clips per second, for example.
        note: What else there is to know.
        compare: Whether the ratio of the medians says something.
    """

    what: str
    ours: list[float]
    plain: list[float] = field(default_factory=list)
    more_is_better: bool = False
    note: str = ""
    compare: bool = True

    @property
    def ratio(self) -> float | None:
        """How many times better the toolkit's median is; None where there is nothing to compare."""
        if not (self.plain and self.ours and self.compare):
            return None
        plain, ours = statistics.median(self.plain), statistics.median(self.ours)
        if not plain or not ours:
            return None
        return ours / plain if self.more_is_better else plain / ours


def figure(values: list[float]) -> str:
    """The median, with three digits that count.

    Example:
        >>> figure([1.0, 1234567.0, 8123.4])
        '8,120'
        >>> figure([0.012345])
        '0.0123'
    """
    if not values:
        return ""
    median = statistics.median(values)
    if abs(median) >= 1000:
        digits = len(str(int(abs(median)))) - 3
        return f"{round(median, -digits):,.0f}"
    return f"{median:#.3g}".rstrip(".")
