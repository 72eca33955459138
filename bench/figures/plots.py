"""Figures from a table of results; nothing here trains, and nothing needs torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.compare.tables import IDENTITY, known
from bench.figures.axes import FLOAT as FLOAT
from bench.figures.axes import QUANTIZED as QUANTIZED
from bench.figures.axes import finish, scatter, series
from bench.figures.det import DET, det
from bench.figures.files import NothingToDrawError, save_figure
from bench.files import file_name
from models.errors import ResultsError

# README width: 6.4 inches at 150 dots.
SIZE_INCHES = (6.4, 4.0)
DOTS_PER_INCH = 150
# Figures with more points than this grow, so that every name finds a place.
ROOMY_POINTS = 12
INCHES_A_POINT = 0.2
EPOCHS = {"epochs_to_target": "epochs to the target", "best_epoch": "epochs to the best", "epochs": "epochs"}


@dataclass(frozen=True)
class Drawn:
    """What came of a table.

    Attributes:
        written: The files.
        left_out: The figures that the table has no rows for, each with the reason.
    """

    written: list[Path]
    left_out: list[str]


def tokens(label: str) -> tuple[str, ...]:
    """The compressors in a label, without options and without the study's numbering.

    Example:
        >>> tokens("DQ+KD2"), tokens("SP+KD(hidden=12)"), tokens("B")
        (('dq', 'kd'), ('sp', 'kd'), ())
    """
    names = [re.sub(r"(\(.*\)|\d+$)", "", piece).lower() for piece in label.split("+")]
    return tuple(name for name in names if name != "b")


def by_label(table: pd.DataFrame) -> pd.DataFrame:
    """One row a model, in order of appearance: repeated runs are averaged, failed ones left out.

    Args:
        table: Results of one corpus, keyword, model and recipe (see ``groups``).

    Returns:
        The means of all numbers, and ``tokens``, ``quantized``, ``kilo_macs`` and ``source``: the chain
        without its quantization, by which a quantized model finds its float form.
    """
    done = table[table["status"] == "ok"] if "status" in table else table
    done = done.assign(chain=done["chain"].astype(object).fillna("") if "chain" in done else done["label"])
    means = done.groupby(["label", "chain"], sort=False).mean(numeric_only=True).reset_index()
    means["tokens"] = means["label"].map(tokens)
    means["quantized"] = means["tokens"].map(lambda names: "dq" in names)
    means["kilo_macs"] = means["macs"] / 1000 if "macs" in means else np.nan
    means["source"] = means["chain"].map(lambda chain: re.sub(r"^(dq[^+]*(\+|$))?(b$)?", "", chain.lower()))
    return means


def groups(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The parts of a table that each make a set of figures, by the name of their folder.

    Rows on other data or another keyword, of another model or recipe, never share a figure. Where all
    rows belong together there is one part, without a name.

    Example:
        >>> list(groups(pd.DataFrame({"data": ["tones", "tones"], "keyword": ["left", "stop"]})))
        ['tones-left', 'tones-stop']
    """
    texts = pd.DataFrame(
        {column: table[column].map(known) if column in table else "" for column in IDENTITY}, table.index
    )
    texts["corpus_hash"] = texts["corpus_hash"].str[:8]
    if len(texts.drop_duplicates()) < 2:
        return {"": table}
    within = texts.groupby(["data", "keyword"]).nunique().max()
    told = ["data", "keyword", *(column for column in within.index if within[column] > 1)]
    found = {}
    for values, rows in texts.groupby(told, sort=False):
        name = "-".join(str(value)[:24] for value in values if value)
        found[file_name(name)] = table.loc[rows.index]
    return found


def quantization(rows: pd.DataFrame, axes: Axes) -> None:
    """Quality over size, every model joined to its quantized form."""
    rows = _measured(rows, "size_kb", "au_fa_fr")
    if not _join_quantized(rows, axes, "size_kb"):
        raise NothingToDrawError("no model is there both float and quantized")
    series(rows, axes, "size_kb", "au_fa_fr")
    finish(axes, rows, "size_kb", "au_fa_fr")


