"""One line of the table: a measure, the plain way's figure and the toolkit's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from scipy.stats import t as student


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


def mean_difference(name: str, ours: Sequence[float], other: Sequence[float]) -> str:
    """The mean of paired differences with its 95 % interval by Student's t, as a note.

    Example:
        >>> mean_difference("a - b", [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
        "mean difference a - b +2, 95 % interval -0.48 to +4.5 over 3 keywords (paired, Student's t)"
    """
    differences = [a - b for a, b in zip(ours, other, strict=True)]
    if len(differences) < 2:
        return f"difference {name} {differences[0]:+.2g} of one keyword, without an interval"
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half, middle = float(student.ppf(0.975, len(differences) - 1)) * error, statistics.mean(differences)
    return (
        f"mean difference {name} {middle:+.2g}, 95 % interval {middle - half:+.2g} to {middle + half:+.2g} "
        f"over {len(differences)} keywords (paired, Student's t)"
    )
