"""Figures from a table of results; nothing here trains, and nothing needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.figures.axes import FLOAT, QUANTIZED, finish, scatter, series
from bench.figures.confusion import CONFUSION, confusion_figures
from bench.figures.det import DET, det
from bench.figures.files import NothingToDrawError, save_figure
from bench.figures.look import DOTS_PER_INCH, NAME_CHARACTERS, SIZE_INCHES, plain_name, styled
from bench.figures.rows import by_label, drawn_measures, groups, of_words, title_of
from bench.quality.measures import Measure
from models.errors import ResultsError

# Figures with more points than this grow, so that every name finds a place.
ROOMY_POINTS = 12
INCHES_A_POINT = 0.2
# With many more no name would be read.
MOST_MODELS = 40
# All words of Speech Commands are 35.
MOST_FOLDERS = 40
EPOCHS = {"epochs_to_target": "epochs to the target", "best_epoch": "epochs to the best", "epochs": "epochs"}
DISTILLERS = {"kd", "ad"}
OTHERS = sns.color_palette("colorblind", 3)[2]


@dataclass(frozen=True)
class Drawn:
    """What came of a table.

    Attributes:
        written: The files.
        left_out: What is not drawn: figures that the table has no rows for, each with the reason, and what
            is more than ``MOST_MODELS`` or ``MOST_FOLDERS``.
    """

    written: list[Path]
    left_out: list[str]


def quantization(rows: pd.DataFrame, axes: Axes, y: Measure) -> None:
    """Quality over size, every model joined to its quantized form."""
    rows = _measured(rows, "size_kb", y.name)
    if not _join_quantized(rows, axes, "size_kb", y.name):
        raise NothingToDrawError("no model is there both float and quantized")
    series(rows, axes, "size_kb", y.name)
    finish(axes, rows, "size_kb", y.name)


def metric_vs_macs(rows: pd.DataFrame, axes: Axes, y: Measure) -> None:
    """Quality over multiply-accumulates; quantization changes the quality alone."""
    # A model and its quantized form stand above each other: their intervals would hide the difference.
    rows = _measured(rows, "kilo_macs", y.name).drop(
        columns=[f"{y.name}_low", f"{y.name}_high"], errors="ignore"
    )
    _join_quantized(rows, axes, "kilo_macs", y.name)
    series(rows, axes, "kilo_macs", y.name)
    finish(axes, rows, "kilo_macs", y.name)


def distillation(rows: pd.DataFrame, axes: Axes, y: Measure) -> None:
    """Quality over size of the base and the distilled students, joined from large to small.

    Students that other compressors made smaller too stand beside the line; where there are no others, the
    line is theirs.
    """
    rows = _measured(rows[~rows["quantized"]], "size_kb", y.name)
    base = rows["tokens"].map(len) == 0
    taught = rows["tokens"].map(lambda names: bool(DISTILLERS & set(names)))
    alone = taught & rows["tokens"].map(lambda names: set(names) <= DISTILLERS)
    if not taught.any() or (base | taught).sum() < 2:
        raise NothingToDrawError("it takes the base and a distilled student, or two of those")
    joined = base | (alone if alone.any() else taught)
    line = rows[joined].sort_values("size_kb", ascending=False)
    axes.plot(line["size_kb"], line[y.name], "-", c="0.6", lw=1)
    scatter(axes, line, "size_kb", y.name, "by distillation alone", FLOAT)
    scatter(axes, rows[taught & ~joined], "size_kb", y.name, "with other compressors", OTHERS)
    finish(axes, rows[base | taught], "size_kb", y.name)


def size_vs_epochs(rows: pd.DataFrame, axes: Axes) -> None:
    """Size over the epochs that training took: to the target where one was set, else to the best."""
    _over_epochs(rows, axes, "size_kb")


def macs_vs_epochs(rows: pd.DataFrame, axes: Axes) -> None:
    """Multiply-accumulates over the epochs that training took."""
    _over_epochs(rows, axes, "kilo_macs")


def size_vs_macs(rows: pd.DataFrame, axes: Axes) -> None:
    """Size over multiply-accumulates, float models joined, and those of each converter."""
    rows = _measured(rows, "kilo_macs", "size_kb")
    for converter, joined in rows.sort_values(["kilo_macs", "size_kb"]).groupby("converter"):
        colour = QUANTIZED if converter else FLOAT
        axes.plot(joined["kilo_macs"], joined["size_kb"], "-", c=colour, lw=1, alpha=0.6)
    series(rows, axes, "kilo_macs", "size_kb")
    finish(axes, rows, "kilo_macs", "size_kb")


def pareto_size(rows: pd.DataFrame, axes: Axes, y: Measure) -> None:
    """Quality over size: the models that no other beats in both are joined, all others faded."""
    _pareto(rows, axes, "size_kb", y)


def pareto_macs(rows: pd.DataFrame, axes: Axes, y: Measure) -> None:
    """Quality over multiply-accumulates: the models that no other beats in both are joined."""
    _pareto(rows, axes, "kilo_macs", y)


OF_QUALITY = {
    draw.__name__: draw for draw in (quantization, distillation, metric_vs_macs, pareto_size, pareto_macs)
}
OF_COST = {draw.__name__: draw for draw in (size_vs_epochs, size_vs_macs, macs_vs_epochs)}
OF_THE_STUDY = ("quantization", "distillation", "size_vs_epochs", "size_vs_macs", "metric_vs_macs")
KINDS = (*OF_THE_STUDY, "macs_vs_epochs", "pareto_size", "pareto_macs")
# Two of them take more than a table.
ALL_KINDS = (*KINDS, DET, CONFUSION)


def kinds_of(table: pd.DataFrame) -> tuple[str, ...]:
    """All figures that the tasks of a table have."""
    words = of_words(table)
    other = {DET} if words.all() else set() if words.any() else {CONFUSION}
    return tuple(kind for kind in ALL_KINDS if kind not in other)


def non_dominated(x: Iterable[float], y: Iterable[float]) -> list[bool]:
    """Which points no other beats: none is at most as large in both and smaller in one.

    Examples:
        >>> non_dominated([1, 2, 3, 2], [3, 2, 2, 2])
        [True, True, False, True]
    """
    points = list(zip(x, y, strict=True))
    return [
        not any(a <= c and b <= d and (a, b) != (c, d) for a, b in points)  # (a, b) beats (c, d)
        for c, d in points
    ]


def draw_figure(table: pd.DataFrame, kind: str, runs: Path | None = None) -> Figure:
    """One figure of rows that belong together: of their first headline, of their first models.

    Args:
        table: Results of one corpus, task, model and recipe (see ``groups``).
        kind: A name from ``ALL_KINDS``.
        runs: Folder of the run folders, which ``det`` and ``confusion`` are drawn from.

    Raises:
        NothingToDrawError: The table has no rows for it.
    """
    return next(figure for _, figure in _figures(by_label(table), table, kind, runs))


def _figures(
    models: pd.DataFrame, table: pd.DataFrame, kind: str, runs: Path | None
) -> Iterator[tuple[str, Figure]]:
    """The figures of a kind of the first models of a table, with what they are called."""
    rows, note = _first(models)
    if rows.empty:
        raise NothingToDrawError("the table has no finished runs")
    title, of_rows = (
        "\n".join(filter(None, (title_of(table), note))),
        table[table["label"].isin(rows["label"])],
    )
    named = rows.assign(label=rows["label"].map(plain_name))
    if kind == CONFUSION:
        yield from confusion_figures(of_rows, runs, title)
    elif kind == DET:
        yield kind, _figure(rows, title, partial(det, of_rows, runs))
    elif kind in OF_COST:
        yield kind, _figure(rows, title, partial(OF_COST[kind], named))
    else:
        shown = drawn_measures(table)
        if not shown:
            raise NothingToDrawError("the table has no headline figure of quality")
        for y in shown:
            name = kind if y is shown[0] else f"{kind}-{y.name}"
            yield name, _figure(rows, title, partial(OF_QUALITY[kind], named, y=y))


def _figure(rows: pd.DataFrame, title: str, draw: Callable[[Axes], None]) -> Figure:
    grown = INCHES_A_POINT * max(0, len(rows) - ROOMY_POINTS)
    figure = Figure((SIZE_INCHES[0], SIZE_INCHES[1] + grown), DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=10)
    draw(axes)
    return figure


def draw_figures(
    table: pd.DataFrame, out: Path, kinds: Iterable[str] = KINDS, runs: Path | None = None
) -> Drawn:
    """Draws figures as PNG and SVG; the same table gives the same bytes.

    Args:
        table: Results, this toolkit's own or the published ones.
        out: Folder for the files, made if missing; each of several ``groups`` gets a folder in it.
        kinds: Names from ``ALL_KINDS``.
        runs: Folder of the run folders, which ``det`` and ``confusion`` are drawn from.

    Raises:
        ResultsError: There is no such figure.
    """
    kinds = list(dict.fromkeys(kinds))
    for kind in kinds:
        if kind not in ALL_KINDS:
            raise ResultsError(f"no figure {kind!r}; there is: {', '.join(ALL_KINDS)}")
    drawn, parts = Drawn([], []), groups(table)
    if len(parts) > MOST_FOLDERS:
        drawn.left_out.append(
            f"all after the first {MOST_FOLDERS} of {len(parts):,} corpora, tasks, models and recipes"
        )
    with styled():
        for folder, rows in islice(parts.items(), MOST_FOLDERS):
            within = f"{folder}/" if folder else ""
            models = by_label(rows)
            drawn.left_out.extend(within + line for line in _bounds(models))
            for kind in kinds:
                try:
                    for name, figure in _figures(models, rows, kind, runs):
                        drawn.written.extend(save_figure(figure, out / folder / name))
                except NothingToDrawError as error:
                    drawn.left_out.append(f"{within}{kind}: {error}")
    return drawn


def _first(models: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """As many models as a figure can hold, and what it says of the others."""
    note = f"the first {MOST_MODELS} of {len(models):,} models" if len(models) > MOST_MODELS else ""
    return models.iloc[:MOST_MODELS], note


def _bounds(models: pd.DataFrame) -> list[str]:
    """What the figures of a table leave out of it."""
    first, note = _first(models)
    lines = [f"{len(models) - len(first):,} models: drawn are {note}"] if note else []
    long = first["label"].str.len().gt(NAME_CHARACTERS).any()
    return lines + ([f"the ends of names of more than {NAME_CHARACTERS} characters"] if long else [])


def _measured(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows that have all these columns."""
    missing = [name for name in columns if name not in rows or rows[name].isna().all()]
    if missing:
        raise NothingToDrawError(f"the table has no {missing[0].replace('kilo_', '')}")
    return rows.dropna(subset=list(columns))


