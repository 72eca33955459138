"""The confusion figure: which class is taken for which, from the tables that runs kept; without torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from bench.figures.files import NothingToDrawError
from bench.figures.look import DOTS_PER_INCH, plain_name
from bench.figures.rows import of_words
from bench.quality.confusion import CONFUSION_FILE, read_confusion
from bench.quality.metrics import Floats
from models.errors import ResultsError

CONFUSION = "confusion"
# With more classes cells are too small for a number, and a picture has one model.
MOST_NUMBERED = 12
MODELS_A_PICTURE = 4
PANEL_INCHES = {True: 4.2, False: 8.0}


def confusion_figures(table: pd.DataFrame, runs: Path | None, title: str) -> Iterator[tuple[str, Figure]]:
    """Pictures of a few models each, with what they are called: cells are shares of a true class's clips.

    Args:
        table: Results of one task, with ``run_id`` and ``label``; repeated runs of a label are averaged.
        runs: The folder of the run folders.
        title: Of each picture.

    Raises:
        NothingToDrawError: The task is a keyword's, or there are no such tables of these runs.
    """
    found, missing = _by_label(table, runs)
    numbered = max(map(len, found.values())) <= MOST_NUMBERED
    note = f"no {CONFUSION_FILE} kept, so left out: {', '.join(missing)}" if missing else ""
    heading = "\n".join(filter(None, (title, note)))
    models, most = list(found.items()), MODELS_A_PICTURE if numbered else 1
    for number, at in enumerate(range(0, len(models), most), start=1):
        name = CONFUSION if number == 1 else f"{CONFUSION}-{number}"
        yield name, _picture(models[at : at + most], numbered, heading)


def shares(counts: pd.DataFrame) -> Floats:
    """Each row of counts over its sum; nothing for a class without clips.

    Examples:
        >>> shares(pd.DataFrame([[3, 1], [0, 0]])).tolist()
        [[0.75, 0.25], [0.0, 0.0]]
    """
    values = counts.to_numpy(np.float64)
    clips = values.sum(axis=1, keepdims=True)
    found: Floats = np.divide(values, clips, out=np.zeros_like(values), where=clips > 0)
    return found


def _by_label(table: pd.DataFrame, runs: Path | None) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The mean counts of each label, and the labels without."""
    if not of_words(table).all():
        raise NothingToDrawError("it is of tasks of several words")
    if runs is None or "run_id" not in table:
        raise NothingToDrawError("the table names no runs whose confusion tables could be read")
    done = table[table["status"] == "ok"] if "status" in table else table
    kept: dict[str, list[pd.DataFrame]] = {}
    for row in done.drop_duplicates(["label", "run_id"]).itertuples():
        one = _counts_of(runs / str(row.run_id))
        kept.setdefault(plain_name(row.label), []).extend([] if one is None else [one])
    found = {label: _mean(label, many) for label, many in kept.items() if many}
    if not found:
        raise NothingToDrawError(f"no tables of the runs in {runs}/<run id>/{CONFUSION_FILE}")
    return found, [label for label, many in kept.items() if not many]


def _counts_of(run: Path) -> pd.DataFrame | None:
    """The table of a run; None where it kept none.

    Raises:
        NothingToDrawError: It is damaged: a figure without it would look whole.
    """
    if not (run / CONFUSION_FILE).exists():
        return None
    try:
        return read_confusion(run)
    except ResultsError as error:
        raise NothingToDrawError(str(error)) from None


def _mean(label: str, many: list[pd.DataFrame]) -> pd.DataFrame:
    first = many[0]
    if any(list(each.index) != list(first.index) for each in many):
        raise NothingToDrawError(f"the runs of {label} are of different classes")
    return sum(many[1:], start=first) / len(many)


def _picture(models: list[tuple[str, pd.DataFrame]], numbered: bool, title: str) -> Figure:
    columns = min(len(models), 2)
    rows, side = math.ceil(len(models) / columns), PANEL_INCHES[numbered]
    figure = Figure((columns * side + 0.8, rows * side + 0.4), DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (label, counts) in zip(panels, models, strict=False):
        _panel(axes, label, counts, numbered)
    for axes in panels[len(models) :]:
        axes.remove()
    bar = figure.colorbar(panels[0].images[0], ax=list(panels[: len(models)]), shrink=0.6, pad=0.02)
    bar.set_label("share of the true class's test clips")
    return figure


def _panel(axes: Axes, label: str, counts: pd.DataFrame, numbered: bool) -> None:
    part, places = shares(counts), range(len(counts))
    # By the root of a share: confusions are few, and are what is looked for.
    axes.imshow(part, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    axes.grid(visible=False)
    axes.set_title(label, fontsize=10)
    names, size = [plain_name(name)[:16] for name in counts.index], 8 if numbered else 7
    axes.set_xticks(places, names, rotation=90, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    axes.set(xlabel="said", ylabel="true")
    if numbered:
        for (row, column), count in np.ndenumerate(counts.to_numpy(np.float64)):
            colour = "white" if part[row, column] > 0.25 else "0.25"
            text = f"{count:.0f}" if count >= 100 else f"{count:.3g}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
