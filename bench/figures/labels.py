"""Names beside points where they cover neither each other nor points nor lines.

Small and deterministic, unlike the libraries for it: the same table gives the same file each time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
# A box is (left, bottom, right, top), in display dots; distances below are in points.
FONT_POINTS = 9
# A line of a name breaks after so many characters, between options or compressors.
LINE_CHARACTERS = 16
ROUNDS = 8
MARKER = 5.0
NEAR = (7, 12, 18, 26, 36, 48, 64, 84)
GRID = 24
# From this distance on a thin line joins a name to its point.
FAR = 9.0
LEADER_SAMPLES = 16
# So much of a drawn line under a name costs as much as a crossing of lines.
INK_POINTS = 2.4
# Lines that a name could not keep clear of are read through less than the name itself.
BACKGROUND = {"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.75, "linewidth": 0}


@dataclass(frozen=True)
class Scene:
    """What names must keep clear of, in display dots.

    Attributes:
        points: All points with a name, shape (P, 2).
        lines: Pieces of drawn lines, both ends of each, shape (S, 2, 2).
        legend: Boxes of legends, shape (0 or 1, 4).
        frame: The box of the axes, shape (4,).
        dots: Dots a point.
    """

    points: Floats
    lines: Floats
    legend: Floats
    frame: Floats
    dots: float


def place_labels(
    axes: Axes, labels: Sequence[str], x: Sequence[float], y: Sequence[float], colours: Sequence[str] = ()
) -> None:
    """Writes a name beside each point; one that had to go further away gets a thin line.

    Args:
        axes: With points and lines drawn and limits final; what is drawn is kept clear.
        labels: Names, one a point; long ones are broken into lines.
        x: In data coordinates.
        y: In data coordinates.
        colours: Of the names, one a point; black if empty.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    # Names lie inside the axes: a layout that moved once more would only undo their places.
    figure.set_layout_engine("none")
    _pin_legend(axes)
    points = axes.transData.transform(np.column_stack([x, y]).astype(float))
    texts = [
        axes.annotate(wrap(name), xy, fontsize=FONT_POINTS)
        for name, xy in zip(labels, zip(x, y, strict=True), strict=True)
    ]
    sizes = [(box.width, box.height) for box in (text.get_window_extent() for text in texts)]
    frame = np.asarray(axes.get_window_extent().extents)
    lines = _lines(axes, frame)
    scene = Scene(points, lines, _legend(axes), frame, figure.dpi / 72)
    chosen = _choose(sizes, scene)
    for text, point, box, colour in zip(
        texts, points, chosen, colours or ["black"] * len(texts), strict=True
    ):
        text.remove()
        _write(axes, text.get_text(), text.xy, point, box, colour, scene.dots)


def wrap(name: str, width: int = LINE_CHARACTERS) -> str:
    """A name in lines of about ``width`` characters, broken before brackets and after commas and pluses.

    A piece without any of them is broken where it is twice as long.

    Examples:
        >>> wrap("KD(kernel=13x5,hidden=12)").split(chr(10))
        ['KD(kernel=13x5,', 'hidden=12)']
    """
    if len(name) <= width:
        return name
    lines = [""]
    pieces = re.findall(r"\(*[^(,+\s]*[,+\s]|\(+[^(,+\s]*|[^(,+\s]+", name)
    for piece in (part for each in pieces for part in re.findall(f".{{1,{2 * width}}}", each)):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _write(
    axes: Axes, text: str, xy: tuple[float, float], point: Floats, box: Floats, colour: str, dots: float
) -> None:
    """A name at its box, and the line to its point."""
    size = np.maximum(box[2:] - box[:2], 1)
    nearest = np.clip(point, box[:2], box[2:])
    far = _gap(box, point) > FAR * dots
    axes.annotate(
        text,
        xy,
        xytext=tuple(((box[:2] + box[2:]) / 2 - point) / dots),
        textcoords="offset points",
        ha="center",
        va="center",
        color=colour,
        fontsize=FONT_POINTS,
        zorder=4,
        bbox=BACKGROUND,
        arrowprops={
            "arrowstyle": "-",
            "color": "0.5",
            "lw": 0.6,
            "shrinkA": 0,
            "shrinkB": 4,
            "patchA": None,
            "relpos": tuple((nearest - box[:2]) / size),
        }
        if far
        else None,
    )


