"""Comparing tables: every figure here is worked out by hand."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.comparing.columns import COST, EFFORT, measure_named
from bench.comparing.ledger import ledger
from bench.comparing.limits import exceeded, parse_limit
from bench.comparing.tables import Comparison, canonical_chain, compare, side
from bench.results.records import FIXED, no_quality
from bench.results.table import load_results
from models.errors import ResultsError
from models.task import KeywordTask

PUBLISHED = Path(__file__).parents[3] / "results" / "kws_hw_published.csv"
# Our own costs of the study's ten rows, torch 2.13: MACs, parameters, KB.
OURS = {
    "B": (1953865, 70443, 280.24),
    "KD": (305719, 8329, 37.55),
    "KD2": (187251, 3915, 20.42),
    "AD+KD": (137953, 2445, 14.61),
    "SP+AD+KD": (192613, 4749, 23.67),
    "DQ+B": (1953865, 70443, 81.41),
    "DQ+KD": (305719, 8329, 17.59),
    "DQ+KD2": (187251, 3915, 13.03),
    "DQ+AD+KD": (137953, 2445, 11.16),
    "DQ+SP+AD+KD": (192613, 4749, 13.66),
}


def table(**columns: list[object]) -> pd.DataFrame:
    """Two rows of one corpus."""
    rows = {
        "label": ["B", "KD"],
        "chain": ["", "kd"],
        "status": ["ok", "ok"],
        "reason": ["", ""],
        "data": ["tones"] * 2,
        "corpus_hash": ["c0ffee00beef"] * 2,
        "keyword": ["left"] * 2,
        "model": ["crnn"] * 2,
        "recipe": ["default"] * 2,
        "seed": [0, 0],
        "au_fa_fr": [2e-5, 4e-5],
        "auc": [0.99, 0.98],
        "clips": [400, 400],
        "keyword_clips": [20, 20],
        "validation_au_fa_fr": [1e-5, 2e-5],
        "validation_clips": [300, 300],
        "macs": [2_000_000, 300_000],
        "params": [70_000, 8_000],
        "size_kb": [280.0, 36.0],
        "latency_ms": [1.0, 0.5],
        "latency_threads": [1, 1],
        "epochs": [60, 60],
        "epochs_to_target": [None, 30],
    }
    return pd.DataFrame(rows | columns)


def ours() -> pd.DataFrame:
    """The study's ten rows as this toolkit measures them."""
    costs = pd.DataFrame(OURS.values(), columns=["macs", "params", "size_kb"])
    rest = pd.concat([table().iloc[:1]] * len(OURS), ignore_index=True)
    return rest.assign(label=list(OURS), chain=[f"c{index}" for index in range(len(OURS))], **costs)


def compared(before: pd.DataFrame, after: pd.DataFrame) -> Comparison:
    return compare(side("A.csv", before), side("B.csv", after))


def change(comparison: Comparison, label: str, measure: str) -> pd.Series:
    rows = comparison.changes
    found = rows[(rows["label"] == label) & (rows["measure"] == measure)]
    assert len(found) == 1
    return found.iloc[0]


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def files(folder: Path, **tables: pd.DataFrame) -> list[Path]:
    for name, rows in tables.items():
        rows.to_csv(folder / f"{name}.csv", index=False)
    return [folder / f"{name}.csv" for name in tables]


@pytest.mark.parametrize(
    ("measure", "after", "difference", "relative", "verdict"),
    [
        ("au_fa_fr", 5e-5, 1e-5, 0.25, "worse"),
        ("au_fa_fr", 3e-5, -1e-5, -0.25, "better"),
        ("au_fa_fr", 4e-5, 0.0, 0.0, "unchanged"),
        ("auc", 0.49, -0.49, -0.5, "worse"),
        ("auc", 1.0, 0.02, 0.02 / 0.98, "better"),
        ("validation_au_fa_fr", 1e-5, -1e-5, -0.5, "better"),
        ("macs", 330_000, 30_000, 0.1, "worse"),
        ("size_kb", 18.0, -18.0, -0.5, "better"),
        ("epochs_to_target", 15, -15, -0.5, "better"),
        ("latency_ms", 0.54, 0.04, 0.08, "unchanged"),
        ("latency_ms", 0.6, 0.1, 0.2, "worse"),
    ],
)
def test_differences_and_verdicts(
    measure: str, after: float, difference: float, relative: float, verdict: str
) -> None:
    row = change(compared(table(), table(**{measure: [1.0, after]})), "KD", measure)
    assert row["difference"] == pytest.approx(difference)
    assert row["relative"] == pytest.approx(relative)
    assert row["verdict"] == verdict


