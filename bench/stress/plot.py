"""What ``bench stress`` found, drawn: one figure a family. Nothing here needs torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.figures.files import save_figure
from bench.figures.look import DOTS_PER_INCH, SIZE_INCHES, legend_columns, plain_name, styled
from bench.stress.conditions import FAMILIES, NEUTRAL
from bench.stress.errors import asked, error_name, errors

HEIGHT_INCHES, PANEL_INCHES, LINE_INCHES = 3.2, 2.6, 0.2
LABELS = {
    "snr": "signal-to-noise ratio (dB)",
    "reverberation": "RT60 (s)",
    "level": "change of level (dB), clipped at full scale",
    "rate": "speaking rate",
}
# Text where a family leaves the clip as it is.
NEUTRAL_TEXTS = {"snr": "clean", "reverberation": "none", "level": "0", "rate": "1"}
MARKERS = "osD^vPX*<>"
# Models stand side by side within this share of the way to the next condition.
SPREAD = 0.4
LEGEND_COLUMNS = 3
PLAIN_FROM = 0.001


@styled()
def draw_stress(table: pd.DataFrame, out: Path) -> list[Path]:
    """Draws the error over each family's conditions, a line a model with its intervals, as PNG and SVG.

    Args:
        table: From ``stress``, or a ``stress.csv`` as pandas reads it.
        out: Folder for the files, made if missing.

    Returns:
        The files written; none for a family that the table lacks.
    """
    written = []
    for family in FAMILIES:
        if (table["family"] == family).any():
            written += save_figure(family_figure(table, family), out / f"stress-{family}")
    return written


def family_figure(table: pd.DataFrame, family: str) -> Figure:
    """One family: small multiples by type of noise, with one scale for all, or a single panel.

    Args:
        table: As in ``draw_stress``; holds rows of the family.
        family: Of ``FAMILIES``.
    """
    title = f"{plain_name(table.iloc[0]['data'])}, {plain_name(asked(table))}"
    name_of_error = error_name(table)
    table = table.join(errors(table))
    rows = table[table["family"] == family].assign(kind=lambda part: part["kind"].fillna(""))
    clean = table[table["family"] == "clean"].assign(value=NEUTRAL[family])
    kinds = list(dict.fromkeys(rows["kind"]))
    across = min(2, len(kinds))
    down = math.ceil(len(kinds) / across)
    names = list(dict.fromkeys(table["name"]))
    columns = legend_columns(map(plain_name, names), LEGEND_COLUMNS)
    legend_lines = 1 + math.ceil(len(names) / columns)
    height = (HEIGHT_INCHES if down == 1 else down * PANEL_INCHES) + LINE_INCHES * legend_lines
    figure = Figure((SIZE_INCHES[0], height), DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, kind in zip(panels, kinds, strict=False):
        _panel(panel, pd.concat([clean, rows[rows["kind"] == kind]]), family, names)
        if kind:
            panel.set_title(f"{kind} noise", loc="left", fontsize=10)
    for unused in panels[len(kinds) :]:
        unused.remove()
    _scale(panels[0], pd.concat([clean, rows]))
    figure.supxlabel(LABELS[family], fontsize=10)
    figure.supylabel(f"{name_of_error} on test, lower is better", fontsize=10)
    handles, texts = panels[0].get_legend_handles_labels()
    # Title and legend in one: two things outside the panels would be laid over each other.
    figure.legend(
        handles,
        texts,
        title=title,
        title_fontsize=10,
        alignment="left",
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=9,
    )
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, family: str, names: Sequence[str]) -> None:
    """A line a model, over conditions at equal distances, beginning or going through the clean clips."""
    values = sorted(rows["value"].unique(), reverse=family == "snr")
    colours = sns.color_palette("colorblind", max(len(names), 1))
    for number, name in enumerate(names):
        own = rows[rows["name"] == name].set_index("value").reindex(values)
        aside = (number - (len(names) - 1) / 2) * SPREAD / max(len(names), 3)
        at, height = np.arange(len(values)) + aside, own["error"].to_numpy(dtype=float)
        ends = own[["error_low", "error_high"]].to_numpy(dtype=float)
        colour, marker = colours[number], MARKERS[number % len(MARKERS)]
        axes.plot(at, height, "-", c=colour, lw=1.3, marker=marker, ms=4.5, label=plain_name(name))
        axes.vlines(at, ends[:, 0], ends[:, 1], colors=[colour], lw=1.3, alpha=0.55)
    axes.set_xticks(range(len(values)), [_tick(value, family) for value in values])
    axes.grid(False, axis="x")


def _tick(value: float, family: str) -> str:
    if value == NEUTRAL[family]:
        return NEUTRAL_TEXTS[family]
    return f"{value:+g}" if family == "level" else f"{value:g}"


def _scale(axes: Axes, rows: pd.DataFrame) -> None:
    """Logarithmic above the least value; what is below, as an interval's end or no error at all, is cut."""
    values = rows["error"]
    least = values[values > 0].min()
    if math.isnan(least):
        return
    floor = least / 2
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(floor, min(1.0, max(rows["error_high"].max(), values.max()) * 1.3))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if 1 / floor < 200 else (1,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))


def _plain(value: float) -> str:
    return f"{value:g}" if value >= PLAIN_FROM else f"{value:.0e}".replace("e-0", "e-")
