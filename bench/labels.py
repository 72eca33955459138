"""Names beside points where they cover neither each other nor points nor lines.

Small and deterministic, unlike the libraries for it: the same table gives the same file each time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
# A box is (left, bottom, right, top), in display dots.
FONT_POINTS = 9
ROUNDS = 4
SAMPLES_A_LINE = 40


def place_labels(axes: Axes, labels: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """Writes a name beside each point; one that had to go further away gets a thin line.

    Args:
        axes: With points and lines drawn and limits final; what is drawn is kept clear.
        labels: Names, one a point.
        x: In data coordinates.
        y: In data coordinates.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    points = axes.transData.transform(np.column_stack([x, y]).astype(float))
    texts = [
        axes.annotate(name, xy, fontsize=FONT_POINTS)
        for name, xy in zip(labels, zip(x, y, strict=True), strict=True)
    ]
    sizes = [(box.width, box.height) for box in (text.get_window_extent() for text in texts)]
    dots = figure.dpi / 72
    frame = np.asarray(axes.get_window_extent().extents)
    chosen = _choose(points, sizes, _ink(axes, points), frame, dots)
    for text, point, box in zip(texts, points, chosen, strict=True):
        text.remove()
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        offset = ((centre[0] - point[0]) / dots, (centre[1] - point[1]) / dots)
        far = _gap(box, point) > 9 * dots
        axes.annotate(
            text.get_text(),
            text.xy,
            xytext=offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=FONT_POINTS,
            arrowprops={"arrowstyle": "-", "color": "0.5", "lw": 0.6, "shrinkB": 4} if far else None,
        )


def _choose(
    points: Floats, sizes: Sequence[tuple[float, float]], ink: Floats, frame: Floats, dots: float
) -> list[Floats]:
    """The cheapest box for each name, each name reconsidered a few times in the light of the others."""
    options = [_candidates(point, size, dots) for point, size in zip(points, sizes, strict=True)]
    chosen: list[Floats] = [boxes[0] for boxes in options]
    for _, index in itertools.product(range(ROUNDS), range(len(points))):
        others = np.array(chosen[:index] + chosen[index + 1 :]).reshape(-1, 4)
        costs = [_cost(box, points[index], others, points, ink, frame, dots) for box in options[index]]
        chosen[index] = options[index][int(np.argmin(costs))]
    return chosen


def _candidates(point: Floats, size: tuple[float, float], dots: float) -> list[Floats]:
    """Boxes around a point: sixteen directions, near to far."""
    width, height = size
    boxes = []
    for distance in (7, 12, 18, 26, 36, 48):
        for angle in np.arange(16) * np.pi / 8 + np.pi / 8:
            reach = distance * dots
            x = point[0] + np.cos(angle) * (reach + width / 2)
            y = point[1] + np.sin(angle) * (reach + height / 2)
            boxes.append(np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]))
    return boxes


def _cost(
    box: Floats, point: Floats, others: Floats, points: Floats, ink: Floats, frame: Floats, dots: float
) -> float:
    outside = np.maximum(frame[:2] - box[:2], 0).sum() + np.maximum(box[2:] - frame[2:], 0).sum()
    overlap = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + 3 * dots
    covered = np.clip(overlap, 0, None).prod(axis=1).sum() / dots**2
    near = 5 * dots
    hidden = ((points > box[:2] - near) & (points < box[2:] + near)).all(axis=1).sum()
    crossed = ((ink > box[:2] - dots) & (ink < box[2:] + dots)).all(axis=1).sum()
    return float(1000 * outside + 20 * covered + 300 * hidden + 12 * crossed + _gap(box, point) / dots)


def _gap(box: Floats, point: Floats) -> float:
    """Distance from a point to a box, in dots."""
    return float(np.hypot(*np.maximum(np.maximum(box[:2] - point, point - box[2:]), 0)))


def _ink(axes: Axes, points: Floats) -> Floats:
    """Samples along all lines drawn, in display dots."""
    pieces = [np.empty((0, 2))]
    for line in axes.get_lines():
        ends = axes.transData.transform(np.asarray(line.get_xydata(), dtype=float))
        for start, end in itertools.pairwise(ends):
            pieces.append(start + np.linspace(0, 1, SAMPLES_A_LINE)[:, None] * (end - start))
    legend = axes.get_legend()
    if legend is not None:
        left, bottom, right, top = legend.get_window_extent().extents
        grid = np.meshgrid(np.linspace(left, right, 30), np.linspace(bottom, top, 30))
        pieces.append(np.column_stack([part.ravel() for part in grid]))
    return np.concatenate(pieces)