def test_from_zero_is_infinitely_worse() -> None:
    row = change(compared(table(au_fa_fr=[0.0, 0.0]), table(au_fa_fr=[0.0, 1e-6])), "KD", "au_fa_fr")
    assert (row["relative"], row["verdict"]) == (math.inf, "worse")


def test_every_measure_of_a_row_has_a_direction() -> None:
    columns = {*no_quality(KeywordTask("start")), *FIXED}
    named = {name for name in columns if measure_named(name)}
    assert named >= {*COST, *EFFORT}
    assert {name for name in named if not measure_named(name).lower_is_better} == {
        "auc",
        "accuracy",
        "validation_auc",
        "validation_accuracy",
    }
    identity = {"seed", "clips", "keyword_clips", "latency_threads", "macs_ratio", "peak_memory_mb"}
    assert not named & identity


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"corpus_hash": ["deadbeef0000"] * 2}, "different corpora: tones (c0ffee00) and tones (deadbeef)"),
        ({"keyword": ["stop"] * 2}, "different keywords: left and stop"),
        ({"clips": [399, 399]}, "different splits: 400 and 399 test clips"),
        ({"keyword_clips": [19, 19]}, "different splits: 20 and 19 test keyword clips"),
        ({"corpus_hash": [None] * 2}, "B.csv does not say which corpus its figures are of"),
    ],
)
def test_quality_of_other_data_is_refused_and_cost_compared(
    tmp_path: Path, columns: dict[str, list[object]], reason: str
) -> None:
    other = table(**columns, au_fa_fr=[9e-5, 9e-5], size_kb=[140.0, 36.0])
    row = change(compared(table(), other), "B", "au_fa_fr")
    assert (row["verdict"], row["reason"]) == ("not compared", reason)
    assert math.isnan(row["difference"])
    assert math.isnan(row["relative"])
    assert change(compared(table(), other), "B", "size_kb")["relative"] == -0.5
    for form in ("table", "csv", "markdown", "json"):
        result = bench(*files(tmp_path, A=table(), B=other), "--format", form)
        assert result.exit_code == 0
        assert reason in " ".join(result.stdout.split())
        assert "350" not in result.stdout


def test_another_split_of_validation_bars_validation_alone() -> None:
    found = compared(table(), table(validation_clips=[200, 200]))
    assert (
        change(found, "B", "validation_au_fa_fr")["reason"]
        == "different splits: 300 and 200 validation clips"
    )
    assert change(found, "B", "au_fa_fr")["verdict"] == "unchanged"


def test_latency_on_other_threads_is_refused() -> None:
    assert (
        change(compared(table(), table(latency_threads=[2, 2])), "B", "latency_ms")["verdict"]
        == "not compared"
    )


def test_seeds_are_averaged_and_counted(tmp_path: Path) -> None:
    seeds = pd.concat([table(), table(seed=[1, 1], au_fa_fr=[4e-5, 8e-5])], ignore_index=True)
    row = change(compared(table(), seeds), "KD", "au_fa_fr")
    assert row["after"] == pytest.approx(6e-5)
    assert (row["runs_before"], row["runs_after"]) == (1, 2)
    assert "B.csv is averaged over 2 runs a row" in bench(*files(tmp_path, A=table(), B=seeds)).stdout


