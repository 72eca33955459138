"""A second headline measure, from the example plugin, is seen wherever figures are with no other change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.comparing.summary import summarise
from bench.quality.measures import _PLUGINS, Scored, measure_of
from bench.quality.paired import paired_difference
from bench.results.records import RunRecord, no_quality
from bench.terminal.tables import summary_table
from models.task import WordsTask
from models.tasks import task_values

EXAMPLE = Path(__file__).parents[1] / "examples" / "measure_worst_word.py"
TASK = WordsTask(("yes", "no", "up", "down"), with_unknown=True)
SPEAKERS = np.repeat([f"s{number}" for number in range(8)], 50)
LABELS = np.arange(400) % 5
# By label: every so many clips of the last word are taken for something else.
WRONG = {"B": 10, "KD": 2, "DQ+KD": 2}


@pytest.fixture(autouse=True)
def _worst_word() -> Iterator[None]:
    run_path(str(EXAMPLE))
    yield
    _PLUGINS.clear()


def said(label: str) -> np.ndarray:
    wrong = (LABELS == 4) & (np.arange(400) // 5 % WRONG[label] == 0)
    return np.eye(5)[np.where(wrong, 1, LABELS)]


def write(folder: Path, *, of_base: float) -> Path:
    """A table of three models with their scores; ``of_base`` is added to the base's worst word."""
    rows = []
    for label, size_kb in (("B", 280.0), ("KD", 36.0), ("DQ+KD", 17.0)):
        run = folder / "runs" / label
        run.mkdir(parents=True)
        np.savez(run / "scores.npz", test=said(label), test_labels=LABELS, test_speakers=SPEAKERS)
        (run / "config.json").write_text(json.dumps({"run": {"task": task_values(TASK)}}))
        scored = Scored.of(TASK, LABELS, said(label), SPEAKERS)
        figures = {name: measure_of(TASK, name).value(scored) for name in ("accuracy", "worst_word")}
        row = {"run_id": label, "label": label, "chain": "" if label == "B" else label.lower(), "seed": 0}
        row |= {"status": "ok", "data": "tones", "corpus_hash": "c0ffee", "task": TASK.text, **figures}
        rows.append(row | {"size_kb": size_kb, "macs": 10_000 if label == "B" else 3000})
    rows[0]["worst_word"] += of_base
    path = folder / "results.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_it_is_compared_and_limited(tmp_path: Path) -> None:
    before, after = write(tmp_path / "a", of_base=0.0), write(tmp_path / "b", of_base=0.1)
    lines = bench("compare", before, after, "--format", "markdown").stdout.splitlines()
    assert lines[2] == "| chain | accuracy | worst_word | KB | kMACs |"
    # 8 of the 80 clips of the last word are missed by the base.
    assert "| B | 0.98 = | 0.1 -> 0.2 +100% |" in lines[4]
    assert bench("compare", before, after, "--fail-if", "worst_word>+10%").exit_code == 1
    assert bench("compare", after, before, "--fail-if", "worst_word>+10%").exit_code == 0
    assert ", worst_word, " in bench("compare", before, after, "--fail-if", "colour>+1").stderr


def test_labels_are_tested_by_it(tmp_path: Path) -> None:
    path = write(tmp_path, of_base=0.0)
    asked = ("compare", path, "--test", "B", "--test", "KD", "--measure", "worst_word", "--format", "json")
    (line,) = json.loads(bench(*asked).stdout)
    assert line["difference"] == pytest.approx(0.4)
    assert line["verdict"] == "B better"
    found = paired_difference(LABELS, said("B"), said("KD"), SPEAKERS, "worst_word", task=TASK)
    assert line["p_value"] == pytest.approx(found.p_value)


def test_it_has_figures_of_its_own_beside_those_of_the_first(tmp_path: Path) -> None:
    path = write(tmp_path, of_base=0.0)
    result = bench("figures", path, "--kind", "pareto_size", "--kind", "size_vs_macs")
    assert [Path(line).name for line in result.stdout.split() if line.endswith("png")] == [
        *("pareto_size.png", "pareto_size-worst_word.png", "size_vs_macs.png")
    ]
    drawn = (path.parent / "figures" / "pareto_size-worst_word.svg").read_text()
    assert "misses of the worst word, lower is better" in drawn


def test_it_is_in_the_row_the_terminals_table_and_the_summary() -> None:
    quality = {**no_quality(TASK), "worst_word": 0.25, "accuracy": 0.9}
    made = {"model": "crnn", "data": "tones", "corpus_hash": "c", "recipe": "default", "task": TASK.text}
    rows = [
        RunRecord(run_id=f"b-{seed}", label="B", chain="", seed=seed, quality=quality, **made)
        for seed in range(2)
    ]
    assert {"worst_word", "worst_word_low", "validation_worst_word"} <= set(no_quality(TASK))
    headings = [str(column.header) for column in summary_table(rows[:1]).columns]
    assert headings[-2:] == ["accuracy\ntest", "misses of the worst word\ntest"]
    line = summarise(pd.DataFrame([row.columns() for row in rows])).iloc[0]
    assert (line["worst_word_mean"], line["worst_word_std"]) == (0.25, 0.0)
