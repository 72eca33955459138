"""What a chain owes each of its compressors."""

import io
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from bench.config import RunConfig
from bench.figures.ablation import draw_ablation
from bench.results.records import RunRecord, no_quality
from bench.results.table import append_record
from bench.running.executors import Outcome
from bench.studies.ablation import contributions, orders, variants
from bench.terminal.console import ablate_and_show, run_and_show
from bench.terminal.tables import ablation_table, missing_lines
from models.crnn import CrnnSpec
from models.errors import ChainError
from models.task import KeywordTask, WordsTask
from tests.rows import row_of

ROW = replace(row_of(KeywordTask("k")), run_id="r", label="B", chain="")


def row(chain: str, size_kb: float, macs: int, miss: float, seed: int = 0) -> RunRecord:
    area = {"one_minus_auc": miss, "one_minus_auc_low": miss / 2, "one_minus_auc_high": 2 * miss}
    cost = {"size_kb": size_kb, "macs": macs, "params": 100}
    return replace(ROW, chain=chain, label=chain.upper(), seed=seed, quality={**ROW.quality, **area}, **cost)


def test_each_compressor_is_left_out_once_and_a_useless_rest_says_why() -> None:
    found = {each.left_out: each for each in variants("dq+sp:keep=0.5+kd", CrnnSpec())}
    assert {name: each.chain for name, each in found.items()} == {
        "nothing": "dq+sp:keep=0.5+kd",
        "dq": "sp:keep=0.5+kd",
        "sp": "dq+kd",
        "kd": "dq+sp:keep=0.5",
        "all": "",
    }
    alone = {each.left_out: each for each in variants("sp+ad:hidden=64,channels=8", CrnnSpec())}
    assert "nothing gets smaller" in alone["sp"].reason
    with pytest.raises(ChainError, match="nothing to leave out"):
        variants("base", CrnnSpec())


def test_every_order_is_either_a_run_or_refused() -> None:
    found = orders("dq+sp+ad+kd", CrnnSpec())
    texts = [text for order in found.allowed.values() for text in order]
    assert len(texts) + len(found.refused) == math.factorial(4)
    assert not set(texts) & set(found.refused)
    # A conversion stands first; what trains and what cuts commute among themselves.
    assert all(text.startswith("dq+") for text in texts)
    assert list(found.allowed) == ["dq+sp+ad+kd"]


def test_contributions_are_ratios_to_the_whole_and_means_over_repeats(tmp_path: Path) -> None:
    records = [
        row("dq+kd", 10.0, 300, 0.02),
        row("dq+kd", 10.0, 300, 0.04, seed=1),
        row("kd", 30.0, 300, 0.01),
        row("kd", 30.0, 300, 0.03, seed=1),
        row("dq", 80.0, 1800, 0.001),
        replace(row("", 280.0, 1800, 0.0), status="diverged", reason="the loss was nan"),
    ]
    table = contributions(variants("dq+kd", CrnnSpec()), records).set_index("left_out")
    assert table["runs"].to_dict() == {"nothing": 2, "dq": 2, "kd": 1, "all": 0}
    assert table.loc["dq", "size_kb_ratio"] == pytest.approx(3.0)
    assert table.loc["kd", "macs_ratio"] == pytest.approx(6.0)
    # The whole chain's .03 less the .02 that it has without dq.
    assert table.loc["dq", "one_minus_auc_change"] == pytest.approx(0.01)
    assert table.loc["nothing", "one_minus_auc_high"] == pytest.approx(0.06)
    assert pd.isna(table.loc["all", "size_kb"])
    assert table.loc["all", "reason"] == "diverged: the loss was nan"
    assert missing_lines(table.reset_index()) == ["the base, 0 runs: diverged: the loss was nan"]
    drawn = draw_ablation(table.reset_index(), tmp_path / "ablation", "DQ+KD")
    assert [path.suffix for path in drawn] == [".png", ".svg"]
    first = drawn[1].read_bytes()
    draw_ablation(table.reset_index(), tmp_path / "ablation", "DQ+KD")
    assert drawn[1].read_bytes() == first
    _, svg = draw_ablation(table.reset_index(), tmp_path / "ablation", "KD, keyword '$\\frac{$'")
    assert "<!-- KD, keyword '$\\frac{$' -->" in svg.read_text()


def test_words_are_told_by_their_accuracy(tmp_path: Path) -> None:
    task = WordsTask(("yes", "no"), with_unknown=True)
    figures = no_quality(task) | {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95}
    whole = replace(row("dq+kd", 10.0, 300, 0.0), quality=figures, keyword="", task=task.text)
    better = {**figures, "accuracy": 0.97, "validation_accuracy": 0.96}
    records = [whole, replace(whole, chain="kd", label="KD", quality=better)]
    table = contributions(variants("dq+kd", CrnnSpec()), records)
    assert [name for name in table if "accuracy" in name] == [
        *("accuracy", "accuracy_low", "accuracy_high", "validation_accuracy", "accuracy_change")
    ]
    assert not [name for name in table if "auc" in name]
    found = table.set_index("left_out").loc["dq"]
    assert (found["accuracy"], found["validation_accuracy"]) == (0.97, 0.96)
    assert found["accuracy_change"] == pytest.approx(-0.07)
    _, svg = draw_ablation(table, tmp_path / "ablation", "DQ+KD")
    assert "accuracy on test, 95 % interval" in svg.read_text()
    console = Console(file=io.StringIO(), width=80)
    console.print(ablation_table(table, task.text))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "accuracy: higher is better" in " ".join(shown.split())
    assert "0.9700" in shown
    assert "(0.8000, 0.9500)" in shown


def test_files_of_a_chain_with_options_lie_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = "qat:bits=8/gru.hh=4+kd"
    rows = [
        replace(row(each.chain, 10.0, 300, 0.02), run_id=each.left_out)
        for each in variants(chain, CrnnSpec())
    ]
    for record in rows:
        append_record(tmp_path, record)
    outcome = Outcome({record.chain: record for record in rows})
    monkeypatch.setattr("bench.terminal.console.run_all_of", lambda *args, **options: outcome)
    assert ablate_and_show([RunConfig(chain, task=KeywordTask("k"))], tmp_path, jobs=1, plugins=()) == 0
    name = "ablation-qat_bits=8_gru.hh=4+kd-k"
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")} == {
        *(f"figures/{name}.{suffix}" for suffix in ("png", "svg")),
        f"{name}.csv",
        *("results.csv", "summary.csv", ".results.lock"),
    }
    assert pd.read_csv(tmp_path / f"{name}.csv")["chain"][0] == chain


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_base_that_diverged_leaves_tables_that_say_so(
    seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        replace(ROW, run_id=f"base-{seed}", seed=seed, status="diverged", reason="the loss was nan")
        for seed in range(seeds)
    ]
    outcome = Outcome({record.run_id: record for record in rows})
    for record in rows:
        append_record(tmp_path, record)
    monkeypatch.setattr("bench.terminal.console.run_all_of", lambda *args, **options: outcome)
    assert ablate_and_show([RunConfig("dq+kd", task=KeywordTask("k"))], tmp_path, jobs=1, plugins=()) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f"the base, 0 runs: {'; '.join(['diverged: the loss was nan'] * seeds)}" in shown
    assert "without dq, 0 runs: not run, for what it is made from failed" in shown
    assert run_and_show([RunConfig("dq+kd", task=KeywordTask("k"))], tmp_path, jobs=1, plugins=()) == 1
    assert "nan" not in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "summary.csv")["failed"].tolist() == [seeds]
