"""Points, scales and ticks that the figures share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from bench.figures.labels import place_labels
from bench.quality.measures import Measure, measure_named

# From this ratio of the greatest to the least value on, an axis is logarithmic.
LOG_FROM = 4.0
QUALITY_LOG_FROM = 20.0
# What is less is drawn as nothing at all.
LEAST = 1e-15
AXES = {
    "size_kb": "size of the saved weights (KB)",
    "kilo_macs": "MACs on 2 s of audio (thousands)",
}
FLOAT, QUANTIZED = sns.color_palette("colorblind", 2)
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

DASHES = ("-", "--", ":")


def line_styles(count: int) -> list[tuple[Any, str]]:
    """A colour and a dash for each of many lines; no two have both in common up to thirty."""
    colours = sns.color_palette("colorblind", 10)
    return [(colours[n % 10], DASHES[n // 10 % len(DASHES)]) for n in range(count)]


def series(rows: pd.DataFrame, axes: Axes, x: str, y: str) -> None:
    """Float and quantized models in two colours."""
    scatter(axes, rows[~rows["quantized"]], x, y, "float", FLOAT)
    scatter(axes, rows[rows["quantized"]], x, y, "quantized", QUANTIZED)


def scatter(
    axes: Axes, rows: pd.DataFrame, x: str, y: str, name: str, colour: Any, alpha: float = 1.0
) -> None:
    """Points of one series, with their intervals; the legend has it unless its name is empty."""
    if rows.empty:
        return
    axes.scatter(rows[x], rows[y], s=40, color=[colour], label=name, alpha=alpha, linewidths=0, zorder=3)
    spread = _with_interval(rows, y)
    if len(spread):
        ends = [spread[f"{y}_low"], spread[f"{y}_high"]]
        axes.plot([spread[x]] * 2, ends, "-", c=colour, lw=1.2, alpha=0.5 * alpha, zorder=2)


def _with_interval(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows whose measure has both ends of an interval."""
    ends = [f"{name}_low", f"{name}_high"]
    return rows.dropna(subset=ends) if set(ends) <= set(rows) else rows.iloc[:0]


def finish(axes: Axes, rows: pd.DataFrame, x: str, y: str, colours: Iterable[str] = ()) -> None:
    """Axes with units, a legend where there are series to tell apart, and every point's name."""
    axes.margins(0.14)
    for side, name in (("x", x), ("y", y)):
        _scale(axes, side, name, rows)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(frameon=False)
    place_labels(axes, list(rows["label"]), list(rows[x]), list(rows[y]), list(colours))


def _scale(axes: Axes, side: str, name: str, rows: pd.DataFrame) -> None:
    """Linear or logarithmic as values and intervals ask for, with ticks that read as plain numbers."""
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = rows[name].min(), rows[name].max()
    quality = measure_named(name)
    exponent = math.floor(math.log10(high)) if quality and high > LEAST else 0
    exponent = exponent if exponent < -2 else 0
    spread = _with_interval(rows, name)
    if len(spread):
        high = max(high, spread[f"{name}_high"].max())
    ratio = high / low if low > LEAST else 0.0
    if name != "took" and ratio >= _log_from(quality):
        axes.set(**{f"{side}scale": "log"})
        if len(spread):
            # The ends near 0 would take most of the axis.
            axes.set_ylim(max(low / 3, min(low, spread[f"{name}_low"].min()) / 1.5), 1.5 * high)
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 1000 else (1,)))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10], integer=name == "took"))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10**exponent:,.6g}"))
    power = f" (10{str(exponent).translate(SUPERSCRIPT)})" if exponent else ""
    text = _text_of(quality, power) if quality else AXES.get(name, name)
    bars = "\nbars: 95 % intervals" if len(spread) else ""
    axes.set(**{f"{side}label": text + bars})


def _log_from(quality: Measure | None) -> float:
    """The ratio from which on an axis is logarithmic; never where more is better."""
    if quality is None:
        return LOG_FROM
    return QUALITY_LOG_FROM if quality.lower_is_better else math.inf


def _text_of(quality: Measure, power: str) -> str:
    unit = f" ({quality.unit})" if quality.unit else ""
    return f"{quality.text}{unit}{power}, {'lower' if quality.lower_is_better else 'higher'} is better"
