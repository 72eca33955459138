"""Figures of operating curves and of detection delays. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from bench.figures.axes import line_styles
from bench.figures.files import save_figure
from bench.figures.labels import wrap
from bench.figures.look import DOTS_PER_INCH, SIZE_INCHES, legend_columns, plain_name, styled
from bench.stream.operation import Sweep
from bench.stream.rates import Floats

# More false alarms an hour than this interest no one.
MOST_PER_HOUR = 200.0
MARKERS = ("o", "s", "^", "D", "v", "P")
# With more lines than this, crosses of intervals at the operating points would hide each other.
FEW_LINES = 4
INCHES_A_LINE, INCHES_A_TEXT = 0.42, 0.17


@dataclass(frozen=True)
class Line:
    """One run in the figures.

    Attributes:
        name: For the legend.
        validation: Errors at every threshold.
        test: The same on the test speakers.
        chosen: For each rate, the index of the threshold.
        delays_ms: For each rate, the delays of the words found on test.
    """

    name: str
    validation: Sweep
    test: Sweep
    chosen: tuple[int, ...]
    delays_ms: tuple[Floats, ...]


@styled()
def draw_curves(lines: Sequence[Line], rates_per_hour: Sequence[float], out: Path) -> list[Path]:
    """Miss rate and false alarms an hour at all thresholds, on validation and on test.

    Bands are 95 % intervals of the miss rate; marks are the thresholds chosen on validation, with both
    intervals where there are few lines.

    Returns:
        The files written.
    """
    width, height = 1.5 * SIZE_INCHES[0], SIZE_INCHES[1] + 0.1 * len(lines)
    figure = Figure((width, height), DOTS_PER_INCH, layout="constrained")
    both: Any = figure.subplots(1, 2, sharey=True, sharex=True)
    few, faint = len(lines) <= FEW_LINES, min(0.12, 0.6 / len(lines))
    for axes, split in zip(both, ("validation", "test"), strict=True):
        for line, look in zip(lines, line_styles(len(lines)), strict=True):
            swept = line.validation if split == "validation" else line.test
            _curve(axes, line, swept, look, faint=faint, crosses=few and split == "test")
        axes.set_title(_title(split, lines), loc="left", fontsize=10)
        axes.set_xlabel("false alarms an hour")
    _scales(both[0], lines)
    both[0].set_ylabel("miss rate (%)")
    handles, names = both[0].get_legend_handles_labels()
    columns = legend_columns(names, 5, width)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    both[1].legend(handles=_marks(rates_per_hour), loc="upper right", fontsize=8)
    return save_figure(figure, out / "operating_curves")


def _title(split: str, lines: Sequence[Line]) -> str:
    swept = [line.validation if split == "validation" else line.test for line in lines]
    return f"{split}\n{audio_behind(swept)}"


def audio_behind(swept: Sequence[Sweep]) -> str:
    """How much audio and how many people are behind figures, as a range where keywords or data differ."""
    hours = _range([f"{one.hours:.1f}" for one in sorted(swept, key=lambda one: one.hours)])
    clips = _range([str(count) for count in sorted(one.missed.shape[1] for one in swept)])
    speakers = _range([str(count) for count in sorted(len(set(one.speakers)) for one in swept)])
    return f"{hours} h, {clips} keyword clips, {speakers} speakers"


def _range(sizes: Sequence[str]) -> str:
    return sizes[0] if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"


def _curve(
    axes: Axes, line: Line, swept: Sweep, look: tuple[Any, str], *, faint: float, crosses: bool
) -> None:
    """One run on one split, from where false alarms are most on."""
    alarms, misses = swept.false_alarms_per_hour, 100 * swept.miss_rate
    low, high = 100 * swept.miss_rate_interval
    colour, dash = look
    shown = slice(int(np.flatnonzero(alarms == alarms.max())[-1]), None)
    axes.fill_between(alarms[shown], low[shown], high[shown], color=colour, alpha=faint, lw=0)
    axes.plot(alarms[shown], misses[shown], dash, c=colour, lw=1.5, label=plain_name(line.name), zorder=3)
    fewest, most = swept.false_alarms_interval
    # The strictest rate is drawn last: where several chose one threshold, its mark is seen.
    for number, index in reversed(list(enumerate(line.chosen))):
        x, y = alarms[index], misses[index]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(x, y, marker, c=colour, ms=7, mec="white", mew=0.8, zorder=5)
        if crosses:
            axes.plot([fewest[index], most[index]], [y, y], c=colour, lw=0.8, alpha=0.7, zorder=4)
            axes.plot([x, x], [low[index], high[index]], c=colour, lw=0.8, alpha=0.7, zorder=4)


def _scales(axes: Axes, lines: Sequence[Line]) -> None:
    """False alarms in logs down to what one alarm makes, and none at all beside that."""
    one = min(1 / swept.hours for line in lines for swept in (line.validation, line.test))
    most = max(swept.false_alarms_per_hour.max() for line in lines for swept in (line.validation, line.test))
    axes.set_xscale("symlog", linthresh=one, linscale=0.5)
    axes.set_xlim(-one / 8, max(min(most, MOST_PER_HOUR), 2 * one))
    ticks = [10.0**power * step for power in range(-3, 4) for step in (1, 2, 5)]
    axes.set_xticks([0, *(tick for tick in ticks if one <= tick <= MOST_PER_HOUR)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    highest = max(
        swept.miss_rate_interval[1, list(line.chosen)].max()
        for line in lines
        for swept in (line.validation, line.test)
    )
    top = min(110 * highest, 102)
    axes.set_ylim(-0.02 * top, top)


@styled()
def draw_delays(lines: Sequence[Line], rates_per_hour: Sequence[float], out: Path) -> list[Path]:
    """Time from the end of a word to its detection: every word, the median, and the middle 95 %.

    Returns:
        The files written.
    """
    names = [wrap(plain_name(line.name)) for line in lines]
    deepest = max(name.count("\n") + 1 for name in names)
    height = 1.6 + max(INCHES_A_LINE, INCHES_A_TEXT * deepest) * len(lines)
    figure = Figure((SIZE_INCHES[0], height), DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    for row, (line, (colour, _)) in enumerate(zip(lines, line_styles(len(lines)), strict=True)):
        for number, delays in enumerate(line.delays_ms):
            at = row + 0.5 * ((number + 0.5) / len(line.delays_ms) - 0.5)
            marker = MARKERS[number % len(MARKERS)]
            _delay(axes, delays, at, colour, marker)
    axes.set_yticks(range(len(lines)), names)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, c="0.4", lw=1, ls="--", zorder=1)
    axes.set_xlabel("detection after the end of the word (ms), test")
    marks = _marks(rates_per_hour)
    figure.legend(handles=marks, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return save_figure(figure, out / "detection_delays")


def _delay(axes: Axes, delays: Floats, at: float, colour: Any, marker: str) -> None:
    """The words found by one run at one threshold, as one line of the figure."""
    if not len(delays):
        return
    axes.plot(delays, np.full(len(delays), at), "|", c=colour, ms=5, alpha=0.25, zorder=2)
    low, median, high = np.percentile(delays, [2.5, 50, 97.5])
    axes.plot([low, high], [at, at], "-", c=colour, lw=1.2, zorder=3)
    axes.plot(median, at, marker, c=colour, ms=7, mec="white", mew=0.8, zorder=4)


def _marks(rates_per_hour: Sequence[float]) -> list[Line2D]:
    """What the marks mean, for a legend."""
    return [
        Line2D([], [], ls="", marker=marker, c="0.4", ms=6, label=f"{rate:g} an hour allowed")
        for rate, marker in zip(rates_per_hour, cycle(MARKERS), strict=False)
    ]
