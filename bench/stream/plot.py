"""Probability of words over time: kept in constant memory, and drawn. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.figures.axes import FLOAT, QUANTIZED
from bench.figures.files import save_figure
from bench.figures.look import DOTS_PER_INCH, SIZE_INCHES, plain_name, styled
from bench.stream.detection import WARM_UP_S, Frame, Span

HEIGHT_INCHES, PANEL_INCHES, EDGES_INCHES = 2.8, 0.9, 1.0
KEYWORD = sns.color_palette("colorblind", 3)[2]
# Up to here keyword clips are wide enough to be shaded; in longer streams they are marks.
SHADED_S = 180.0


class Peaks:
    """The course of a stream of any length: the highest frame of each bucket.

    Buckets hold one frame each until they are twice as many as asked for; then neighbours are joined.
    """

    def __init__(self, buckets: int = 2000) -> None:
        """Holds between ``buckets`` and twice as many."""
        if buckets < 1:
            raise ValueError(f"buckets must be at least 1, not {buckets}")
        self._buckets = buckets
        self._width = 1
        self._full: list[Frame] = []
        self._open: list[Frame] = []
        self._pending = 0

    def add(self, frames: Iterable[Frame]) -> None:
        """The next frames, in order of time."""
        for frame in frames:
            self._open = [max([*self._open, frame], key=lambda one: one.probability)]
            self._pending += 1
            if self._pending == self._width:
                self._full += self._open
                self._open, self._pending = [], 0
            if len(self._full) == 2 * self._buckets:
                pairs = zip(self._full[::2], self._full[1::2], strict=True)
                self._full = [max(pair, key=lambda one: one.probability) for pair in pairs]
                self._width *= 2

    @property
    def frames(self) -> list[Frame]:
        """The highest frame of each bucket, in order of time."""
        return self._full + self._open


@dataclass(frozen=True)
class WordPicture:
    """What is drawn of one word.

    Attributes:
        name: The word.
        frames: Its probability over time.
        threshold: Drawn as a line.
        detections: Drawn as marks.
        spoken: When it is known to be spoken.
    """

    name: str
    frames: Sequence[Frame]
    threshold: float
    detections: Sequence[Frame]
    spoken: Sequence[Span] = ()


@dataclass(frozen=True)
class StreamPicture:
    """What is drawn.

    Attributes:
        words: A panel each.
        duration_s: Length of the audio.
        warm_up_s: Before this the model has not heard enough.
        parts: Names of the stretches before, during and after a single clip of the first word.
    """

    words: Sequence[WordPicture]
    duration_s: float
    warm_up_s: float = WARM_UP_S
    parts: tuple[str, str, str] | None = None


def draw_stream(picture: StreamPicture, out: Path, name: str) -> list[Path]:
    """Draws probability over time as PNG and SVG, a panel a word.

    Args:
        picture: What to draw.
        out: Folder for the files; made if missing.
        name: Of the files, without a suffix.

    Returns:
        The files written.
    """
    count = len(picture.words)
    height = HEIGHT_INCHES if count == 1 else EDGES_INCHES + PANEL_INCHES * count
    with styled():
        figure = Figure((SIZE_INCHES[0], height), DOTS_PER_INCH, layout="constrained")
        panels = figure.subplots(count, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for word, axes in zip(picture.words, panels, strict=True):
            probability_over_time(picture, word, axes)
            axes.label_outer()
        _legend(figure, list(panels))
        if count > 1:
            figure.supylabel("probability", fontsize=10)
        return save_figure(figure, out / name)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One for all panels: what stands in several of them is named once."""
    named = [entry for axes in panels for entry in zip(*axes.get_legend_handles_labels(), strict=True)]
    first = {label: handle for handle, label in reversed(named)}
    labels = list(dict.fromkeys(label for _, label in named))
    handles = [first[label] for label in labels]
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False, fontsize=9)


def probability_over_time(picture: StreamPicture, word: WordPicture, axes: Axes) -> None:
    """A word's probability over time, with the threshold, the detections and where it is known to be."""
    unit_s, unit = _time_unit(picture.duration_s)
    times = [frame.time_s / unit_s for frame in word.frames]
    heights = [frame.probability for frame in word.frames]
    # What comes before the model has heard enough is shown, but not as its opinion.
    early = sum(frame.time_s < picture.warm_up_s for frame in word.frames)
    axes.plot(times[: early + 1], heights[: early + 1], c="0.7", lw=1.2, zorder=3)
    axes.plot(times[early:], heights[early:], c=FLOAT, lw=1.2, zorder=3)
    axes.fill_between(times[early:], heights[early:], color=FLOAT, alpha=0.15, lw=0)
    alone = len(picture.words) == 1
    label = f"threshold {word.threshold:.3g}" if alone else "threshold"
    axes.axhline(word.threshold, ls="--", lw=1, c="0.4", label=label)
    _spoken(picture, word, axes, unit_s)
    if word.detections:
        axes.scatter(
            [frame.time_s / unit_s for frame in word.detections],
            [frame.probability for frame in word.detections],
            marker="v",
            s=30,
            color=[QUANTIZED],
            label="detection",
            zorder=4,
        )
    name = "keyword probability" if alone else plain_name(word.name)
    axes.set(xlabel=f"time ({unit})", ylabel=name, ylim=(-0.02, 1.1))
    axes.set_xlim(0, max(picture.duration_s, 1e-3) / unit_s)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1] if alone else [0, 0.5, 1])


def _spoken(picture: StreamPicture, word: WordPicture, axes: Axes, unit_s: float) -> None:
    if not word.spoken:
        return
    if picture.duration_s <= SHADED_S:
        for number, span in enumerate(word.spoken):
            label = None if number else "keyword clip"
            axes.axvspan(
                span.start_s / unit_s, span.end_s / unit_s, color=KEYWORD, alpha=0.25, lw=0, label=label
            )
    else:
        middles = [(span.start_s + span.end_s) / 2 / unit_s for span in word.spoken]
        axes.plot(middles, [1.05] * len(middles), "|", c=KEYWORD, ms=7, mew=1.5, label="keyword clip")
    if picture.parts:
        only = word.spoken[0]
        edges = [(0.0, only.start_s), (only.start_s, only.end_s), (only.end_s, picture.duration_s)]
        for name, (start_s, end_s) in zip(picture.parts, edges, strict=True):
            axes.text(
                (start_s + end_s) / 2 / unit_s, 1.05, name, ha="center", va="center", fontsize=9, c="0.25"
            )


def _time_unit(duration_s: float) -> tuple[float, str]:
    """A unit in which the length reads well."""
    if duration_s <= 300:
        return 1.0, "s"
    return (60.0, "min") if duration_s <= 4 * 3600 else (3600.0, "h")
