import io
import re
from pathlib import Path

import pandas as pd
from matplotlib.collections import LineCollection
from rich.console import Console

from bench.stress.conditions import CLEAN, CONDITIONS, Condition
from bench.stress.plot import draw_stress, family_figure
from bench.stress.report import stress_tables, summary
from bench.stress.run import with_ratios
from bench.texts import plain_console


def row(name: str, chain: str, condition: Condition, value: float) -> dict[str, object]:
    return {
        "run_id": name,
        "name": name,
        "chain": chain,
        "seed": 0,
        "data": "tones",
        "keyword": "start",
        "family": condition.family,
        "kind": condition.kind,
        "value": condition.value,
        "condition": condition.name,
        "one_minus_auc": value,
        "one_minus_auc_low": value / 2,
        "one_minus_auc_high": value * 2,
        "clips": 100,
        "keyword_clips": 10,
    }


def table(factors: dict[str, float], conditions: tuple[Condition, ...] = CONDITIONS) -> pd.DataFrame:
    """Models whose clean 1-AUC is 0.01, and that factor times that under all conditions."""
    rows = []
    for name, factor in factors.items():
        chain = "" if name == "B" else name.lower()
        rows += [row(name, chain, CLEAN, 0.01)] + [
            row(name, chain, each, 0.01 * factor) for each in conditions
        ]
    return with_ratios(pd.DataFrame(rows))


def test_factors_stand_beside_the_bases() -> None:
    lines = summary(table({"B": 2.0, "KD": 6.0}))
    assert lines[1:] == [
        "B: snr 2x; reverberation 2x; level 2x; rate 2x",
        "KD: snr 6x (2x); reverberation 6x (2x); level 6x (2x); rate 6x (2x)",
    ]
    assert "no base among the runs" in summary(table({"KD": 6.0}))[-1]


def test_means_are_geometric_and_pass_over_what_is_unknown() -> None:
    found = table({"B": 2.0, "KD": 6.0})
    rates = found["family"].eq("rate") & found["name"].eq("KD")
    found.loc[rates, "ratio_to_clean"] = [1.0, 4.0, 16.0, float("nan")]
    assert summary(found)[2].endswith("rate 4x (2x)")
    found.loc[found["name"].eq("KD"), "ratio_to_clean"] = float("nan")
    assert summary(found)[2] == "KD: snr - (-); reverberation - (-); level - (-); rate - (-)"


def test_tables_of_many_models_fit_80_columns() -> None:
    names = {"B": 2.0, **{f"DQ+SP+AD+KD{number}": 3.0 for number in range(6)}}
    tables, _ = stress_tables(table(names))
    assert len(tables) == 3
    console = Console(file=io.StringIO(), width=80)
    for each in tables:
        console.print(each)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert len(re.findall(r"^ *babble -5 dB +", text, re.M)) == 3
    assert "0.0300" in text
    assert "…" not in text


def test_a_figure_holds_every_figure_and_interval() -> None:
    found = table({"B": 2.0, "KD": 6.0})
    figure = family_figure(found, "snr")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{kind} noise" for kind in ("white", "pink", "babble", "background")
    ]
    for axes in figure.axes:
        assert [list(line.get_ydata()) for line in axes.lines] == [[0.01, *[0.02] * 5], [0.01, *[0.06] * 5]]
        bars = [bar for bar in axes.collections if isinstance(bar, LineCollection)]
        assert [[tuple(piece[:, 1]) for piece in bar.get_segments()][1] for bar in bars] == [
            (0.01, 0.04),
            (0.03, 0.12),
        ]
    assert [text.get_text() for text in figure.axes[2].get_xticklabels()] == [
        "clean",
        "20",
        "10",
        "5",
        "0",
        "-5",
    ]
    (level,) = family_figure(found, "level").axes
    assert [text.get_text() for text in level.get_xticklabels()] == ["-24", "-12", "-6", "0", "+6", "+12"]
    assert list(level.lines[1].get_ydata()) == [0.06, 0.06, 0.06, 0.01, 0.06, 0.06]


def test_names_in_figures_are_no_mathematics(tmp_path: Path) -> None:
    only = tuple(each for each in CONDITIONS if each.family == "rate")
    found = table({"B": 2.0, "$\\frac{$": 3.0, "x" * 1000: 4.0}, only).assign(keyword="$x_1$")
    _, svg = draw_stress(found, tmp_path)
    assert "<!-- $\\frac{$ -->" in svg.read_text()
    assert "<!-- tones, keyword '$x_1$' -->" in svg.read_text()


def test_names_in_tables_are_no_markup() -> None:
    tables, _ = stress_tables(table({"[/b]": 2.0, ":smile:": 3.0}))
    with (console := plain_console()).capture() as captured:
        console.print(tables[0])
    assert "[/b]" in captured.get()
    assert ":smile:" in captured.get()


def test_families_that_were_not_tried_are_not_drawn_and_no_error_is_no_failure(tmp_path: Path) -> None:
    only = tuple(each for each in CONDITIONS if each.family == "rate")
    assert [path.name for path in draw_stress(table({"B": 2.0}, only), tmp_path)] == [
        "stress-rate.png",
        "stress-rate.svg",
    ]
    perfect = table({"B": 2.0}, only).assign(one_minus_auc=0.0, one_minus_auc_low=0.0)
    assert len(draw_stress(perfect, tmp_path)) == 2