def test_other_options_are_another_row_whatever_the_label() -> None:
    found = compared(table(), table(chain=["", "kd:hidden=8"]))
    assert (found.only_before, found.only_after) == (("KD",), ("KD",))
    named = table(label=["B", "small"], chain=["", "kd:hidden=8,kernel=13x5"])
    found = compared(named, table(label=["B", "KD(...)"], chain=[None, "kd:kernel=13x5,hidden=8"]))
    assert (found.only_before, found.only_after) == ((), ())
    assert change(found, "small", "macs")["verdict"] == "unchanged"
    assert canonical_chain("dq+kd:b=2,a=1") == "dq+kd:a=1,b=2"


def test_two_students_of_one_label_are_told_apart() -> None:
    twins = pd.concat([table(), table(chain=["", "kd:hidden=8"], macs=[2_000_000, 200_000]).iloc[1:]])
    found = compared(twins, twins)
    assert list(dict.fromkeys(found.changes["label"])) == ["B", "KD [kd]", "KD [kd:hidden=8]"]
    assert change(found, "KD [kd:hidden=8]", "macs")["before"] == 200_000


def test_runs_of_two_devices_are_told_apart() -> None:
    """Beside each other in a table; of a table each they are what is to be compared."""
    both = pd.concat([table(device=["cpu"] * 2), table(device=["cuda"] * 2, au_fa_fr=[4e-5, 4e-5])])
    found = compared(both, both)
    names = ["B [cpu]", "KD [cpu]", "B [cuda]", "KD [cuda]"]
    assert list(dict.fromkeys(found.changes["label"])) == names
    assert change(found, "B [cuda]", "au_fa_fr")["before"] == 4e-5
    moved = compared(both.iloc[:2], both.iloc[2:])
    assert change(moved, "B", "au_fa_fr")["verdict"] == "worse"


def test_keywords_of_one_table_are_neither_mixed_nor_averaged() -> None:
    both = pd.concat([table(), table(keyword=["stop"] * 2, au_fa_fr=[1.0, 1.0])], ignore_index=True)
    found = compared(both, both.iloc[::-1])
    assert change(found, "B [left]", "au_fa_fr")["before"] == 2e-5
    assert change(found, "B [stop]", "au_fa_fr")["after"] == 1.0
    assert set(found.changes["verdict"]) == {"unchanged"}
    one = compared(both, table())
    assert one.only_before == ("B [stop]", "KD [stop]")


def test_rows_of_one_side_are_listed(tmp_path: Path) -> None:
    more = pd.concat([table(), table(label=["x", "AD+KD"], chain=["x", "ad+kd"]).iloc[1:]])
    a, b = files(tmp_path, A=table(), B=more)
    assert "only in B.csv: AD+KD" in bench(a, b).stdout
    assert "only in A.csv" not in bench(a, b).stdout
    assert "only in B.csv: AD+KD" in bench(b, a).stdout
    lone = pd.read_csv(io.StringIO(bench(a, b, "--format", "csv").stdout)).set_index("label").loc["AD+KD"]
    assert lone["verdict"] == "only in B.csv"
    assert json.loads(bench(a, b, "--format", "json").stdout)[0]["only_after"] == ["AD+KD"]


def test_older_tables_load_and_newer_columns_are_ignored(tmp_path: Path) -> None:
    older = table()[["macs", "size_kb", "au_fa_fr", "label", "chain", "corpus_hash", "keyword"]]
    newer = table().assign(colour="green", frr_at_far_05pct=0.1)
    result = bench(*files(tmp_path, old=older, new=newer))
    assert result.exit_code == 0
    assert "not compared: latency_ms" not in result.stdout.replace("params, ", "")
    found = compare(side("old.csv", older), side("new.csv", newer))
    assert change(found, "KD", "au_fa_fr")["verdict"] == "unchanged"
    assert change(found, "KD", "params")["reason"] == "old.csv does not have it"
    assert change(found, "KD", "frr_at_far_05pct")["reason"] == "old.csv does not have it"
    assert "colour" not in set(found.changes["measure"])


