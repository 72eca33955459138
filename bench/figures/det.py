"""The DET figure: miss rate over false-alarm rate, from the clip scores that runs kept; without torch."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import ndtr, ndtri

from bench.figures.axes import line_styles
from bench.figures.files import NothingToDrawError
from bench.figures.look import legend_columns, plain_name
from bench.figures.rows import of_words
from bench.quality.metrics import Floats, eer
from bench.quality.misses import miss_rates
from bench.results.scores import NoScoresError, Scores, read_scores
from models.errors import ResultsError

DET = "det"
# As many false-alarm rates as a line is drawn at.
MOST_RATES = 300
TICKS_PCT = (0.01, 0.03, 0.1, 0.3, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95, 98, 99, 99.5)
NOTE_CHARACTERS = 90
# False-alarm rates that the table has columns of.
STATED_RATES = (0.001, 0.01)


def mean_curve(runs: list[Scores], rates: Floats) -> tuple[Floats, Floats | None]:
    """The miss rate over false-alarm rates, mean of repeated runs, and its 95 % band by speaker.

    The band is the table's interval (``bench.quality.misses``) at each rate alone.

    Args:
        runs: Of the same clips.
        rates: False-alarm rates, shape (R,).

    Returns:
        Miss rates, shape (R,), and both ends, shape (2, R), NaN at rates that too few clips allow; None where
        a run kept no speakers, or no rate has an end.
    """
    speakers = [run.speakers for run in runs if run.speakers is not None]
    if len(speakers) < len(runs):
        # Unknown ones are as good as a single one, who tells nothing of others.
        speakers = [np.zeros(len(run.labels), np.str_) for run in runs]
    line, *ends = miss_rates(
        [(run.labels, run.of_keyword, who) for run, who in zip(runs, speakers, strict=True)], rates
    )
    return line, None if np.isnan(ends).all() else np.stack(ends)


def det(table: pd.DataFrame, runs: Path | None, axes: Axes) -> None:
    """Miss rate over false-alarm rate on normal-deviate axes, a line a label; a dot at equal errors.

    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.

    Args:
        table: Results of one corpus and keyword, with ``run_id`` and ``label``.
        runs: The folder of the run folders.
        axes: To draw on.

    Raises:
        NothingToDrawError: There are no scores of these runs.
    """
    found, missing = _by_label(table, runs)
    sizes = [(int(run.labels.sum()), len(run.labels)) for many in found.values() for run in many]
    positives, clips = max(sizes)
    negatives = clips - positives
    counts = np.unique(np.append(0, np.geomspace(1, max(negatives / 2, 1), MOST_RATES).round()))
    # Nothing lies below half a clip, where none is drawn.
    low_x, low_y = 0.5 / negatives, 0.5 / positives
    x = np.maximum(counts / negatives, low_x)
    bare, highest, faint = [], 0.0, min(0.12, 0.6 / len(found))
    for (label, many), (colour, dash) in zip(found.items(), line_styles(len(found)), strict=True):
        line, band = mean_curve(many, counts / negatives)
        axes.plot(x, line.clip(low_y), dash, c=colour, lw=1.4, label=label, drawstyle="steps-post", zorder=3)
        equal = float(np.mean([eer(run.labels, run.of_keyword) for run in many]))
        axes.plot(max(equal, low_x), max(equal, low_y), "o", c=colour, ms=6, mec="white", mew=0.8, zorder=4)
        highest = max(highest, line.max())
        if band is None:
            bare.append(label)
        else:
            low, high = band.clip(low_y, 0.995)
            axes.fill_between(x, low, high, color=colour, alpha=faint, lw=0, step="post")
    _deviate(axes, (low_x, 0.5), (low_y, min(max(highest, 0.5), 0.99)))
    _say(axes, positives, negatives, bare, missing)


def _by_label(table: pd.DataFrame, runs: Path | None) -> tuple[dict[str, list[Scores]], list[str]]:
    """Scores of the runs of each label, and the labels without."""
    if of_words(table).any():
        raise NothingToDrawError("it is of keyword tasks")
    if runs is None or "run_id" not in table:
        raise NothingToDrawError("the table names no runs whose clip scores could be read")
    done = table[table["status"] == "ok"] if "status" in table else table
    rows = done.drop_duplicates(["label", "run_id"]).itertuples()
    kept = [(plain_name(row.label), _scores_of(runs / str(row.run_id))) for row in rows]
    found: dict[str, list[Scores]] = {}
    for label, scores in kept:
        if scores is not None:
            found.setdefault(label, []).append(scores)
    if not found:
        raise NothingToDrawError(f"no scores of the table's runs in {runs}/<run id>/scores.npz")
    return found, list(dict.fromkeys(label for label, _ in kept if label not in found))


def _scores_of(run: Path) -> Scores | None:
    """The test clips of a run; None where it kept none.

    Raises:
        NothingToDrawError: They are damaged: a figure without them would look whole.
    """
    try:
        return read_scores(run)
    except NoScoresError:
        return None
    except ResultsError as error:
        raise NothingToDrawError(str(error)) from None


def _deviate(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Axes on which normal scores draw straight lines, in per cent."""
    axes.set_xscale("function", functions=(_ndtri, ndtr))
    axes.set_yscale("function", functions=(_ndtri, ndtr))
    axes.set(xlim=x, ylim=y, xlabel="false-alarm rate (%), test clips", ylabel="miss rate (%)")
    for axis, (low, high) in ((axes.xaxis, x), (axes.yaxis, y)):
        axis.set_major_locator(FixedLocator([t / 100 for t in TICKS_PCT if low <= t / 100 <= high]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    ends = max(x[0], y[0]), min(x[1], y[1])
    axes.plot(ends, ends, "--", c="0.7", lw=0.8, zorder=1)
    for rate in STATED_RATES:
        axes.axvline(rate, c="0.5", lw=0.8, ls=":", zorder=1)


def _ndtri(share: npt.ArrayLike) -> Floats:
    # An axis asks for its ends and beyond.
    deviate: Floats = ndtri(np.clip(np.asarray(share, np.float64), 1e-9, 1 - 1e-9))
    return deviate


def _say(axes: Axes, positives: int, negatives: int, bare: list[str], missing: list[str]) -> None:
    """The legend, and what stands behind the lines."""
    lines = len(axes.get_legend_handles_labels()[1])
    notes = [f"{positives} keyword clips, {negatives} others; dots: equal error rate"]
    notes[0] += "" if len(bare) == lines else "; bands: 95 %, by speaker, where the others suffice"
    named = f": {', '.join(bare)}" if len(bare) < lines else ""
    notes += [f"no speakers kept with the scores, or only one, so no band{named}"] if bare else []
    notes += [f"no scores kept, so left out: {', '.join(missing)}"] if missing else []
    wrapped = [part for note in notes for part in textwrap.wrap(note, NOTE_CHARACTERS)]
    axes.set_xlabel("\n".join([axes.get_xlabel(), *wrapped]), fontsize=9)
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    columns = legend_columns(axes.get_legend_handles_labels()[1], 4)
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
