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

# From this ratio of the greatest to the least value on, an axis is logarithmic.
LOG_FROM = 4.0
QUALITY_LOG_FROM = 20.0
AXES = {
    "size_kb": "size of the saved weights (KB)",
    "au_fa_fr": "au_fa_fr{}, lower is better",
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
    """Points of one series; the legend has it unless its name is empty."""
    if len(rows):
        axes.scatter(rows[x], rows[y], s=40, color=[colour], label=name, alpha=alpha, linewidths=0, zorder=3)


def finish(axes: Axes, rows: pd.DataFrame, x: str, y: str, colours: Iterable[str] = ()) -> None:
    """Axes with units, a legend where there are series to tell apart, and every point's name."""
    axes.margins(0.14)
    for side, name in (("x", x), ("y", y)):
        _scale(axes, side, name, rows[name])
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(frameon=False)
    place_labels(axes, list(rows["label"]), list(rows[x]), list(rows[y]), list(colours))


def _scale(axes: Axes, side: str, name: str, values: pd.Series[float]) -> None:
    """Linear or logarithmic as the values ask for, with ticks that read as plain numbers."""
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = values.min(), values.max()
    quality = name == "au_fa_fr"
    ratio = high / low if low > 0 else 0.0
    exponent = math.floor(math.log10(high)) if quality and high > 0 else 0
    exponent = exponent if exponent < -2 else 0
    if name != "took" and ratio >= (QUALITY_LOG_FROM if quality else LOG_FROM):
        axes.set(**{f"{side}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 1000 else (1,)))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10], integer=name == "took"))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10**exponent:,.6g}"))
    power = f" (10{str(exponent).translate(SUPERSCRIPT)})" if exponent else ""
    axes.set(**{f"{side}label": AXES.get(name, name).format(power)})