def test_three_tables_are_held_against_the_first(tmp_path: Path) -> None:
    a, b, c = files(tmp_path, A=table(), B=table(size_kb=[140.0, 36.0]), C=table(size_kb=[560.0, 36.0]))
    found = json.loads(bench(a, b, c, "--format", "json").stdout)
    assert [(each["before"], each["after"]) for each in found] == [("A.csv", "B.csv"), ("A.csv", "C.csv")]
    sizes = [
        row for each in found for row in each["changes"] if (row["label"], row["measure"]) == ("B", "size_kb")
    ]
    assert [row["relative"] for row in sizes] == [-0.5, 1.0]


def test_table_shows_before_after_and_percent_in_80_columns(tmp_path: Path) -> None:
    result = bench(*files(tmp_path, A=table(), B=table(au_fa_fr=[2e-5, 5e-5], size_kb=[280.0, 18.0])))
    assert "4.0e-05 -> 5.0e-05 +25%" in result.stdout
    assert "36.0 -> 18.0 -50%" in result.stdout
    assert "1 better, 1 worse" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_markdown_is_a_table(tmp_path: Path) -> None:
    lines = bench(*files(tmp_path, A=table(), B=table()), "--format", "markdown").stdout.splitlines()
    assert lines[2:4] == ["| chain | au_fa_fr | KB | kMACs |", "| :-- | --: | --: | --: |"]
    assert lines[5] == "| KD | 4.0e-05 = | 36.0 = | 300 = |"


def test_measures_can_be_chosen(tmp_path: Path) -> None:
    a, b = files(tmp_path, A=table(), B=table(auc=[0.99, 0.49]))
    result = bench(a, b, "--measure", "auc", "--format", "markdown")
    assert "| KD | 0.98 -> 0.49 -50% |" in result.stdout
    unknown = bench(a, b, "--measure", "colour")
    assert unknown.exit_code == 2
    assert "no measure 'colour'" in unknown.stderr


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ("au_fa_fr>+24%", 1),
        ("au_fa_fr>+25%", 0),
        ("au_fa_fr > +9e-6", 1),
        ("au_fa_fr>+1e-5", 0),
        ("size_kb>+0", 0),
        ("macs>+0%", 1),
        ("macs<-1%", 0),
        ("auc<-0.01", 1),
        ("auc<-0.03", 0),
    ],
)
def test_fail_if(tmp_path: Path, limit: str, status: int) -> None:
    other = table(au_fa_fr=[2e-5, 5e-5], macs=[2_000_000, 300_001], auc=[0.99, 0.96])
    result = bench(*files(tmp_path, A=table(), B=other), "--fail-if", "size_kb>+1", "--fail-if", limit)
    assert result.exit_code == status
    assert ("KD" in result.stderr and limit in result.stderr) == bool(status)


def test_fail_if_names_label_and_figure(tmp_path: Path) -> None:
    a, b = files(tmp_path, A=table(), B=table(au_fa_fr=[2e-5, 5e-5]))
    result = bench(a, b, "--fail-if", "au_fa_fr>+10%")
    assert result.stderr == "bench: KD: au_fa_fr 4e-05 -> 5e-05, +1e-05 (+25.0%), breaks au_fa_fr>+10%\n"


def test_fail_if_does_not_pass_a_run_that_failed(tmp_path: Path) -> None:
    other = table(status=["ok", "diverged"], reason=["", "loss is nan"], au_fa_fr=[2e-5, None])
    result = bench(*files(tmp_path, A=table(), B=other), "--fail-if", "au_fa_fr>+10%")
    assert result.exit_code == 1
    assert "KD: diverged (loss is nan) in B.csv" in result.stderr
    assert "failed in B.csv: KD: diverged (loss is nan)" in result.stdout