def _choose(sizes: Sequence[tuple[float, float]], scene: Scene) -> list[Floats]:
    """The cheapest box for each name, each name reconsidered a few times in the light of the others."""
    options = [_candidates(point, size, scene) for point, size in zip(scene.points, sizes, strict=True)]
    fixed = [_fixed_cost(boxes, point, scene) for boxes, point in zip(options, scene.points, strict=True)]
    leaders = [_leaders(boxes, point, scene) for boxes, point in zip(options, scene.points, strict=True)]
    taken = [int(np.argmin(cost)) for cost in fixed]
    for _ in range(ROUNDS):
        before = list(taken)
        for index in range(len(taken)):
            others = [
                (options[other][at], leaders[other][at]) for other, at in enumerate(taken) if other != index
            ]
            cost = fixed[index] + _mutual_cost(options[index], leaders[index], others, scene.dots)
            taken[index] = int(np.argmin(cost))
        if taken == before:
            break
    return [boxes[at] for boxes, at in zip(options, taken, strict=True)]


def _candidates(point: Floats, size: tuple[float, float], scene: Scene) -> Floats:
    """Boxes around a point, sixteen directions from near to far, then a grid over the axes, shape (C, 4)."""
    angles = np.arange(16) * np.pi / 8 + np.pi / 8
    reach = np.array(NEAR)[:, None] * scene.dots
    near_x = point[0] + np.cos(angles) * (reach + size[0] / 2)
    near_y = point[1] + np.sin(angles) * (reach + size[1] / 2)
    half, edge = np.array(size) / 2, 2 * scene.dots
    low, high = scene.frame[:2] + half + edge, scene.frame[2:] - half - edge
    grid_x, grid_y = np.meshgrid(*(np.linspace(low[axis], high[axis], GRID) for axis in (0, 1)))
    x, y = (np.concatenate([a.ravel(), b.ravel()]) for a, b in ((near_x, grid_x), (near_y, grid_y)))
    return np.column_stack([x - half[0], y - half[1], x + half[0], y + half[1]])


def _fixed_cost(boxes: Floats, point: Floats, scene: Scene) -> Floats:
    """What a box costs whatever the other names do, shape (C,)."""
    dots, frame = scene.dots, scene.frame
    outside = np.maximum(frame[:2] + dots - boxes[:, :2], 0).sum(axis=1)
    outside += np.maximum(boxes[:, 2:] + dots - frame[2:], 0).sum(axis=1)
    hidden = _inside(scene.points, boxes, MARKER * dots).sum(axis=1)
    crossed = _length_inside(scene.lines, boxes, dots) / (INK_POINTS * dots)
    leaders = _leaders(boxes, point, scene)
    apart = np.hypot(*np.moveaxis(leaders[:, :, None] - scene.points, -1, 0))
    # A line that comes nearer to another point than to its own seems to be of that one.
    to_own = np.hypot(*np.moveaxis(leaders - point, -1, 0))[:, :, None] - dots / 2
    touched = ((apart < MARKER * dots) & (apart < to_own)).any(axis=1).sum(axis=1)
    crossed = crossed + 2 * _crossings(leaders, scene.lines)
    cost = 1000 * outside + 3000 * hidden + 12 * crossed + 60 * touched + _gaps(boxes, point) / dots
    return np.asarray(cost + 200 * _covered(boxes, scene.legend, dots), dtype=np.float64)


def _mutual_cost(
    boxes: Floats, leaders: Floats, others: Sequence[tuple[Floats, Floats]], dots: float
) -> Floats:
    """What a box costs beside the other names and their lines, shape (C,)."""
    if not others:
        return np.zeros(len(boxes))
    other_boxes, other_leaders = (np.array(part) for part in zip(*others, strict=True))
    cost = 200 * _covered(boxes, other_boxes, dots)
    cost = cost + 25 * _inside(other_leaders.reshape(-1, 2), boxes, dots).sum(axis=1)
    crossing = _inside(leaders.reshape(-1, 2), other_boxes, dots).reshape(len(other_boxes), len(boxes), -1)
    return np.asarray(cost + 25 * crossing.sum(axis=(0, 2)), dtype=np.float64)


