"""Figures from a table of results; nothing here trains, and nothing needs torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from bench.labels import place_labels

# README width: 6.4 inches at 150 dots.
SIZE_INCHES = (6.4, 4.0)
DOTS_PER_INCH = 150
AXES = {
    "size_kb": "size of the saved weights (KB)",
    "au_fa_fr": "au_fa_fr, lower is better",
    "kilo_macs": "multiply-accumulates on 2 s of audio (thousands)",
    "took": "epochs to the target, or to the best",
}
FLOAT, QUANTIZED = sns.color_palette("colorblind", 2)


def tokens(label: str) -> tuple[str, ...]:
    """The compressors in a label, without options and without the study's numbering.

    Example:
        >>> tokens("DQ+KD2"), tokens("SP+KD(hidden=12)"), tokens("B")
        (('dq', 'kd'), ('sp', 'kd'), ())
    """
    names = [re.sub(r"(\(.*\)|\d+$)", "", piece).lower() for piece in label.split("+")]
    return tuple(name for name in names if name != "b")


def by_label(table: pd.DataFrame) -> pd.DataFrame:
    """One row a label, in order of appearance: repeated runs are averaged, failed ones left out."""
    done = table[table["status"] == "ok"] if "status" in table else table
    means = done.groupby("label", sort=False).mean(numeric_only=True).reset_index()
    means["tokens"] = means["label"].map(tokens)
    means["quantized"] = means["tokens"].map(lambda names: "dq" in names)
    means["kilo_macs"] = means["macs"] / 1000
    return means


def quantization(rows: pd.DataFrame, axes: Axes) -> bool:
    """Quality over size, every model joined to its quantized form."""
    quantized = rows[rows["quantized"]]
    floats = rows[~rows["quantized"]].set_index("label")
    joined = [row for _, row in quantized.iterrows() if row["label"].removeprefix("DQ+") in floats.index]
    if not joined:
        return False
    for row in joined:
        source = floats.loc[row["label"].removeprefix("DQ+")]
        axes.plot(
            [source["size_kb"], row["size_kb"]], [source["au_fa_fr"], row["au_fa_fr"]], "--", c="0.6", lw=1
        )
    _scatter(axes, floats.reset_index(), "size_kb", "au_fa_fr", "float", FLOAT)
    _scatter(axes, quantized, "size_kb", "au_fa_fr", "quantized", QUANTIZED)
    _finish(axes, rows, "size_kb", "au_fa_fr", log="x")
    return True


def distillation(rows: pd.DataFrame, axes: Axes) -> bool:
    """Quality over size of the base and the distilled students, joined from large to small."""
    distilled = rows[rows["tokens"].map(lambda names: set(names) <= {"kd", "ad"})]
    distilled = distilled.sort_values("size_kb", ascending=False)
    if len(distilled) < 2:
        return False
    axes.plot(distilled["size_kb"], distilled["au_fa_fr"], "-", c="0.6", lw=1)
    _scatter(axes, distilled, "size_kb", "au_fa_fr", "distilled", FLOAT)
    _finish(axes, distilled, "size_kb", "au_fa_fr", log="x")
    return True


def size_vs_epochs(rows: pd.DataFrame, axes: Axes) -> bool:
    """Size over the epochs that training took: to the target where one was set, else to the best."""
    trained = rows[~rows["quantized"] & rows["tokens"].map(bool)].copy()
    ways = [name for name in ("epochs_to_target", "best_epoch", "epochs") if name in trained]
    trained["took"] = trained[ways].bfill(axis=1).iloc[:, 0] if ways else np.nan
    trained = trained.dropna(subset="took")
    if trained.empty:
        return False
    _scatter(axes, trained, "took", "size_kb", "students", FLOAT)
    _finish(axes, trained, "took", "size_kb")
    return True


def size_vs_macs(rows: pd.DataFrame, axes: Axes) -> bool:
    """Size over multiply-accumulates, float and quantized models joined."""
    for quantized, name, colour in ((False, "float", FLOAT), (True, "quantized", QUANTIZED)):
        series = rows[rows["quantized"] == quantized].sort_values("kilo_macs")
        axes.plot(series["kilo_macs"], series["size_kb"], "-", c=colour, lw=1, alpha=0.6)
        _scatter(axes, series, "kilo_macs", "size_kb", name, colour)
    _finish(axes, rows, "kilo_macs", "size_kb", log="xy")
    return not rows.empty


KINDS: dict[str, Callable[[pd.DataFrame, Axes], bool]] = {
    draw.__name__: draw for draw in (quantization, distillation, size_vs_epochs, size_vs_macs)
}


def draw_figures(table: pd.DataFrame, out: Path, kinds: Iterable[str] = tuple(KINDS)) -> list[Path]:
    """Draws figures as PNG and SVG.

    Args:
        table: Results, this toolkit's own or the published ones.
        out: Folder for the files; made if missing.
        kinds: Names from ``KINDS``.

    Returns:
        The files written; a figure that the table has no rows for is left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = by_label(table)
    written = []
    # A fixed salt makes the SVG's identifiers, and so the file, the same each time.
    with sns.axes_style("whitegrid"), mpl.rc_context({"svg.hashsalt": "kws-bench", "font.size": 10}):
        for kind in kinds:
            figure = Figure(SIZE_INCHES, DOTS_PER_INCH, layout="constrained")
            FigureCanvasAgg(figure)
            if not KINDS[kind](rows, figure.subplots()):
                continue
            for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
                path = out / f"{kind}.{suffix}"
                figure.savefig(path, metadata=metadata)
                written.append(path)
    return written


def _scatter(axes: Axes, rows: pd.DataFrame, x: str, y: str, name: str, colour: object) -> None:
    axes.scatter(rows[x], rows[y], s=40, color=[colour], label=name, zorder=3)


def _finish(axes: Axes, rows: pd.DataFrame, x: str, y: str, *, log: str = "") -> None:
    """Axes with units, a legend where there are series to tell apart, and every point's name."""
    axes.set(xlabel=AXES.get(x, x), ylabel=AXES.get(y, y))
    axes.margins(0.12)
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name in log:
            axes.set(**{f"{name}scale": "log"})
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(frameon=False)
    place_labels(axes, [name.replace("(", "\n(") for name in rows["label"]], list(rows[x]), list(rows[y]))