@pytest.mark.parametrize(
    "text",
    [
        *("", "au_fa_fr", "au_fa_fr>10%", "au_fa_fr>=+1", "au_fa_fr>+x", "colour>+1", "macs>+1%%"),
        *("au_fa_fr>+1e999", "au_fa_fr<-1e999%", "au_fa_fr>+inf", "au_fa_fr>+nan", "au_fa_fr>+１０%"),
        *("au_fa_fr>+1_0", "au_fa_fr>+", "au_fa_fr>++1", "au_fa_fr>+1 0", "ａu_fa_fr>+1"),
    ],
)
def test_bad_limits_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ResultsError):
        parse_limit(text)
    result = bench(*files(tmp_path, A=table(), B=table()), "--fail-if", text)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_limits_on_what_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    a, b = files(tmp_path, A=table(), B=table(keyword=["stop"] * 2))
    result = bench(a, b, "--fail-if", "au_fa_fr>+10%", "--fail-if", "size_kb>+0")
    assert result.exit_code == 2
    assert "au_fa_fr of B cannot be compared: different keywords: left and stop" in result.stderr
    assert result.stderr.count("\n") == 1
    assert bench(a, b, "--fail-if", "size_kb>+0").exit_code == 0
    with pytest.raises(ResultsError, match="share no row with eer"):
        exceeded(parse_limit("eer>+0"), compared(table(), table()))


def test_one_table_or_none_is_refused(tmp_path: Path) -> None:
    (a,) = files(tmp_path, A=table())
    assert bench(a).exit_code == 2
    missing = bench(a, tmp_path / "none.csv")
    assert missing.exit_code == 2
    assert "no results table at" in missing.stderr


def test_ledger_of_our_costs() -> None:
    found = ledger(compare(side("published", load_results(PUBLISHED)), side("ours", ours())))
    found = found.set_index("label")
    assert list(found.index) == list(OURS)
    pruned = found.index.str.contains("SP")
    assert set(found.loc[~pruned, "macs_verdict"]) == {"agree"}
    assert set(found.loc[~pruned, "params_verdict"]) == {"agree"}
    assert set(found.loc[pruned, "macs_verdict"]) == {"dead inputs"}
    assert set(found.loc[pruned, "params_verdict"]) == {"dead inputs"}
    assert set(found["size_kb_verdict"]) == {"container"}


@pytest.mark.parametrize(
    ("label", "column", "value", "verdict"),
    [
        ("B", "macs", 1952368 * 1.0024, "agree"),
        ("B", "macs", 1952368 * 1.0026, "disagree"),
        ("B", "params", 70442, "disagree"),
        ("KD", "params", 8329 - 144, "disagree"),
        ("SP+AD+KD", "params", 4893, "agree"),
        ("SP+AD+KD", "params", 4748, "disagree"),
        ("SP+AD+KD", "macs", 191_000, "disagree"),
        ("KD", "size_kb", 36.07, "agree"),
        ("KD", "size_kb", 39.0, "disagree"),
    ],
)
def test_ledger_verdicts(label: str, column: str, value: float, verdict: str) -> None:
    table_ = ours().astype({column: float})
    table_.loc[table_["label"] == label, column] = value
    found = ledger(compare(side("published", load_results(PUBLISHED)), side("ours", table_)))
    row = found.set_index("label").loc[label]
    assert row[f"{column}_verdict"] == verdict
    if label == "SP+AD+KD" and column == "params":
        # Without the missing parameters the missing MACs have no excuse.
        assert row["macs_verdict"] == "disagree"


@pytest.mark.parametrize("published_first", [True, False])
def test_ledger_on_the_command_line(tmp_path: Path, published_first: bool) -> None:
    (path,) = files(tmp_path, ours=ours())
    result = bench(*((PUBLISHED, path) if published_first else (path, PUBLISHED)))
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0
    assert "kws_hw_published.csv -> ours.csv" in text
    assert "10 of 10 rows agree" in text
    assert "48 dead inputs in the last two linear layers" in text
    assert "torch's file container has changed" in text
    assert "kws_hw_published.csv does not say which corpus its figures are of" in text
    assert "DISAGREE" not in text
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert bench(PUBLISHED, path, "--fail-if", "au_fa_fr>+10%").exit_code == 2
    assert bench(PUBLISHED, path, "--fail-if", "macs>+0.25%").exit_code == 0
    assert bench(PUBLISHED, path, "--fail-if", "size_kb>+0").exit_code == 1


