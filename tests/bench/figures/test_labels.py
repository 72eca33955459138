"""Names in figures: legible in the published table and in random ones."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from bench.figures.labels import _length_inside, place_labels, wrap
from bench.figures.plots import KINDS, draw_figure
from bench.results.table import load_results

PUBLISHED = Path(__file__).parents[3] / "results" / "kws_hw_published.csv"
NAMES = ["B", "KD2", "AD+KD", "DQ+SP+AD+KD", "KD(kernel=13x5,hidden=12)", "DQ+KD(kernel=13x5,hidden=12)"]


def collisions(figure: Figure) -> list[str]:
    """What a reader could not read, measured on the finished figure and not by the code that placed it."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    # An annotation's own extent has its line in it.
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in axes.texts]
    points = np.concatenate([each.get_offsets() for each in axes.collections])
    found = [f"{a} on {b}" for (a, x), (b, y) in itertools.combinations(boxes, 2) if x.overlaps(y)]
    for name, box in boxes:
        for dot in axes.transData.transform(points):
            # A marker of 40 square points has a radius of 3.6.
            if Bbox.from_extents(*(dot - 3.6 * figure.dpi / 72), *(dot + 3.6 * figure.dpi / 72)).overlaps(
                box
            ):
                found.append(f"{name} on the point {dot}")
        legend = axes.get_legend()
        if legend is not None and legend.get_window_extent().overlaps(box):
            found.append(f"{name} on the legend")
        frame = axes.get_window_extent()
        if not (frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)):
            found.append(f"{name} outside")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_published_names_are_legible(kind: str) -> None:
    assert collisions(draw_figure(load_results(PUBLISHED), kind)) == []


@pytest.mark.parametrize("rows", [2, 5, 12, 24])
@pytest.mark.parametrize("kind", ["pareto_size", "metric_vs_macs"])
def test_random_names_are_legible(rows: int, kind: str) -> None:
    rng = np.random.default_rng(rows)
    # Two clusters, the way students crowd together far from their base.
    macs = np.where(rng.random(rows) < 0.8, 1, 15) * rng.uniform(1e5, 2e5, rows)
    table = pd.DataFrame(
        {
            "label": [f"{NAMES[index % len(NAMES)]}{index}" for index in range(rows)],
            "macs": macs,
            "size_kb": macs / 7000,
            "au_fa_fr": rng.uniform(2e-5, 6e-5, rows).round(6),
        }
    )
    assert collisions(draw_figure(table, kind)) == []


def test_lengths_of_lines_in_boxes_are_those_of_many_samples() -> None:
    rng = np.random.default_rng(0)
    lines, corners = rng.uniform(0, 100, (30, 2, 2)), rng.uniform(0, 100, (40, 2, 2))
    lines[:5, 1, 0] = lines[:5, 0, 0]  # upright, as intervals are
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    expected = np.zeros(len(boxes))
    for start, end in lines:
        samples = start + np.linspace(0, 1, 20_001)[:, None] * (end - start)
        inside = (samples[None] > boxes[:, None, :2] - 2) & (samples[None] < boxes[:, None, 2:] + 2)
        expected += inside.all(axis=2).mean(axis=1) * np.hypot(*(end - start))
    assert _length_inside(lines, boxes, 2.0) == pytest.approx(expected, abs=0.3)


def test_names_keep_clear_of_intervals_that_leave_the_axes() -> None:
    table = pd.DataFrame(
        {
            "label": NAMES,
            "macs": 1e5,
            "size_kb": [10.0, 14.0, 20.0, 28.0, 40.0, 56.0],
            "au_fa_fr": [2e-5, 4e-5, 3e-5, 5e-5, 2e-5, 4e-5],
            "au_fa_fr_low": [0.0] * 6,
            "au_fa_fr_high": [9e-3] * 6,
        }
    )
    figure = draw_figure(table, "pareto_size")
    assert collisions(figure) == []
    assert len(figure.axes[0].texts) == 6


def test_names_of_one_place_keep_apart() -> None:
    figure = Figure((4, 3))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    x, y = [1.0] * 5 + [2.0], [1.0] * 5 + [2.0]
    axes.scatter(x, y, s=40)
    place_labels(axes, ["AD+KD"] * 6, x, y)
    assert len(axes.texts) == 6
    assert collisions(figure) == []


def test_a_name_far_from_its_point_has_a_line() -> None:
    figure = Figure((4, 3))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    crowd = np.stack(np.meshgrid(*[np.linspace(-1, 1, 13)] * 2), axis=-1).reshape(-1, 2)
    axes.set(xlim=(-4, 4), ylim=(-4, 4))
    axes.scatter(*crowd.T, s=40)
    names = ["somewhere in the crowd" if not point.any() else "" for point in crowd]
    place_labels(axes, names, *crowd.T)
    far = next(text for text in axes.texts if text.get_text())
    assert far.get_text() == "somewhere in the\ncrowd"
    assert far.arrow_patch is not None
    lone = Figure((4, 3))
    FigureCanvasAgg(lone)
    place_labels(lone.subplots(), ["B"], [0.5], [0.5])
    assert lone.axes[0].texts[0].arrow_patch is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("DQ+SP+AD+KD", "DQ+SP+AD+KD"),
        ("KD(kernel=13x5,hidden=12)", "KD(kernel=13x5,\nhidden=12)"),
        ("DQ+KD(kernel=13x5,hidden=12)", "DQ+KD\n(kernel=13x5,\nhidden=12)"),
        ("SP(keep=0.25)+AD+KD", "SP(keep=0.25)+\nAD+KD"),
        ("a_plugin_without_any_break", "a_plugin_without_any_break"),
        ("x" * 40, f"{'x' * 32}\n{'x' * 8}"),
        ("((a(((b", "((a(((b"),
        ("((((((((((((((((((", "(((((((((((((((((("),
    ],
)
def test_long_names_break_where_options_do(name: str, shown: str) -> None:
    assert wrap(name) == shown
    assert wrap(name).replace("\n", "") == name