def _join_quantized(rows: pd.DataFrame, axes: Axes, x: str, y: str) -> int:
    """A dashed line from every float model to its quantized form; how many there are."""
    pairs = rows[~rows["quantized"]].merge(rows[rows["quantized"]], on="source", suffixes=("", "_dq"))
    for _, pair in pairs.iterrows():
        axes.plot([pair[x], pair[f"{x}_dq"]], [pair[y], pair[f"{y}_dq"]], "--", c="0.6", lw=1)
    return len(pairs)


def _over_epochs(rows: pd.DataFrame, axes: Axes, y: str) -> None:
    """A measure of the trained students over what their training took."""
    trained = rows[~rows["quantized"] & rows["tokens"].map(bool)].copy()
    ways = [name for name in EPOCHS if name in trained and trained[name].notna().any()]
    if not ways:
        raise NothingToDrawError("no trained student's epochs are in the table")
    trained["took"] = trained[ways].bfill(axis=1).iloc[:, 0]
    trained = _measured(trained, "took", y)
    used = trained[ways].notna().idxmax(axis=1).unique()
    scatter(axes, trained, "took", y, "students", FLOAT)
    finish(axes, trained, "took", y)
    axes.set_xlabel(", or ".join(EPOCHS[name] for name in ways if name in used))


def _pareto(rows: pd.DataFrame, axes: Axes, x: str, y: Measure) -> None:
    rows = _measured(rows, x, y.name)
    sign = 1 if y.lower_is_better else -1
    best = np.array(non_dominated(rows[x], sign * rows[y.name]))
    front = rows[best].sort_values([x, y.name])
    axes.plot(front[x], front[y.name], "-", c="0.4", lw=1.2)
    for quantized, name, colour in ((False, "float", FLOAT), (True, "quantized", QUANTIZED)):
        of_kind = (rows["quantized"] == quantized).to_numpy()
        # A series without a point on the front is in the legend all the same.
        faded = "" if (of_kind & best).any() else name
        scatter(axes, rows[of_kind & ~best], x, y.name, faded, colour, alpha=0.3)
        scatter(axes, rows[of_kind & best], x, y.name, name, colour)
    finish(axes, rows, x, y.name, ["black" if each else "0.55" for each in best])