def test_a_disagreement_is_shown_and_is_no_failure(tmp_path: Path) -> None:
    wrong = ours()
    wrong.loc[1, "params"] = 8000
    result = bench(PUBLISHED, *files(tmp_path, ours=wrong))
    assert result.exit_code == 0
    assert "KD DISAGREES: params 8,329 published, 8,000 ours" in result.stdout
    assert result.stdout.count("DISAGREE ") == 1
    assert "9 of 10 rows agree" in result.stdout


def test_published_quality_is_never_compared() -> None:
    published, mine = side("published", load_results(PUBLISHED)), side("ours", ours())
    for found in (compare(published, mine), compare(mine, published), compare(published, published)):
        rows = found.changes[found.changes["measure"].str.contains("au_fa_fr|auc|epochs")]
        assert len(rows) >= 10
        assert set(rows["verdict"]) == {"not compared"}


def words_table(**columns: list[object]) -> pd.DataFrame:
    """Two rows of five classes; what belongs to a keyword is absent."""
    of_keyword = [name for name in table() if "keyword" in name or "au" in name]
    rest = {
        "task": ["words yes no"] * 2,
        "accuracy": [0.9, 0.8],
        "macro_f1": [0.9, 0.75],
        "clip_s": [1.0] * 2,
    }
    return table().drop(columns=of_keyword).assign(**(rest | columns))


def test_words_show_their_headline_and_may_be_limited(tmp_path: Path) -> None:
    a, b = files(tmp_path, A=words_table(), B=words_table(accuracy=[0.9, 0.84], macro_f1=[0.9, 0.6]))
    lines = bench(a, b, "--format", "markdown").stdout.splitlines()
    assert lines[2] == "| chain | accuracy | KB | kMACs |"
    assert lines[5] == "| KD | 0.8 -> 0.84 +5.0% | 36.0 = | 300 = |"
    assert "1 better, 1 worse" in lines[7]
    assert bench(a, b, "--fail-if", "accuracy<-1%").exit_code == 0
    assert bench(a, b, "--fail-if", "macro_f1<-0.1").exit_code == 1


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (words_table(task=["words yes up"] * 2), "different tasks: words yes no and words yes up"),
        (words_table(clip_s=[1.5] * 2), "different clips: of 1 s and 1.5 s"),
        (table(accuracy=[0.99, 0.98]), "different tasks: words yes no and keyword left"),
    ],
)
def test_figures_of_different_tasks_are_refused_and_cost_compared(other: pd.DataFrame, reason: str) -> None:
    found = compared(words_table(), other)
    row = change(found, "KD", "accuracy")
    assert (row["verdict"], row["reason"]) == ("not compared", reason)
    assert change(found, "KD", "size_kb")["verdict"] == "unchanged"


def test_tasks_and_front_ends_of_one_table_are_neither_mixed_nor_averaged() -> None:
    more = words_table(task=["words yes up"] * 2, accuracy=[0.5, 0.5])
    both = pd.concat([words_table(), more], ignore_index=True)
    found = compared(both, both)
    assert change(found, "B [words yes no]", "accuracy")["before"] == 0.9
    assert change(found, "B [words yes up]", "accuracy")["before"] == 0.5
    wide = pd.concat([words_table(mels=[40, 40]), words_table(mels=[20, 20], accuracy=[0.5, 0.5])])
    assert change(compared(wide, wide), "B [20]", "accuracy")["before"] == 0.5


def test_an_unknown_measure_of_a_limit_is_told_what_there_is() -> None:
    with pytest.raises(ResultsError, match=r"there is: au_fa_fr, auc, .*accuracy, macro_f1, .*size_kb"):
        parse_limit("colour>+1")
    assert parse_limit("frr_at_far_1pct_smart mirror > +1%").measure == "frr_at_far_1pct_smart mirror"
