import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from bench.cli import main
from bench.config import Recipe, RunConfig
from bench.data.clips import corpus_of
from bench.quality.measures import Scored, measure_named
from bench.results.runs import RunFolder
from bench.results.table import load_results
from bench.running.pipeline import run_chain
from bench.stress.conditions import CLEAN, CONDITIONS, Condition
from bench.stress.run import measured, open_runs, run_folders, score_under, with_ratios
from bench.stress.waves import Material
from bench.threads import threads
from models.errors import ResultsError
from models.task import KeywordTask

RECIPE = Recipe(versions=1, batch_size=32)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    """A base, its quantized form, and a base for another keyword, hardly trained."""
    folder = tmp_path_factory.mktemp("out")
    config = RunConfig("dq", data=str(tone_folder), task=KeywordTask("start"), recipe=RECIPE, epochs=2)
    with pytest.MonkeyPatch.context() as patch, threads(1):
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        run_chain(config, folder)
        run_chain(
            RunConfig("", data=str(tone_folder), task=KeywordTask("stop"), recipe=RECIPE, epochs=1),
            folder / "stop",
        )
    return folder


def stress(*words: object) -> Result:
    return CliRunner().invoke(main, ["stress", *map(str, words)], catch_exceptions=False)


def runs_of(out: Path) -> list[Path]:
    return sorted((out / "runs").iterdir())


