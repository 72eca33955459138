"""Whatever table a person hands to a command: a result, or one line that says what is wrong, and status 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.image import imread

from bench.cli import main
from bench.figures.plots import ALL_KINDS

RESULTS = Path(__file__).parents[1] / "results"
TABLES = ("arabic_ship.csv", "arabic_start.csv", "synthetic_sheila.csv", "kws_hw_published.csv")
NUMBERS = (
    *("", "0", "-3", "7", "1e308", "-1e308", "1e15", "1e-320", "nan", "inf", "-inf", "True", "1+2j", "0x10"),
    *("12345678901234567890123", "1_000", "１２", " 5 ", "1,5", "2026-01-01"),
)
TEXTS = (
    *(
        "$\\frac{$",
        "$x_1$",
        "[/b]",
        "[red]",
        ":smile:",
        "%s {}",
        "\x1b[31m",
        "\x00",
        "a\nb",
        "\r",
        "\t",
        "'",
        '"',
    ),
    *(
        "\u202e\u0627\u0628",
        "漢字😀",
        "x" * 10_000,
        "a+" * 500,
        "_a",
        "..",
        "/etc",
        "((((",
        "+",
        "dq+",
        "all",
        "NA",
    ),
)
# What every command reads; others are changed too, but seldom.
OFTEN = (
    *(
        "label",
        "chain",
        "size_kb",
        "macs",
        "au_fa_fr",
        "params",
        "keyword",
        "data",
        "status",
        "seed",
        "run_id",
    ),
    *("epochs", "best_epoch", "au_fa_fr_low", "au_fa_fr_high", "payload_bytes", "one_minus_auc"),
)


def a_table(rng: np.random.Generator) -> pd.DataFrame:
    """Up to eight rows of a committed table, with cells, columns and rows that no one asked for."""
    whole = pd.read_csv(RESULTS / str(rng.choice(TABLES)), dtype=str, keep_default_na=False)
    count = 0 if rng.random() < 0.1 else int(rng.integers(1, 9))
    # Rows may stand there twice.
    table = whole.iloc[rng.integers(len(whole), size=count)].reset_index(drop=True).copy()
    for _ in range(rng.integers(0, 4)):
        names = [name for name in OFTEN if name in table] if rng.random() < 0.8 else list(table.columns)
        name = str(rng.choice(names))
        cell = str(rng.choice(NUMBERS if rng.random() < 0.5 else TEXTS))
        match rng.choice(["cell", "cell", "column", "gone", "shuffled"]):
            case "cell" if count:
                table.loc[rng.integers(count), name] = cell
            case "column":
                table[name] = cell
            case "gone":
                table = table.drop(columns=name)
            case "shuffled":
                table[name] = table[name].sample(frac=1, random_state=int(rng.integers(1000))).to_numpy()
    return table


def commands(rng: np.random.Generator, path: Path, other: Path) -> list[list[str]]:
    """All that reads a table."""
    kinds = [word for kind in rng.choice(ALL_KINDS, 2) for word in ("--kind", kind)]
    form = str(rng.choice(["table", "csv", "json", "markdown"]))
    return [
        ["figures", str(path), "--out", str(path.parent / "figures"), *kinds],
        ["compare", str(path), str(other), "--format", form],
        ["compare", str(RESULTS / "kws_hw_published.csv"), str(path)],
        ["compare", str(path), str(other), "--fail-if", "size_kb>+10%"],
        ["compare", str(path), "--test", "all", "--format", form],
        ["compare", str(path), "--test", "B", "--test", "AD+KD", "--keyword", "start"],
        ["stress", "--results", str(path)],
        ["stress", "--results", str(path), "--keyword", "start", "B"],
    ]


def keep_scores(runs: Path, rng: np.random.Generator) -> None:
    """Clip scores of the runs of the committed tables, and of nothing else."""
    labels = np.arange(60) % 6 == 0
    for table in TABLES[:2]:
        for run in pd.read_csv(RESULTS / table)["run_id"]:
            (runs / run).mkdir(parents=True, exist_ok=True)
            scores = {"test": rng.random(60), "test_labels": labels.astype(float)}
            np.savez(runs / run / "scores.npz", test_speakers=np.repeat([*"abcdef"], 10), **scores)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_any_table_gives_a_result_or_one_line(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    keep_scores(tmp_path / "runs", rng)
    path, other = tmp_path / "results.csv", tmp_path / "other.csv"
    for each in (path, other):
        a_table(rng).to_csv(each, index=False)
    if rng.random() < 0.15:
        path.write_bytes(path.read_bytes()[: int(rng.integers(path.stat().st_size))])
    for words in commands(rng, path, other):
        result = CliRunner().invoke(main, words)
        assert isinstance(result.exception, SystemExit | None), (words, result.exception)
        # 1: the change that --fail-if forbids.
        assert result.exit_code in (0, 1, 2), words
        if result.exit_code == 2:
            assert result.stderr.startswith("bench: "), words
            assert result.stderr.count("\n") == 1, words
    for figure in (tmp_path / "figures").rglob("*.png"):
        assert len(np.unique(imread(figure)[:, :, 0])) > 20, figure