def _covered(boxes: Floats, others: Floats, dots: float) -> Floats:
    """How much of other boxes each box covers, a margin included, in square points plus 50 a box."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area = np.clip(high - low + 3 * dots, 0, None).prod(axis=2) / dots**2
    return np.asarray((area + 50 * (area > 0)).sum(axis=1), dtype=np.float64)


def _inside(samples: Floats, boxes: Floats, margin: float) -> npt.NDArray[np.bool_]:
    """Which samples (S, 2) lie in which boxes (C, 4) or within a margin of them, shape (C, S)."""
    x, y = samples[:, 0], samples[:, 1]
    left, bottom, right, top = (boxes[:, [side]] for side in range(4))
    return np.asarray((x > left - margin) & (x < right + margin) & (y > bottom - margin) & (y < top + margin))


def _length_inside(lines: Floats, boxes: Floats, margin: float) -> Floats:
    """How much of all lines (S, 2, 2) lies in each box (C, 4) or within a margin of it, shape (C,)."""
    start, step = lines[:, 0], lines[:, 1] - lines[:, 0]
    slope = np.where(step == 0, 1e-9, step)
    sides = [(side - start) / slope for side in (boxes[:, None, :2] - margin, boxes[:, None, 2:] + margin)]
    enters, leaves = np.minimum(*sides).max(axis=2), np.maximum(*sides).min(axis=2)
    shares = np.clip(np.minimum(leaves, 1) - np.maximum(enters, 0), 0, None)
    return np.asarray(shares @ np.hypot(step[:, 0], step[:, 1]), dtype=np.float64)


def _leaders(boxes: Floats, point: Floats, scene: Scene) -> Floats:
    """Samples of the line from each box to its point, all at the point where none is drawn, (C, K, 2)."""
    nearest = np.clip(point, boxes[:, :2], boxes[:, 2:])
    drawn = _gaps(boxes, point) > FAR * scene.dots
    ends = np.where(drawn[:, None], nearest, point)
    # From beyond the marker to just short of the box.
    shares = np.linspace(0.1, 0.97, LEADER_SAMPLES)
    return np.asarray(point + shares[None, :, None] * (ends - point)[:, None, :])


def _gaps(boxes: Floats, point: Floats) -> Floats:
    """Distance from a point to each box, in dots, shape (C,)."""
    beyond = np.maximum(np.maximum(boxes[:, :2] - point, point - boxes[:, 2:]), 0)
    return np.asarray(np.hypot(beyond[:, 0], beyond[:, 1]))


def _gap(box: Floats, point: Floats) -> float:
    return float(_gaps(box[None], point)[0])


def _crossings(leaders: Floats, lines: Floats) -> Floats:
    """How many drawn lines each name's own line crosses, shape (C,)."""
    start, end = leaders[:, None, 0], leaders[:, None, -1]
    first, last = lines[None, :, 0], lines[None, :, 1]

    def turn(a: Floats, b: Floats, c: Floats) -> Floats:
        return np.asarray(np.sign((b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0]))

    apart = turn(start, end, first) * turn(start, end, last)
    return np.asarray(((apart < 0) & (turn(first, last, start) * turn(first, last, end) < 0)).sum(axis=1))


def _lines(axes: Axes, frame: Floats) -> Floats:
    """Pieces of all lines drawn, in display dots, shape (S, 2, 2); intervals may reach beyond the frame."""
    pieces = [np.empty((0, 2, 2))]
    for line in axes.get_lines():
        ends = axes.transData.transform(np.asarray(line.get_xydata(), dtype=float))
        ends = np.clip(ends, frame[:2], frame[2:])
        pieces.append(np.stack([ends[:-1], ends[1:]], axis=1))
    return np.concatenate(pieces)


def _pin_legend(axes: Axes) -> None:
    """Keeps a legend where it found its place, whatever is written later."""
    legend = axes.get_legend()
    if legend is not None:
        corner = axes.transAxes.inverted().transform(legend.get_window_extent().extents[:2])
        legend.set_loc((float(corner[0]), float(corner[1])))


def _legend(axes: Axes) -> Floats:
    legend = axes.get_legend()
    return np.array([legend.get_window_extent().extents]) if legend is not None else np.empty((0, 4))
