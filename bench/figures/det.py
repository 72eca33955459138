"""The DET figure: miss rate over false-alarm rate, from the clip scores that runs kept; without torch."""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

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
from bench.metrics import Floats, eer
from bench.statistics.intervals import DRAWS, interval_of
from bench.statistics.resampling import draw_speakers, sort_clips

DET = "det"
SEED = 0
# As many false-alarm rates as a line is drawn at.
MOST_RATES = 300
TICKS_PCT = (0.01, 0.03, 0.1, 0.3, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95, 98, 99, 99.5)
NOTE_CHARACTERS = 90
# False-alarm rates that the table has columns of.
STATED_RATES = (0.001, 0.01)


@dataclass(frozen=True)
class Scores:
    """The test clips of one run.

    Attributes:
        labels: 1 for the keyword, shape (N,).
        scores: Higher for the keyword, shape (N,).
        speakers: Of the clips, shape (N,); None for a run of an older version, which kept none.
    """

    labels: Floats
    scores: Floats
    speakers: npt.NDArray[np.str_] | None


def load_scores(run: Path) -> Scores | None:
    """What a run folder kept of its test clips; None where that cannot be read or lacks a class."""
    try:
        # Read first: of a damaged file NumPy leaves the handle open.
        with np.load(io.BytesIO((run / "scores.npz").read_bytes()), allow_pickle=False) as kept:
            labels, scores = kept["test_labels"], kept["test"]
            speakers = kept["test_speakers"].astype(str) if "test_speakers" in kept else None
    except (OSError, BadZipFile, ValueError, KeyError, EOFError):
        return None
    return Scores(labels, scores, speakers) if 0 < labels.sum() < len(labels) else None


def miss_rates(
    labels: npt.ArrayLike, scores: npt.ArrayLike, rates: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> Floats:
    """The least miss rate at false-alarm rates of at most so much, for clips that count several times.

    Args:
        labels: 1 for the keyword, shape (N,).
        scores: Higher for the keyword, shape (N,); a clip is detected at or above the threshold.
        rates: Of the clips of other words, shape (R,).
        weights: How often each clip counts, shape (D, N); None for once.

    Returns:
        Shape (D, R); NaN for weights that leave a class empty.

    Example:
        >>> miss_rates([0, 1, 0, 1], [0.1, 0.9, 0.6, 0.4], [0.0, 0.5]).tolist()
        [[0.5, 0.0]]
    """
    values = np.asarray(scores, np.float64)
    order = np.argsort(-values, kind="stable")
    truth, values = np.asarray(labels)[order] == 1, values[order]
    counts = np.ones((1, len(order))) if weights is None else np.asarray(weights, np.float64)[:, order]
    # Equal scores are detected together: only the last of them ends a step.
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    alarms, hits = (np.cumsum(counts * part, 1)[:, ends] for part in (~truth, truth))
    asked = np.asarray(rates, np.float64)
    found = np.full((len(counts), len(asked)), np.nan)
    for row, (alarm, hit) in enumerate(zip(alarms, hits, strict=True)):
        if alarm[-1] and hit[-1]:
            # A rate of 3 / n times n may be just below 3.
            steps = np.searchsorted(alarm, asked * alarm[-1] + 1e-9, side="right")
            found[row] = 1 - np.append(0, hit)[steps] / hit[-1]
    return found


def mean_curve(runs: list[Scores], rates: Floats) -> tuple[Floats, Floats | None]:
    """The miss rate over false-alarm rates, mean of repeated runs, and its 95 % band by speaker.

    The band is made as the table's intervals are (``bench.statistics.intervals``), at each rate alone; the
    same speakers are drawn for all runs.

    Args:
        runs: Of the same clips.
        rates: False-alarm rates, shape (R,).

    Returns:
        Miss rates, shape (R,), and both ends, shape (2, R); None where a run kept no speakers, or there is
        but one of the keyword or of other words.
    """
    line = np.mean([miss_rates(run.labels, run.scores, rates)[0] for run in runs], 0)
    drawn = []
    for run in runs:
        if run.speakers is None:
            return line, None
        clips = sort_clips(run.labels, run.scores, run.speakers)
        draws = draw_speakers(len(clips.right), DRAWS, np.random.default_rng(SEED))
        which = np.unique(run.speakers, return_inverse=True)[1]
        drawn.append(miss_rates(run.labels, run.scores, rates, draws.counts[:, which]))
    columns = np.mean(drawn, 0).T
    ends = [
        interval_of("frr_at_far_1pct", float(miss), column, draws, clips)
        for miss, column in zip(line, columns, strict=True)
    ]
    band = np.array([(end.low, end.high) for end in ends]).T
    return line, None if np.isnan(band).all() else band


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
        equal = float(np.mean([eer(run.labels, run.scores) for run in many]))
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
    if runs is None or "run_id" not in table:
        raise NothingToDrawError("the table names no runs whose clip scores could be read")
    done = table[table["status"] == "ok"] if "status" in table else table
    rows = done.drop_duplicates(["label", "run_id"]).itertuples()
    kept = [(plain_name(row.label), load_scores(runs / str(row.run_id))) for row in rows]
    found: dict[str, list[Scores]] = {}
    for label, scores in kept:
        if scores is not None:
            found.setdefault(label, []).append(scores)
    if not found:
        raise NothingToDrawError(f"no scores of the table's runs in {runs}/<run id>/scores.npz")
    return found, list(dict.fromkeys(label for label, _ in kept if label not in found))


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
    notes[0] += "" if len(bare) == lines else "; bands: 95 %, by speaker"
    named = f": {', '.join(bare)}" if len(bare) < lines else ""
    notes += [f"no speakers kept with the scores, or only one, so no band{named}"] if bare else []
    notes += [f"no scores kept, so left out: {', '.join(missing)}"] if missing else []
    wrapped = [part for note in notes for part in textwrap.wrap(note, NOTE_CHARACTERS)]
    axes.set_xlabel("\n".join([axes.get_xlabel(), *wrapped]), fontsize=9)
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    columns = legend_columns(axes.get_legend_handles_labels()[1], 4)
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
