"""Figures against the published table, whose points and joins are written out here by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.image import imread

from bench.cli import main
from bench.figures.plots import (
    KINDS,
    NothingToDrawError,
    by_label,
    draw_figure,
    draw_figures,
    groups,
    non_dominated,
    tokens,
)
from bench.records import load_results
from models.errors import ResultsError

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


def rows(**columns: list[object]) -> pd.DataFrame:
    """A small table of one corpus: the base, a student, and its quantized form."""
    table = {
        "label": ["B", "KD", "DQ+KD"],
        "chain": ["", "kd", "dq+kd"],
        "status": ["ok"] * 3,
        "data": ["tones"] * 3,
        "corpus_hash": ["c0ffee00beef"] * 3,
        "keyword": ["left"] * 3,
        "model": ["crnn"] * 3,
        "recipe": ["default"] * 3,
        "au_fa_fr": [2e-5, 4e-5, 5e-5],
        "size_kb": [280.0, 36.0, 17.0],
        "macs": [2_000_000, 300_000, 300_000],
        "epochs": [60, 60, 60],
        "best_epoch": [50, 40, 40],
        "epochs_to_target": [None, None, None],
    }
    return pd.DataFrame(table | columns)


def lines(kind: str) -> list[list[tuple[float, float]]]:
    axes = draw_figure(load_results(PUBLISHED), kind).axes[0]
    return [[(float(x), float(y)) for x, y in line.get_xydata()] for line in axes.get_lines()]


def points(kind: str) -> set[tuple[float, float]]:
    axes = draw_figure(load_results(PUBLISHED), kind).axes[0]
    offsets = np.concatenate([each.get_offsets() for each in axes.collections])
    return {(float(x), float(y)) for x, y in offsets}


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("B", ()),
        ("DQ+B", ("dq",)),
        ("KD2", ("kd",)),
        ("DQ+SP(keep=0.5)+AD+KD", ("dq", "sp", "ad", "kd")),
    ],
)
def test_tokens(label: str, expected: tuple[str, ...]) -> None:
    assert tokens(label) == expected


def test_by_label_averages_runs_and_leaves_failed_ones_out() -> None:
    table = pd.concat([rows(), rows(au_fa_fr=[4e-5, 8e-5, 9e-5], status=["ok", "ok", "diverged"])])
    found = by_label(table).set_index("label")
    assert list(found.index) == ["B", "KD", "DQ+KD"]
    assert found["au_fa_fr"].tolist() == pytest.approx([3e-5, 6e-5, 5e-5])
    assert found["kilo_macs"].tolist() == [2000, 300, 300]
    assert found["quantized"].tolist() == [False, False, True]


def test_by_label_keeps_other_options_apart() -> None:
    table = pd.concat([rows(), rows(chain=["", "kd:hidden=8", "dq+kd:hidden=8"])])
    assert by_label(table)["label"].tolist() == ["B", "KD", "DQ+KD", "KD", "DQ+KD"]


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
    table = rows(label=["B", "small", "small, 8 bit"], chain=["", "kd:hidden=8", "dq+kd:hidden=8"])
    table["quantized"] = False
    # A preset may name its rows as it likes, but only DQ marks a quantized one.
    named = table.assign(label=["B", "small", "DQ+small"])
    joined = draw_figure(named, "quantization").axes[0].get_lines()
    assert [line.get_xdata().tolist() for line in joined] == [[36.0, 17.0]]


def test_distillation_joins_from_large_to_small() -> None:
    assert lines("distillation") == [
        [(278.51, 2.60e-05), (36.07, 4.59e-05), (18.76, 4.77e-05), (13.14, 5.28e-05)]
    ]


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


def test_groups_never_mix_keywords_or_corpora() -> None:
    assert list(groups(rows())) == [""]
    assert list(groups(load_results(PUBLISHED))) == [""]
    other = rows(keyword=["stop"] * 3, au_fa_fr=[1.0, 1.0, 1.0])
    parts = groups(pd.concat([rows(), other], ignore_index=True))
    assert list(parts) == ["tones-left", "tones-stop"]
    assert parts["tones-left"]["au_fa_fr"].max() < 1
    assert parts["tones-stop"]["au_fa_fr"].min() == 1
    again = rows(corpus_hash=["deadbeef0000"] * 3)
    assert list(groups(pd.concat([rows(), again]).reset_index(drop=True))) == [
        "tones-left-c0ffee00",
        "tones-left-deadbeef",
    ]
    study = pd.concat([rows(), rows(recipe=["kws-hw"] * 3)], ignore_index=True)
    assert list(groups(study)) == ["tones-left-default", "tones-left-kws-hw"]


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
