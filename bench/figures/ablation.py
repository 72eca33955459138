"""The figure of an ablation: a chain, and the same without each of its compressors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.figures.files import NothingToDrawError, save_figure
from bench.figures.look import DOTS_PER_INCH, plain_name, styled
from bench.quality.measures import compared_by

# Columns, what their axes say, and what is shown of them.
PANELS = (
    ("size_kb", "size (KB)", 1.0),
    ("macs", "kMACs on 2 s", 1000.0),
)


@styled(None)
def draw_ablation(table: pd.DataFrame, stem: Path, title: str) -> list[Path]:
    """Bars for size, MACs and quality: the whole chain first, then what each compressor is missed for.

    Args:
        table: From ``bench.studies.ablation.contributions``.
        stem: Of the files, without a suffix.
        title: Of the figure.

    Raises:
        NothingToDrawError: No variant has a row.
    """
    rows = table[table["runs"] > 0]
    if rows.empty:
        raise NothingToDrawError("no variant of the chain has a row")
    names = [_name(plain_name(left_out)) for left_out in rows["left_out"]]
    colours = [sns.color_palette("colorblind")[0 if name == "whole chain" else 7] for name in names]
    figure = Figure(figsize=(9.0, 1.2 + 0.42 * len(rows)), dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(plain_name(title), x=0.01, ha="left", fontsize=10)
    quality = compared_by(list(table.columns))
    shown = (*PANELS, (quality.name, f"{quality.text} on test, 95 % interval", 1.0))
    panels = figure.subplots(1, len(shown), sharey=True)
    places = np.arange(len(rows))
    for axes, (column, name, unit) in zip(panels, shown, strict=True):
        values = rows[column].to_numpy(dtype=float) / unit
        axes.barh(places, values, color=colours, height=0.62)
        if column == quality.name:
            low, high = (rows[f"{column}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
            spread = np.clip(np.stack([values - low, high - values]), 0, None)
            axes.errorbar(values, places, xerr=spread, fmt="none", ecolor="0.25", capsize=2, linewidth=1)
        for place, value in zip(places, values, strict=True):
            beside = {"xycoords": ("axes fraction", "data"), "va": "center", "size": 8}
            axes.annotate(_short(value), (1.01, place), **beside)
        axes.set(xlabel=name)
        sns.despine(ax=axes)
    panels[0].set_yticks(places, names)
    panels[0].invert_yaxis()
    return save_figure(figure, stem)


def _name(left_out: str) -> str:
    return {"nothing": "whole chain", "all": "base"}.get(left_out, f"without {left_out}")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