def metric_vs_macs(rows: pd.DataFrame, axes: Axes) -> None:
    """Quality over multiply-accumulates; quantization changes the quality alone."""
    rows = _measured(rows, "kilo_macs", "au_fa_fr")
    _join_quantized(rows, axes, "kilo_macs")
    series(rows, axes, "kilo_macs", "au_fa_fr")
    finish(axes, rows, "kilo_macs", "au_fa_fr")


def distillation(rows: pd.DataFrame, axes: Axes) -> None:
    """Quality over size of the base and the distilled students, joined from large to small."""
    distilled = _measured(
        rows[rows["tokens"].map(lambda names: set(names) <= {"kd", "ad"})], "size_kb", "au_fa_fr"
    )
    if len(distilled) < 2:
        raise NothingToDrawError("it takes the base and a distilled student, or two of those")
    distilled = distilled.sort_values("size_kb", ascending=False)
    axes.plot(distilled["size_kb"], distilled["au_fa_fr"], "-", c="0.6", lw=1)
    scatter(axes, distilled, "size_kb", "au_fa_fr", "distilled", FLOAT)
    finish(axes, distilled, "size_kb", "au_fa_fr")


def size_vs_epochs(rows: pd.DataFrame, axes: Axes) -> None:
    """Size over the epochs that training took: to the target where one was set, else to the best."""
    _over_epochs(rows, axes, "size_kb")


def macs_vs_epochs(rows: pd.DataFrame, axes: Axes) -> None:
    """Multiply-accumulates over the epochs that training took."""
    _over_epochs(rows, axes, "kilo_macs")


def size_vs_macs(rows: pd.DataFrame, axes: Axes) -> None:
    """Size over multiply-accumulates, float and quantized models joined."""
    rows = _measured(rows, "kilo_macs", "size_kb")
    for quantized, colour in ((False, FLOAT), (True, QUANTIZED)):
        joined = rows[rows["quantized"] == quantized].sort_values(["kilo_macs", "size_kb"])
        axes.plot(joined["kilo_macs"], joined["size_kb"], "-", c=colour, lw=1, alpha=0.6)
    series(rows, axes, "kilo_macs", "size_kb")
    finish(axes, rows, "kilo_macs", "size_kb")


def pareto_size(rows: pd.DataFrame, axes: Axes) -> None:
    """Quality over size: the models that no other beats in both are joined, all others faded."""
    _pareto(rows, axes, "size_kb")


def pareto_macs(rows: pd.DataFrame, axes: Axes) -> None:
    """Quality over multiply-accumulates: the models that no other beats in both are joined."""
    _pareto(rows, axes, "kilo_macs")


OF_THE_STUDY = (quantization, distillation, size_vs_epochs, size_vs_macs, metric_vs_macs, macs_vs_epochs)
KINDS = {draw.__name__: draw for draw in (*OF_THE_STUDY, pareto_size, pareto_macs)}
# One of them takes more than a table.
ALL_KINDS = (*KINDS, DET)


def non_dominated(x: Iterable[float], y: Iterable[float]) -> list[bool]:
    """Which points no other beats: none is at most as large in both and smaller in one.

    Example:
        >>> non_dominated([1, 2, 3, 2], [3, 2, 2, 2])
        [True, True, False, True]
    """
    points = list(zip(x, y, strict=True))
    return [
        not any(a <= c and b <= d and (a, b) != (c, d) for a, b in points)  # (a, b) beats (c, d)
        for c, d in points
    ]