def test_a_table_and_a_figure_for_each_family(out: Path, tmp_path: Path) -> None:
    result = stress(*reversed(runs_of(out)), "--draws", 20, "--out", tmp_path)
    assert result.exit_code == 0
    table = pd.read_csv(tmp_path / "stress.csv", keep_default_na=False, na_values=[""])
    # The folder has no noise of its own.
    assert "no background noise: tones has nothing to make it of" in result.output
    assert len(table) == 2 * (1 + len(CONDITIONS) - 5)
    assert table["name"].unique().tolist() == ["B", "DQ+B"], "the base first"
    kinds = ("snr", "reverberation", "level", "rate")
    files = sorted(f"stress-{kind}.{suffix}" for kind in kinds for suffix in ("png", "svg"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*files, "stress.csv"])
    assert all((tmp_path / name).stat().st_size > 3000 for name in files)
    for name in ("one_minus_auc", "eer"):
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
    # One in a hundred of 18 others is none: the figure is there, its interval is not.
    assert table["frr_at_far_1pct"].notna().all()
    assert table[["frr_at_far_1pct_low", "frr_at_far_1pct_high"]].isna().all(axis=None)
    assert table[["clips", "keyword_clips"]].drop_duplicates().to_numpy().tolist() == [[24, 6]]
    assert "6 of 24 test clips are the keyword" in result.output
    assert "rate 1.25" in result.output
    assert (
        stress(*runs_of(out), "--family", "rate", "--draws", 20, "--out", tmp_path / "again").exit_code == 0
    )
    again = pd.read_csv(tmp_path / "again" / "stress.csv", keep_default_na=False, na_values=[""])
    part = table[table["family"].isin(["clean", "rate"])]
    pd.testing.assert_frame_equal(again, part.reset_index(drop=True), check_dtype=False)
    for name in ("stress-rate.png", "stress-rate.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_clean_clips_score_as_in_the_row(out: Path, tmp_path: Path) -> None:
    """In the form that ships, clip by clip where it is quantized."""
    stress(*runs_of(out), "--family", "level", "--draws", 10, "--out", tmp_path)
    table = pd.read_csv(tmp_path / "stress.csv")
    rows = load_results(out / "results.csv").set_index("run_id")
    clean = table[table["family"] == "clean"].set_index("run_id")
    for name in ("au_fa_fr", "one_minus_auc", "eer", "frr_at_far_1pct", "clips", "keyword_clips"):
        for run_id in rows.index:
            assert clean.loc[run_id, name] == pytest.approx(rows.loc[run_id, name], abs=1e-12)
    assert set(table["family"]) == {"clean", "level"}


def test_scores_of_a_condition_do_not_depend_on_blocks_or_other_runs(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = open_runs(runs_of(out))
    corpus, task = corpus_of(RunFolder(tried[0].path), None)
    rows = corpus.indices("test")
    material = Material(corpus, rows[corpus.labels(task)[rows] == 0])
    condition = Condition("snr", "white", 0.0)
    both = score_under(condition, tried, rows, material, task)
    monkeypatch.setattr("bench.stress.run.BLOCK_CLIPS", 7)
    (alone,) = score_under(condition, tried[1:], rows, material, task)
    np.testing.assert_allclose(alone, both[1], atol=1e-6)
    clean = score_under(CLEAN, tried, rows, material, task)
    kept = np.load(tried[1].path / "scores.npz")["test"]
    np.testing.assert_allclose(clean[1], kept, atol=1e-6)
    assert np.abs(both[0] - clean[0]).max() > 1e-3


def test_figures_are_those_of_scikit_learn_with_the_intervals_of_the_clips() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(300) < 0.3).astype(np.int64)
    scores = 1 / (1 + np.exp(-(rng.standard_normal(300) + 1.5 * labels)))
    speakers = rng.integers(0, 10, 300)
    scored = Scored.of(KeywordTask(""), labels, scores, speakers)
    found = measured(scored, draws=200)
    assert found["one_minus_auc"] == pytest.approx(1 - roc_auc_score(labels, scores))
    for name in ("au_fa_fr", "one_minus_auc", "eer", "frr_at_far_1pct"):
        measure = measure_named(name)
        assert measure is not None
        spread = measure.interval(scored, draws=200)
        assert (found[f"{name}_low"], found[f"{name}_high"]) == (spread.low, spread.high)
    assert (found["clips"], found["keyword_clips"]) == (300, labels.sum())


def test_ratios_are_to_each_models_own_clean_figure() -> None:
    table = pd.DataFrame(
        {
            "run_id": ["a", "b", "a", "b"],
            "family": ["clean", "clean", "rate", "rate"],
            "one_minus_auc": [0.01, 0.0, 0.05, 0.02],
        }
    )
    assert with_ratios(table)["ratio_to_clean"].fillna(-1).tolist() == [1.0, -1, 5.0, -1]


def test_what_was_tried_until_ctrl_c_is_kept(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(condition: Condition, *args: object) -> list[np.ndarray]:
        if condition.value == 1.1:
            raise KeyboardInterrupt
        return score_under(condition, *args)

    monkeypatch.setattr("bench.stress.run.score_under", stopped)
    kept = shutil.copytree(out, tmp_path / "kept")
    result = stress(*runs_of(kept), "--family", "rate", "--draws", 10)
    assert result.exit_code == 130
    assert result.output.rstrip().endswith("stopped; what is finished stays")
    (path,) = (kept / "stress" / "start").iterdir()
    assert path.name == "stress-stopped.csv"
    assert pd.read_csv(path)["condition"].tolist() == ["clean"] * 2 + ["rate 0.8"] * 2 + ["rate 0.9"] * 2


def test_labels_of_a_table_stand_for_runs(out: Path) -> None:
    results = out / "results.csv"
    base, quantized = load_results(results)["run_id"]
    assert [path.name for path in run_folders(results, ["DQ+B"])] == [quantized]
    assert [path.name for path in run_folders(results, [])] == [base, quantized]
    assert run_folders(results, ["B"], "start") == run_folders(results, ["B"])
    with pytest.raises(ResultsError, match=r"no finished run of 'stop' in .*; there is: start"):
        run_folders(results, [], "stop")
    with pytest.raises(ResultsError, match=r"no finished run 'KD' in .*; there is: B, DQ\+B"):
        run_folders(results, ["KD"])


@pytest.mark.parametrize("status", [["diverged"], []])
def test_a_table_without_a_finished_run_is_one_line(status: list[str], tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    columns = ("run_id", "chain", "size_kb", "macs", "au_fa_fr")
    pd.DataFrame({name: [1] * len(status) for name in columns} | {"status": status}).to_csv(path, index=False)
    for words in ((), ("B",), ("--keyword", "start")):
        result = stress("--results", path, *words)
        assert result.exit_code == 2
        assert (
            result.stderr == f"bench: no finished run in {path}; give a table with a row whose status is ok\n"
        )


def test_runs_that_do_not_belong_together_are_refused_in_one_line(out: Path, tmp_path: Path) -> None:
    (other,) = (out / "stop" / "runs").iterdir()
    result = stress(*runs_of(out), other, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "are of different tasks; give runs of one corpus and one task" in result.output
    unfinished = shutil.copytree(other, tmp_path / "unfinished")
    (unfinished / "row.json").unlink()
    assert "holds no complete run: row.json is missing" in stress(unfinished).output
    undefined = shutil.copytree(other, tmp_path / "undefined")
    row = json.loads((undefined / "row.json").read_text()) | {"status": "undefined", "reason": "no numbers"}
    (undefined / "row.json").write_text(json.dumps(row))
    assert "did not end well: undefined, no numbers" in stress(undefined).output
    assert "give run folders" in stress().output
    assert "give --results TABLE.csv too" in stress(other, "--keyword", "stop").output
    assert "no run at nowhere" in stress("nowhere").output
    assert not (tmp_path / "out").exists()


def test_runs_of_one_label_are_told_apart_and_none_is_taken_twice(out: Path, tmp_path: Path) -> None:
    base = next(path for path in runs_of(out) if path.name.startswith("base"))
    assert [run.name for run in open_runs([base, base])] == ["B"]
    twin = shutil.copytree(base, tmp_path / "base-twin")
    row = (twin / "row.json").read_text().replace(base.name, "base-twin")
    (twin / "row.json").write_text(row)
    assert [run.name for run in open_runs([base, twin])] == [f"B ({base.name[-4:]})", "B (twin)"]


def test_several_words_are_tried_by_their_own_measures(words_run: Path, tmp_path: Path) -> None:
    result = stress(words_run, "--family", "rate", "--draws", 20, "--out", tmp_path)
    assert result.exit_code == 0
    table = pd.read_csv(tmp_path / "stress.csv")
    clean = table[table["family"] == "clean"].iloc[0]
    row = load_results(words_run.parents[1] / "results.csv").iloc[0]
    for name in ("accuracy", "macro_f1", "clips"):
        assert clean[name] == pytest.approx(row[name], abs=1e-12)
    assert not {"keyword", "one_minus_auc", "keyword_clips"} & set(table.columns)
    assert set(table["task"]) == {"words start stop + unknown"}
    # Faster tones stay at their pitch; errors are what the accuracy lacks.
    wrong = 1 - table.set_index("condition")["accuracy"]
    expected = (wrong / wrong["clean"]) if wrong["clean"] else wrong * float("nan")
    np.testing.assert_allclose(table["ratio_to_clean"], expected)
    assert "1 - accuracy on tones, words start stop + unknown" in " ".join(result.output.split())
    assert (tmp_path / "stress-rate.png").stat().st_size > 3000
