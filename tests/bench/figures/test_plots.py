"""Figures against the published table, whose points and joins are written out here by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from matplotlib.image import imread

from bench.cli import main
from bench.figures.plots import (
    ALL_KINDS,
    KINDS,
    MOST_FOLDERS,
    MOST_MODELS,
    NothingToDrawError,
    draw_figure,
    draw_figures,
    kinds_of,
    non_dominated,
)
from bench.results.table import load_results
from models.errors import ResultsError
from tests.bench.figures.tables import rows, words_rows

PUBLISHED = Path(__file__).parents[3] / "results" / "kws_hw_published.csv"
WITHOUT_TORCH = """
import sys
from click.testing import CliRunner
from bench.cli import main

table, out = sys.argv[1:]
for arguments in (
    ["figures", "--help"],
    ["compare", "--help"],
    ["compare", table, table],
    ["figures", table, "--out", out],
):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "torch" not in sys.modules, arguments
"""


def lines(kind: str) -> list[list[tuple[float, float]]]:
    axes = draw_figure(load_results(PUBLISHED), kind).axes[0]
    return [[(float(x), float(y)) for x, y in line.get_xydata()] for line in axes.get_lines()]


def points(kind: str) -> set[tuple[float, float]]:
    axes = draw_figure(load_results(PUBLISHED), kind).axes[0]
    offsets = np.concatenate([each.get_offsets() for each in axes.collections])
    return {(float(x), float(y)) for x, y in offsets}


def test_quantization_joins_each_model_to_its_own_form() -> None:
    assert sorted(map(sorted, lines("quantization"))) == sorted(
        map(
            sorted,
            [
                [(278.51, 2.60e-05), (80.60, 2.74e-05)],
                [(36.07, 4.59e-05), (16.72, 4.61e-05)],
                [(18.76, 4.77e-05), (12.16, 4.72e-05)],
                [(13.14, 5.28e-05), (10.28, 5.21e-05)],
                [(22.20, 4.77e-05), (13.03, 4.85e-05)],
            ],
        )
    )


def test_quantization_joins_by_chain_whatever_the_labels_say() -> None:
    # A preset may name its rows as it likes.
    for names in (["B", "small", "DQ+small"], ["big", "small", "small, 8 bit"]):
        table = rows(label=names, chain=["", "kd:hidden=8", "dq+kd:hidden=8"]).assign(quantized=False)
        joined = draw_figure(table, "quantization").axes[0].get_lines()
        assert [line.get_xdata().tolist() for line in joined] == [[36.0, 17.0]]


def test_every_converter_of_a_model_is_joined_to_it_and_has_a_line_of_its_own() -> None:
    table = load_results(PUBLISHED.parent / "arabic_ship.csv")
    sizes = {14.6123046875: "AD+KD", 11.1572265625: "DQ", 1.61328125: "QAT", 280.2373046875: "B"}

    def joined(kind: str, data: str) -> set[tuple[str, ...]]:
        drawn = [line for line in draw_figure(table, kind).axes[0].get_lines() if line.get_alpha() != 0.5]
        return {tuple(sizes[float(size)] for size in getattr(line, data)()) for line in drawn}

    assert joined("quantization", "get_xdata") == {("AD+KD", "DQ"), ("AD+KD", "QAT")}
    # Not one line through both converters, whose models have the same MACs.
    assert joined("size_vs_macs", "get_ydata") == {("AD+KD", "B"), ("DQ",), ("QAT",)}
    fronts = {text.get_text(): text.get_color() for text in draw_figure(table, "pareto_size").axes[0].texts}
    assert fronts == {"B": "black", "QAT(bits=4)+AD+\nKD": "black", "AD+KD": "0.55", "DQ+AD+KD": "0.55"}


def intervals(figure: Figure) -> dict[float, tuple[float, float]]:
    """Vertical lines, by where they stand."""
    found = [line.get_xydata() for line in figure.axes[0].get_lines()]
    return {x[0]: (y[0], y[1]) for x, y in (each.T.tolist() for each in found) if x[0] == x[1]}


@pytest.mark.parametrize("kind", ["quantization", "pareto_size", "pareto_macs", "distillation"])
def test_intervals_are_drawn_of_the_rows_that_have_them(kind: str) -> None:
    ends = {"au_fa_fr_low": [1e-6, None, 4e-5], "au_fa_fr_high": [3e-5, None, 9e-4]}
    figure = draw_figure(rows(**ends), kind)
    at = {"pareto_macs": {2000.0: 0, 300.0: 2}, "distillation": {280.0: 0}}.get(kind, {280.0: 0, 17.0: 2})
    expected = {x: (ends["au_fa_fr_low"][row], ends["au_fa_fr_high"][row]) for x, row in at.items()}
    assert intervals(figure) == expected
    axes = figure.axes[0]
    assert axes.get_ylabel().endswith("\nbars: 95 % intervals")
    # A bar as long as its like is seen to its upper end, and is not cut below by much.
    low, high = axes.get_ylim()
    assert high > max(end for _, end in expected.values())
    assert low < 2e-5
    assert intervals(draw_figure(rows(), kind)) == {}
    assert "bars" not in draw_figure(rows(), kind).axes[0].get_ylabel()


def test_intervals_of_repeats_are_means_and_those_that_reach_to_0_leave_room() -> None:
    ends = {"au_fa_fr_low": [0.0, 0.0, 0.0], "au_fa_fr_high": [3e-3, 4e-3, 5e-3]}
    more = {"au_fa_fr_low": [1e-9, 0.0, 0.0], "au_fa_fr_high": [5e-3, 6e-3, 7e-3]}
    figure = draw_figure(pd.concat([rows(**ends), rows(**more)], ignore_index=True), "quantization")
    assert list(intervals(figure)) == [280.0, 36.0, 17.0]
    ends_drawn = np.array(list(intervals(figure).values()))
    assert ends_drawn == pytest.approx(np.array([(5e-10, 4e-3), (0, 5e-3), (0, 6e-3)]), abs=0)
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    # Not down to the ends, which would leave the points a sliver.
    assert axes.get_ylim()[0] == pytest.approx(2e-5 / 3)
    figure.draw_without_rendering()
    names = [text.get_window_extent().bounds for text in axes.texts]
    assert np.isfinite(names).all()


def test_distillation_joins_from_large_to_small() -> None:
    assert lines("distillation") == [
        [(278.51, 2.60e-05), (36.07, 4.59e-05), (18.76, 4.77e-05), (13.14, 5.28e-05)]
    ]


def test_distillation_of_one_run_of_a_pruned_student() -> None:
    """The three rows of ``bench run --chain dq+sp+ad+kd``."""
    table = rows(label=["B", "SP+AD+KD", "DQ+SP+AD+KD"], chain=["", "sp+ad+kd", "dq+sp+ad+kd"])
    (line,) = draw_figure(table, "distillation").axes[0].get_lines()
    assert line.get_xydata().tolist() == [[280.0, 2e-5], [36.0, 4e-5]]


def test_distillation_shows_pruned_students_beside_the_line_of_the_others() -> None:
    assert points("distillation") == {
        *((278.51, 2.60e-05), (36.07, 4.59e-05), (18.76, 4.77e-05), (13.14, 5.28e-05)),
        (22.20, 4.77e-05),
    }
    axes = draw_figure(load_results(PUBLISHED), "distillation").axes[0]
    assert axes.get_legend_handles_labels()[1] == ["by distillation alone", "with other compressors"]


@pytest.mark.parametrize("chain", ["sp", "lr"])
def test_distillation_takes_a_distilled_student(chain: str) -> None:
    with pytest.raises(NothingToDrawError, match="the base and a distilled student"):
        draw_figure(rows(chain=["", chain, f"dq+{chain}"], label=["B", "X", "DQ+X"]), "distillation")


def test_epochs_are_of_the_students() -> None:
    assert points("size_vs_epochs") == {(75, 36.07), (175, 18.76), (117, 13.14), (40, 22.20)}
    assert points("macs_vs_epochs") == {(75, 305.167), (175, 186.924), (117, 137.698), (40, 193.420)}


def test_epochs_to_the_target_come_first() -> None:
    reached = rows(epochs_to_target=[None, 7, 7])
    for table, epochs, name in ((reached, 7, "epochs to the target"), (rows(), 40, "epochs to the best")):
        axes = draw_figure(table, "size_vs_epochs").axes[0]
        assert np.asarray(axes.collections[0].get_offsets()).tolist() == [[epochs, 36.0]]
        assert axes.get_xlabel() == name


def test_size_vs_macs_has_two_joined_series() -> None:
    floats = [(137.698, 13.14), (186.924, 18.76), (193.420, 22.20), (305.167, 36.07), (1952.368, 278.51)]
    quantized = [(137.698, 10.28), (186.924, 12.16), (193.420, 13.03), (305.167, 16.72), (1952.368, 80.60)]
    assert lines("size_vs_macs") == [floats, quantized]


def test_metric_vs_macs_has_all_ten() -> None:
    assert len(points("metric_vs_macs")) == 10
    assert all(start[0] == end[0] for start, end in lines("metric_vs_macs"))


def test_pareto_fronts() -> None:
    front = [(10.28, 5.21e-05), (12.16, 4.72e-05), (16.72, 4.61e-05), (36.07, 4.59e-05), (80.60, 2.74e-05)]
    assert lines("pareto_size") == [[*front, (278.51, 2.60e-05)]]
    assert lines("pareto_macs") == [
        [(137.698, 5.21e-05), (186.924, 4.72e-05), (305.167, 4.59e-05), (1952.368, 2.60e-05)]
    ]
    axes = draw_figure(load_results(PUBLISHED), "pareto_macs").axes[0]
    faded = {text.get_text() for text in axes.texts if text.get_color() != "black"}
    assert faded == {"DQ+B", "DQ+KD", "KD2", "AD+KD", "SP+AD+KD", "DQ+SP+AD+KD"}
    assert {each.get_alpha() for each in axes.collections} == {0.3, 1.0}


def test_non_dominated_agrees_with_its_definition() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (2, 30))
    for index, kept in enumerate(non_dominated(x, y)):
        beaten = ((x <= x[index]) & (y <= y[index]) & ((x < x[index]) | (y < y[index]))).any()
        assert kept != beaten


def test_axes_have_units_and_no_offset() -> None:
    axes = draw_figure(load_results(PUBLISHED), "quantization").axes[0]
    axes.get_figure().draw_without_rendering()
    assert axes.get_ylabel() == "au_fa_fr (10⁻⁵), lower is better"
    assert axes.yaxis.get_offset_text().get_text() == ""
    assert "3.5" in [tick.get_text() for tick in axes.get_yticklabels()]
    assert axes.get_xscale() == "log"
    assert draw_figure(rows(au_fa_fr=[0.0, 0.0, 0.0]), "quantization").axes[0].get_yscale() == "linear"
    assert draw_figure(rows(au_fa_fr=[1e-5, 4e-4, 5e-3]), "quantization").axes[0].get_yscale() == "log"


def test_files_are_there_and_not_empty(tmp_path: Path) -> None:
    drawn = draw_figures(rows(), tmp_path / "figures")
    assert [path.name for path in drawn.written] == [
        f"{kind}.{end}" for kind in KINDS for end in ("png", "svg")
    ]
    assert drawn.left_out == []
    assert sorted(tmp_path.rglob("*.*")) == sorted(drawn.written)
    for path in drawn.written:
        if path.suffix == ".png":
            assert len(np.unique(imread(path)[:, :, 0])) > 20
    # Text in an SVG is outlines, each with its words in a comment.
    assert "<!-- DQ+KD -->" in (tmp_path / "figures" / "quantization.svg").read_text()


def test_failed_rows_are_in_no_figure(tmp_path: Path) -> None:
    table = rows(status=["ok", "ok", "diverged"], au_fa_fr=[2e-5, 4e-5, None])
    drawn = draw_figures(table, tmp_path)
    assert [line.split(":")[0] for line in drawn.left_out] == ["quantization"]
    assert not [path for path in drawn.written if path.suffix == ".svg" and "DQ+KD" in path.read_text()]
    nothing = draw_figures(rows(status=["diverged"] * 3), tmp_path)
    assert nothing.written == []
    assert len(nothing.left_out) == len(KINDS)


def test_several_groups_have_folders_of_their_own(tmp_path: Path) -> None:
    table = pd.concat([rows(), rows(keyword=["on/off"] * 3)], ignore_index=True)
    drawn = draw_figures(table, tmp_path, ["distillation"])
    expected = {tmp_path / folder / "distillation.png" for folder in ("tones-left", "tones-on_off")}
    assert {path for path in drawn.written if path.suffix == ".png"} == expected


def test_a_table_without_students_names_what_is_left_out() -> None:
    with pytest.raises(NothingToDrawError, match="no model is there both float and quantized"):
        draw_figure(rows().iloc[:2], "quantization")
    with pytest.raises(NothingToDrawError, match="no trained student's epochs"):
        draw_figure(rows().iloc[:1], "size_vs_epochs")
    with pytest.raises(NothingToDrawError, match="no macs"):
        draw_figure(rows(macs=[None, None, None]), "size_vs_macs")


def test_more_models_than_a_figure_holds_are_counted_in_it_and_on_the_terminal(tmp_path: Path) -> None:
    count = 10_000
    table = pd.DataFrame(
        {
            "label": [f"m{number}" for number in range(count)],
            "chain": [f"kd:hidden={number}" for number in range(count)],
            "macs": np.arange(count) + 1e5,
            "size_kb": np.arange(count) + 10.0,
            "au_fa_fr": np.linspace(1e-4, 1e-5, count),
        }
    )
    table.to_csv(tmp_path / "many.csv", index=False)
    arguments = ["figures", str(tmp_path / "many.csv"), "--kind", "pareto_size"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert result.stderr == "left out: 9,960 models: drawn are the first 40 of 10,000 models\n"
    assert "<!-- the first 40 of 10,000 models -->" in Path(result.stdout.split()[1]).read_text()
    axes = draw_figure(table, "pareto_size").axes[0]
    assert {text.get_text() for text in axes.texts} == {f"m{number}" for number in range(MOST_MODELS)}
    assert MOST_MODELS == 40


def test_more_keywords_than_folders_are_counted_on_the_terminal(tmp_path: Path) -> None:
    words = [rows(keyword=[f"w{number}"] * 3) for number in range(MOST_FOLDERS + 1)]
    drawn = draw_figures(pd.concat(words, ignore_index=True), tmp_path, ["size_vs_epochs"])
    assert drawn.left_out == ["all after the first 40 of 41 corpora, tasks, models and recipes"]
    assert len(drawn.written) == 2 * MOST_FOLDERS


def test_names_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    names = ["$\\frac{$", "x" * 10_000, "\u6f22\x1b[1m\tKD"]
    table = rows(label=names, keyword=["$x_1$"] * 3, data=["[/b]"] * 3)
    drawn = draw_figures(table, tmp_path, ["quantization"])
    assert drawn.left_out == ["the ends of names of more than 80 characters"]
    text = (tmp_path / "quantization.svg").read_text()
    assert "<!-- $\\frac{$ -->" in text
    assert "<!-- [/b], keyword '$x_1$' -->" in text
    assert "\u6f22 [1m" in text
    assert "…" in text
    ElementTree.fromstring(text)


def test_unknown_kind_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no figure .pie.; there is: quantization, .*pareto_macs"):
        draw_figures(rows(), tmp_path / "figures", ["pie"])
    assert not (tmp_path / "figures").exists()


def test_same_table_same_bytes_and_never_torch(tmp_path: Path) -> None:
    here = draw_figures(load_results(PUBLISHED), tmp_path / "here")
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, PUBLISHED, tmp_path / "there"], check=True, cwd=tmp_path
    )
    assert len(here.written) == 16
    for path in here.written:
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), path.name


def test_command_draws_beside_the_table(tmp_path: Path) -> None:
    for name, folder in (("results.csv", "figures"), ("mine.csv", "figures/mine")):
        rows().iloc[:2].to_csv(tmp_path / name, index=False)
        arguments = ["figures", str(tmp_path / name), "--kind", "distillation", "--kind", "quantization"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0
        assert result.stdout.split() == [
            str(tmp_path / folder / f"distillation.{end}") for end in ("png", "svg")
        ]
        assert result.stderr == "left out: quantization: no model is there both float and quantized\n"


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--kind", "pie"], "no figure 'pie'"), ([], "no results table at")]
)
def test_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    table = tmp_path / "table.csv"
    if arguments:
        rows().to_csv(table, index=False)
    result = CliRunner().invoke(main, ["figures", str(table), *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_words_draw_accuracy_and_keep_what_is_better_above(tmp_path: Path) -> None:
    axes = draw_figure(words_rows(), "pareto_size").axes[0]
    assert axes.get_ylabel() == "accuracy, higher is better"
    assert axes.get_title(loc="left") == "tones, words yes no up down + unknown"
    # The student is larger than its quantized form, and worse.
    (front,) = axes.get_lines()
    assert front.get_xydata().tolist() == [[17.0, 0.93], [280.0, 0.95]]
    drawn = draw_figures(words_rows(), tmp_path, ALL_KINDS, tmp_path)
    assert sorted(path.name for path in drawn.written) == sorted(
        f"{kind}.{end}" for kind in KINDS for end in ("png", "svg")
    )
    assert drawn.left_out[0] == "det: it is of keyword tasks"
    assert draw_figure(words_rows(accuracy=[0.01, 0.9, 0.9]), "quantization").axes[0].get_yscale() == "linear"


def test_another_view_of_a_keywords_curve_has_no_figures_of_its_own(tmp_path: Path) -> None:
    drawn = draw_figures(rows(one_minus_auc=[0.01, 0.02, 0.03]), tmp_path, ["pareto_size"])
    assert [path.name for path in drawn.written] == ["pareto_size.png", "pareto_size.svg"]
    assert draw_figure(rows(), "pareto_size").axes[0].get_ylabel().startswith("au_fa_fr (10")


def test_nothing_is_said_of_figures_that_another_kind_of_task_has() -> None:
    assert kinds_of(rows()) == (*KINDS, "det")
    assert kinds_of(words_rows()) == (*KINDS, "confusion")
    assert kinds_of(pd.concat([rows(), words_rows()])) == ALL_KINDS
