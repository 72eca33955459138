"""Labels of one table tested against each other: tables and run folders are written by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from scipy.stats import ttest_1samp

from bench.cli import main
from bench.comparing.tables import compare, side
from bench.quality.metrics import auc
from models.task import Task, WordsTask
from models.tasks import task_values

SPEAKERS = np.repeat([f"s{number}" for number in range(8)], 50)
LABELS = np.tile(np.r_[np.ones(10), np.zeros(40)], 8)


def scores(quality: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-(rng.normal(size=400) + quality * (LABELS - 0.5))))


def write(
    folder: Path,
    runs: dict[str, list[np.ndarray]],
    columns: dict[str, list[object]] | None = None,
    **kept: np.ndarray,
) -> Path:
    """A table with a row for every label and seed, and the run folders beside it."""
    rows = []
    for label, seeds in runs.items():
        for seed, values in enumerate(seeds):
            run = folder / "runs" / f"{label}-{seed}"
            run.mkdir(parents=True)
            arrays = {"test": values, "test_labels": LABELS, "test_speakers": SPEAKERS} | kept
            np.savez(run / "scores.npz", **{name: array for name, array in arrays.items() if len(array)})
            area = auc(LABELS, values)
            row = {"run_id": run.name, "label": label, "chain": label.lower(), "status": "ok", "seed": seed}
            row |= {"data": "tones", "corpus_hash": "c0ffee", "keyword": "left", "size_kb": 1.0, "macs": 1}
            rows.append(row | {"au_fa_fr": 0.09 * (1 - area), "auc": area, "one_minus_auc": 1 - area})
    path = folder / "results.csv"
    pd.DataFrame(rows).assign(**(columns or {})).to_csv(path, index=False)
    return path


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def three(folder: Path) -> Path:
    return write(folder, {"B": [scores(4, 1)], "KD": [scores(4, 2)], "BAD": [scores(1, 3)]})


def test_a_clear_difference_is_shown_and_none_is_not(tmp_path: Path) -> None:
    result = bench(three(tmp_path), "--test", "B", "--test", "KD", "--test", "BAD", "--format", "csv")
    assert result.exit_code == 0, result.stderr
    found = pd.read_csv(io.StringIO(result.stdout)).set_index(["a", "b"])
    assert list(found["verdict"]) == ["no difference shown", "B better", "KD better"]
    line = found.loc[("B", "BAD")]
    assert line["difference"] == pytest.approx(line["b_mean"] - line["a_mean"])
    assert line["low"] < line["difference"] < line["high"]
    assert (line["clips"], line["keyword_clips"], line["speakers"], line["runs"]) == (400, 80, 8, 1)
    # Holm: the least of three p-values counts three times.
    assert found["p_corrected"].min() == pytest.approx(3 * found["p_value"].min())


def test_a_higher_auc_is_better(tmp_path: Path) -> None:
    path = three(tmp_path)
    found = json.loads(
        bench(path, "--test", "B", "--test", "BAD", "--measure", "auc", "--format", "json").stdout
    )
    assert (found[0]["measure"], found[0]["verdict"]) == ("auc", "B better")
    assert found[0]["difference"] < 0


def test_all_labels_in_every_format_within_80_columns(tmp_path: Path) -> None:
    path = three(tmp_path)
    shown = bench(path, "--test", "all").stdout
    assert max(map(len, shown.splitlines())) <= 80
    for text in ("B / KD", "B / BAD", "KD / BAD", "no difference shown", "corrected for 3 pairs", "one seed"):
        assert text in " ".join(shown.split())
    markdown = bench(path, "--test", "all", "--format", "markdown").stdout
    assert "| A / B | B - A | 95 % interval | p | verdict |" in markdown
    assert len(json.loads(bench(path, "--test", "all", "--format", "json").stdout)) == 3


def test_seeds_are_paired_and_averaged(tmp_path: Path) -> None:
    runs = {
        "B": [scores(4, 1), scores(3, 2), scores(3.5, 3)],
        "KD": [scores(2, 4), scores(2, 5), scores(2, 6)],
    }
    result = bench(write(tmp_path, runs), "--test", "all", "--format", "csv")
    line = pd.read_csv(io.StringIO(result.stdout)).iloc[0]
    single = [auc(LABELS, b) - auc(LABELS, k) for b, k in zip(runs["B"], runs["KD"], strict=True)]
    assert line["runs"] == 3
    assert line["difference"] == pytest.approx(np.mean(single))
    # Speakers vary besides seeds, but more degrees of freedom than two count.
    assert line["high"] - line["low"] > 0.5 * np.ptp(ttest_1samp(single, 0).confidence_interval())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--test", "B"], "two labels or more"),
        (["--test", "B", "--test", "C"], "no label 'C' in the table; there is: B, KD, BAD"),
        (
            ["--test", "all", "--measure", "colour"],
            "no measure 'colour' of keyword left; there is: au_fa_fr, auc",
        ),
        (["--test", "all", "--fail-if", "auc>+1"], "no --fail-if"),
    ],
)
def test_bad_requests_are_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = bench(three(tmp_path), *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_a_seed_that_is_no_number_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, {"B": [scores(4, 1)], "KD": [scores(4, 2)]}, {"seed": ["0", "x"]})
    result = bench(path, "--test", "all")
    assert result.exit_code == 2
    assert result.stderr == f"bench: {path}: column 'seed' holds 'x', which is no number\n"


def test_more_labels_than_anyone_can_tell_apart_are_refused(tmp_path: Path) -> None:
    path = three(tmp_path)
    row = pd.read_csv(path).iloc[0]
    labels = [f"m{number}" for number in range(10_000)]
    pd.DataFrame([row] * len(labels)).assign(label=labels).to_csv(path, index=False)
    result = bench(path, "--test", "all")
    assert result.exit_code == 2
    assert result.stderr == "bench: --test takes 40 labels at most, not 10,000: name those to test\n"
    result = bench(path, "--test", "B", "--test", "KD")
    assert result.stderr.endswith(", m18, m19 and 9,980 more\n")


def test_a_table_without_the_measure_is_tested_on_the_scores_alone(tmp_path: Path) -> None:
    path = three(tmp_path)
    whole = bench(path, "--test", "all", "--format", "csv")
    pd.read_csv(path).drop(columns=["one_minus_auc", "keyword"]).to_csv(path, index=False)
    without = bench(path, "--test", "all", "--format", "csv")
    found, expected = (pd.read_csv(io.StringIO(each.stdout)) for each in (without, whole))
    assert found["p_value"].tolist() == expected["p_value"].tolist()
    assert found["a_mean"].isna().all()
    wrong = bench(path, "--test", "all", "--keyword", "left")
    assert wrong.stderr == "bench: no runs of the keyword 'left' in the table; there is: none\n"


def test_two_tables_are_refused(tmp_path: Path) -> None:
    path = three(tmp_path)
    result = bench(path, path, "--test", "all")
    assert result.exit_code == 2
    assert "--test takes one table" in result.stderr


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"test_speakers": np.array([])}, "holds no test_speakers: an older version wrote it"),
        ({"test": np.array([])}, "holds no test:"),
    ],
)
def test_older_run_folders_are_refused_in_one_line(
    tmp_path: Path, kept: dict[str, np.ndarray], words: str
) -> None:
    result = bench(write(tmp_path, {"B": [scores(4, 1)], "KD": [scores(3, 2)]}, **kept), "--test", "all")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_missing_run_folders_and_other_seeds_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"B": [scores(4, 1)], "KD": [scores(3, 2)]}, {"seed": [0, 1]})
    assert "B has left 0 and KD has left 1" in bench(path, "--test", "all").stderr
    (tmp_path / "runs" / "KD-0" / "scores.npz").unlink()
    assert "no scores at" in bench(path, "--test", "all").stderr


def test_other_clips_are_refused_whatever_the_measure(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"keyword": ["left", "stop"]}
    path = write(tmp_path, {"B": [scores(4, 1)], "KD": [scores(3, 2)]}, columns)
    for measure in ("au_fa_fr", "one_minus_auc"):
        result = bench(path, "--test", "all", "--measure", measure)
        assert result.exit_code == 2
        assert "paired by keyword and seed, but B has left 0 and KD has stop 0" in result.stderr
    other = write(tmp_path / "moved", {"B": [scores(4, 1)], "KD": [scores(3, 2)]})
    run = other.parent / "runs" / "KD-0" / "scores.npz"
    np.savez(run, test=scores(3, 2), test_labels=LABELS, test_speakers=SPEAKERS[::-1])
    assert "their scores do not line up" in bench(other, "--test", "all").stderr


def test_tables_of_other_shares_of_the_keyword_are_not_ranked() -> None:
    rows = pd.DataFrame({"label": ["KD"], "chain": ["kd"], "corpus_hash": ["c"], "keyword": ["left"]})
    rows = rows.assign(au_fa_fr=1e-4, auc=0.99, one_minus_auc=0.01, clips=400, keyword_clips=40)
    found = compare(side("A", rows), side("B", rows.assign(keyword_clips=20, au_fa_fr=5e-5))).changes
    assert set(found["measure"]) == {"au_fa_fr", "auc", "one_minus_auc"}
    assert set(found["verdict"]) == {"not compared"}


def test_several_keywords_are_compared_on_their_mean_or_one_alone(tmp_path: Path) -> None:
    runs = {"B": [scores(4, 1), scores(3, 2)], "KD": [scores(2, 3), scores(2, 4)]}
    columns: dict[str, list[object]] = {"keyword": ["left", "stop"] * 2, "seed": [0] * 4}
    path = write(tmp_path, runs, columns)
    found = pd.read_csv(io.StringIO(bench(path, "--test", "all", "--format", "csv").stdout)).iloc[0]
    assert (found["keywords"], found["runs"]) == (2, 2)
    areas = [[1 - auc(LABELS, values) for values in runs[label]] for label in ("B", "KD")]
    assert found["difference"] == pytest.approx(np.mean(areas[1]) - np.mean(areas[0]))
    one = bench(path, "--test", "all", "--format", "csv", "--keyword", "stop").stdout
    alone = pd.read_csv(io.StringIO(one)).iloc[0]
    assert alone["difference"] == pytest.approx(areas[1][1] - areas[0][1])
    assert "of each of 2 keywords" in bench(path, "--test", "all").stdout.replace("\n", " ")
    wrong = bench(path, "--test", "all", "--keyword", "right")
    assert wrong.exit_code == 2
    assert "no runs of the keyword 'right' in the table; there is: left, stop" in wrong.stderr


def test_a_fixed_teacher_is_tested_on_the_seed_that_it_has(tmp_path: Path) -> None:
    path = write(tmp_path, {"B": [scores(4, 1)], "KD": [scores(3, 2), scores(2, 3)]})
    found = pd.read_csv(io.StringIO(bench(path, "--test", "all", "--format", "csv").stdout)).iloc[0]
    assert found["runs"] == 1
    assert found["b_mean"] == pytest.approx(1 - auc(LABELS, scores(3, 2)))
    assert found["reason"] == "on the 1 runs that both have"


def test_two_runs_of_one_seed_are_no_repeats_and_failed_runs_are_passed_over(tmp_path: Path) -> None:
    runs = {"B": [scores(4, 1), scores(4, 2)], "KD": [scores(3, 2)], "SP": [scores(3, 5)]}
    twice = write(tmp_path / "twice", runs, {"seed": [0, 0, 0, 0]})
    assert "B has two runs of left seed 0" in bench(twice, "--test", "all").stderr
    failed = write(tmp_path / "failed", runs, {"status": ["ok", "ok", "ok", "diverged"]})
    assert "SP" not in bench(failed, "--test", "all").stdout


def words(folder: Path, tasks: list[Task]) -> Path:
    """A table of five classes, whose second label says everything right, and the first every third wrong."""
    labels, rows = np.arange(400) % 5, []
    for name, task in zip(("B", "KD"), tasks, strict=True):
        run = folder / "runs" / name
        run.mkdir(parents=True)
        said = np.where((np.arange(400) % 3 == 0) & (name == "B"), (labels + 1) % 5, labels)
        np.savez(run / "scores.npz", test=np.eye(5)[said], test_labels=labels, test_speakers=SPEAKERS)
        (run / "config.json").write_text(json.dumps({"run": {"task": task_values(task)}}))
        row = {
            "run_id": name,
            "label": name,
            "chain": name.lower(),
            "status": "ok",
            "seed": 0,
            "data": "tones",
        }
        row |= {"corpus_hash": "c0ffee", "task": task.text, "clip_s": task.clip_s, "size_kb": 1.0, "macs": 1}
        rows.append(row | {"accuracy": float((said == labels).mean())})
    path = folder / "results.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


FIVE = WordsTask(("yes", "no", "up", "down"), with_unknown=True)


@pytest.mark.parametrize("measure", ["", "macro_f1", "frr_at_far_1pct_up"])
def test_words_are_tested_by_accuracy_or_whatever_their_task_has(tmp_path: Path, measure: str) -> None:
    more = ["--measure", measure] if measure else []
    path = words(tmp_path, [FIVE, FIVE])
    (line,) = json.loads(bench(path, "--test", "all", "--format", "json", *more).stdout)
    assert (line["measure"], line["verdict"]) == (measure or "accuracy", "KD better")
    assert (line["clips"], line["keyword_clips"]) == (400, None)
    if not measure:
        assert line["difference"] == pytest.approx(134 / 400)
        assert "on the same 400 test clips, 8 speakers" in " ".join(
            bench(path, "--test", "all").stdout.split()
        )


def test_what_words_do_not_have_and_other_tasks_are_refused(tmp_path: Path) -> None:
    refused = bench(words(tmp_path / "a", [FIVE, FIVE]), "--test", "all", "--measure", "auc")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert (
        "no measure 'auc' of words yes no up down + unknown; there is: accuracy, macro_f1" in refused.stderr
    )
    other = WordsTask(("a", "b", "c", "d"), with_unknown=True)
    refused = bench(words(tmp_path / "b", [FIVE, other]), "--test", "all")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "different tasks cannot be tested together: words yes no up down + unknown and" in refused.stderr
