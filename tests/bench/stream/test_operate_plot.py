"""Figures of operating curves: what is drawn, from errors written down by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import bench.stream.operate_plot as subject
from bench.stream.operate_plot import Line, draw_curves, draw_delays
from bench.stream.operation import Sweep


def swept(alarms: list[int], misses: list[int]) -> Sweep:
    """Ten keyword clips in two hours."""
    missed = np.array([[n < count for n in range(10)] for count in misses], float)
    speakers = np.array(list("aabbccddee"))
    return Sweep(np.linspace(0.1, 0.9, len(alarms)), np.array(alarms), missed, speakers, 1, 7200.0)


def lines(count: int) -> list[Line]:
    """The lowest threshold joins alarms, so the curve begins at the second."""
    validation = swept([20, 40, 8, 2, 0], [0, 1, 2, 3, 9])
    test = swept([30, 60, 20, 6, 0], [0, 0, 1, 4, 8])
    delays = (np.array([100.0, 200.0, 400.0]), np.empty(0))
    return [Line(f"run {n}", validation, test, (3, 4), delays) for n in range(count)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures on their way to files."""
    figures: list[Figure] = []

    def keep(figure: Figure, stem: Path) -> list[Path]:
        figures.append(figure)
        return [stem]

    monkeypatch.setattr(subject, "save_figure", keep)
    return figures


@pytest.mark.parametrize("count", [1, 12])
def test_curves_marks_and_intervals(drawn: list[Figure], tmp_path: Path, count: int) -> None:
    draw_curves(lines(count), (1.0, 0.1), tmp_path)
    for axes, alarms, misses in zip(
        drawn[0].axes, ([20, 4, 1, 0], [30, 10, 3, 0]), ([10, 20, 30, 90], [0, 10, 40, 80]), strict=True
    ):
        found = axes.get_lines()
        curve = next(line for line in found if line.get_label() == "run 0")
        assert np.asarray(curve.get_xdata()).tolist() == alarms
        assert np.asarray(curve.get_ydata()) == pytest.approx(misses)
        marks = {(line.get_marker(), *line.get_xydata()[0]) for line in found if line.get_marker() in "os"}
        assert marks == {("o", alarms[2], misses[2]), ("s", alarms[3], misses[3])}
        # The band, and beside marks on test both intervals where there are few lines.
        assert len(axes.collections) == count
        crosses = 4 if count == 1 and alarms[0] == 30 else 0
        assert len(found) == count * 3 + crosses


def test_delays_and_a_point_without_any(drawn: list[Figure], tmp_path: Path) -> None:
    draw_delays(lines(2), (1.0, 0.1), tmp_path)
    (axes,) = drawn[0].axes
    marks = [line.get_xydata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
    assert [x for x, _ in marks] == [200, 200]
    assert not [line for line in axes.get_lines() if line.get_marker() == "s"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["run 0", "run 1"]


def test_same_runs_same_bytes(tmp_path: Path) -> None:
    first, second = (
        [
            *draw_curves(lines(2), (1.0, 0.1), tmp_path / name),
            *draw_delays(lines(2), (1.0, 0.1), tmp_path / name),
        ]
        for name in ("a", "b")
    )
    assert [path.name for path in first] == [
        f"{name}.{end}" for name in ("operating_curves", "detection_delays") for end in ("png", "svg")
    ]
    for here, there in zip(first, second, strict=True):
        assert here.read_bytes() == there.read_bytes()


def test_names_are_no_mathematics(tmp_path: Path) -> None:
    named = [replace(line, name=name) for line, name in zip(lines(2), ("$\\frac{$", "x" * 999), strict=True)]
    for draw in (draw_curves, draw_delays):
        assert "<!-- $\\frac{$ -->" in draw(named, (1.0, 0.1), tmp_path)[1].read_text()