def draw_figure(table: pd.DataFrame, kind: str, runs: Path | None = None) -> Figure:
    """One figure of rows that belong together.

    Args:
        table: Results of one corpus, keyword, model and recipe (see ``groups``).
        kind: A name from ``ALL_KINDS``.
        runs: Folder of the run folders, whose clip scores ``det`` is drawn from.

    Raises:
        NothingToDrawError: The table has no rows for it.
    """
    rows = by_label(table)
    if rows.empty:
        raise NothingToDrawError("the table has no finished runs")
    grown = INCHES_A_POINT * max(0, len(rows) - ROOMY_POINTS)
    figure = Figure((SIZE_INCHES[0], SIZE_INCHES[1] + grown), DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    title = [known(table[name].iloc[0]) if name in table else "" for name in ("data", "keyword")]
    if all(title):
        axes.set_title(f"{title[0]}, keyword {title[1]!r}", loc="left", fontsize=10)
    if kind == DET:
        det(table, runs, axes)
    else:
        KINDS[kind](rows, axes)
    return figure


def draw_figures(
    table: pd.DataFrame, out: Path, kinds: Iterable[str] = tuple(KINDS), runs: Path | None = None
) -> Drawn:
    """Draws figures as PNG and SVG; the same table gives the same bytes.

    Args:
        table: Results, this toolkit's own or the published ones.
        out: Folder for the files, made if missing; each of several ``groups`` gets a folder in it.
        kinds: Names from ``ALL_KINDS``.
        runs: Folder of the run folders, whose clip scores ``det`` is drawn from.

    Raises:
        ResultsError: There is no such figure.
    """
    kinds = list(dict.fromkeys(kinds))
    for kind in kinds:
        if kind not in ALL_KINDS:
            raise ResultsError(f"no figure {kind!r}; there is: {', '.join(ALL_KINDS)}")
    drawn = Drawn([], [])
    # A fixed salt makes the SVG's identifiers, and so the file, the same each time.
    with sns.axes_style("whitegrid"), mpl.rc_context({"svg.hashsalt": "kws-bench", "font.size": 10}):
        for folder, rows in groups(table).items():
            for kind in kinds:
                try:
                    figure = draw_figure(rows, kind, runs)
                except NothingToDrawError as error:
                    drawn.left_out.append(f"{f'{folder}/' if folder else ''}{kind}: {error}")
                else:
                    drawn.written.extend(save_figure(figure, out / folder / kind))
    return drawn


def _measured(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows that have all these columns."""
    missing = [name for name in columns if name not in rows or rows[name].isna().all()]
    if missing:
        raise NothingToDrawError(f"the table has no {missing[0].replace('kilo_', '')}")
    return rows.dropna(subset=list(columns))


def _join_quantized(rows: pd.DataFrame, axes: Axes, x: str) -> int:
    """A dashed line from every float model to its quantized form; how many there are."""
    pairs = rows[~rows["quantized"]].merge(rows[rows["quantized"]], on="source", suffixes=("", "_dq"))
    for _, pair in pairs.iterrows():
        axes.plot([pair[x], pair[f"{x}_dq"]], [pair["au_fa_fr"], pair["au_fa_fr_dq"]], "--", c="0.6", lw=1)
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


def _pareto(rows: pd.DataFrame, axes: Axes, x: str) -> None:
    rows = _measured(rows, x, "au_fa_fr")
    best = np.array(non_dominated(rows[x], rows["au_fa_fr"]))
    front = rows[best].sort_values([x, "au_fa_fr"])
    axes.plot(front[x], front["au_fa_fr"], "-", c="0.4", lw=1.2)
    for quantized, name, colour in ((False, "float", FLOAT), (True, "quantized", QUANTIZED)):
        of_kind = (rows["quantized"] == quantized).to_numpy()
        # A series without a point on the front is in the legend all the same.
        faded = "" if (of_kind & best).any() else name
        scatter(axes, rows[of_kind & ~best], x, "au_fa_fr", faded, colour, alpha=0.3)
        scatter(axes, rows[of_kind & best], x, "au_fa_fr", name, colour)
    finish(axes, rows, x, "au_fa_fr", ["black" if each else "0.55" for each in best])
