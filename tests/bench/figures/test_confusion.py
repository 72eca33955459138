"""The confusion figure, from tables that were counted by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from bench.figures.files import NothingToDrawError
from bench.figures.plots import draw_figure, draw_figures
from bench.quality.confusion import CONFUSION_FILE, save_confusion
from tests.bench.figures.tables import rows, words_rows


def keep(runs: Path, run: str, counts: list[list[int]], classes: list[str]) -> None:
    (runs / run).mkdir(parents=True)
    save_confusion(runs / run, pd.DataFrame(counts, classes, classes))


def table(*labels: str) -> pd.DataFrame:
    """A row for each label; a label that comes twice has two seeds."""
    runs = [f"{label}-{labels[:at].count(label)}" for at, label in enumerate(labels)]
    one = words_rows().iloc[:1]
    return pd.concat([one] * len(labels), ignore_index=True).assign(label=list(labels), run_id=runs)


def panels(figure: Figure) -> dict[str, tuple[list[list[float]], list[str]]]:
    """By title: the shares that are drawn, and the numbers in the cells."""
    return {
        axes.get_title(): (axes.images[0].get_array().tolist(), [text.get_text() for text in axes.texts])
        for axes in figure.axes
        if axes.get_title()
    }


def test_rows_are_shares_and_cells_are_counts_averaged_over_seeds(tmp_path: Path) -> None:
    keep(tmp_path, "B-0", [[9, 1], [0, 0]], ["no", "null"])
    keep(tmp_path, "KD-0", [[10, 0], [4, 0]], ["no", "null"])
    keep(tmp_path, "KD-1", [[5, 5], [1, 3]], ["no", "null"])
    figure = draw_figure(table("B", "KD", "KD"), "confusion", tmp_path)
    assert panels(figure) == {
        "B": ([[0.9, 0.1], [0.0, 0.0]], ["9", "1", "0", "0"]),
        "KD": ([[0.75, 0.25], [0.625, 0.375]], ["7.5", "2.5", "2.5", "1.5"]),
    }
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["no", "null"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("said", "true")


def test_a_few_models_share_a_picture_and_many_classes_have_one_each(tmp_path: Path) -> None:
    labels = ["B", "KD", "AD", "SP", "DQ"]
    for classes, pictures in ((12, 2), (13, 5)):
        runs, names = tmp_path / f"runs{classes}", [f"w{number}" for number in range(classes)]
        for label in labels:
            keep(runs, f"{label}-0", [[3] * classes] * classes, names)
        drawn = draw_figures(table(*labels), tmp_path / f"out{classes}", ["confusion"], runs)
        stems = ["confusion", *(f"confusion-{number}" for number in range(2, pictures + 1))]
        assert [path.name for path in drawn.written] == [
            f"{one}.{end}" for one in stems for end in ("png", "svg")
        ]
        shown = panels(draw_figure(table(*labels), "confusion", runs))
        assert list(shown) == (labels[:4] if classes == 12 else ["B"])
        assert bool(shown["B"][1]) == (classes == 12)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    keep(tmp_path, "B-0", [[9, 1], [0, 9]], ["no", "yes"])
    figure = draw_figure(table("B", "KD"), "confusion", tmp_path)
    assert list(panels(figure)) == ["B"]
    assert figure.get_suptitle().endswith(f"no {CONFUSION_FILE} kept, so left out: KD")
    for other, runs, why in (
        (rows(), tmp_path, "of tasks of several words"),
        (words_rows(), tmp_path, "names no runs"),
        (table("KD"), tmp_path, "no tables of the runs"),
    ):
        with pytest.raises(NothingToDrawError, match=why):
            draw_figure(other, "confusion", runs)
    (tmp_path / "B-0" / CONFUSION_FILE).write_text("true,no\nno,x\n")
    with pytest.raises(NothingToDrawError, match=CONFUSION_FILE):
        draw_figure(table("B"), "confusion", tmp_path)
    (tmp_path / "KD-0").mkdir()
    keep(tmp_path, "AD-0", [[1, 0], [0, 1]], ["no", "yes"])
    keep(tmp_path, "AD-1", [[1, 0], [0, 1]], ["yes", "no"])
    with pytest.raises(NothingToDrawError, match="runs of AD are of different classes"):
        draw_figure(table("AD", "AD"), "confusion", tmp_path)
