"""The table of rows, of any task, version and plugin."""

import csv
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.results.records import RunRecord, no_quality
from bench.results.table import append_record, load_results
from models.errors import ResultsError
from models.task import KeywordTask, Task, WordsTask
from tests.rows import row_of

RESULTS = Path(__file__).parents[3] / "results"
TABLES_OF_RUNS = [
    path
    for path in sorted(RESULTS.glob("*.csv"))
    if {"au_fa_fr", "size_kb"} <= set(pd.read_csv(path, nrows=0))
]
KEYWORD, WORDS = KeywordTask("start"), WordsTask(("yes", "no"))


def record(run_id: str = "kd-1", task: Task = KEYWORD, **quality: float) -> RunRecord:
    figures = quality or ({"au_fa_fr": 0.125} if task is KEYWORD else {"accuracy": 0.5})
    return replace(row_of(task, **figures), run_id=run_id)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    append_record(tmp_path, record())
    append_record(tmp_path, record("kd-2"))
    table = load_results(tmp_path / "results.csv")
    assert list(table.columns) == list(record().columns())
    assert table["run_id"].tolist() == ["kd-1", "kd-2"]
    assert table.loc[0, "au_fa_fr"] == 0.125
    assert ",305719," in (tmp_path / "results.csv").read_text(), "whole numbers stay whole"


def test_the_same_run_adds_no_second_row(tmp_path: Path) -> None:
    append_record(tmp_path, record())
    append_record(tmp_path, record("kd-2"))
    before = (tmp_path / "results.csv").read_bytes()
    append_record(tmp_path, record())
    assert (tmp_path / "results.csv").read_bytes() == before


def test_a_run_that_was_made_again_takes_the_place_of_its_row(tmp_path: Path) -> None:
    failed = replace(
        record(), status="diverged", reason="the loss was nan", macs=None, quality=no_quality(KEYWORD)
    )
    append_record(tmp_path, failed)
    append_record(tmp_path, record("kd-2"))
    append_record(tmp_path, replace(record(), label="mine"), named=True)
    assert append_record(tmp_path, record(au_fa_fr=0.1 + 0.2)).label == "mine"
    table = load_results(tmp_path / "results.csv")
    assert table["run_id"].tolist() == ["kd-1", "kd-2"]
    assert table.loc[0, ["label", "status", "macs"]].tolist() == ["mine", "ok", 305719]
    assert pd.isna(table.loc[0, "reason"])
    assert table.loc[0, "au_fa_fr"] == 0.1 + 0.2, "to the last bit"


def test_columns_of_other_versions_stay(tmp_path: Path) -> None:
    old = pd.DataFrame(
        {"run_id": ["x"], "chain": ["kd"], "size_kb": [1.0], "macs": [5], "au_fa_fr": [0.1], "new": [3]}
    )
    old.to_csv(tmp_path / "results.csv", index=False)
    append_record(tmp_path, record())
    table = load_results(tmp_path / "results.csv")
    assert table["new"].tolist()[0] == 3
    assert table["run_id"].tolist() == ["x", "kd-1"]


def test_a_table_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("not, a results\ntable")
    with pytest.raises(ResultsError, match="no column"):
        append_record(tmp_path, record())
    assert (tmp_path / "results.csv").read_text() == "not, a results\ntable"


def _append_many(folder: Path, first: int) -> None:
    for number in range(first, first + 10):
        append_record(folder, record(f"kd-{number}"))


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(tmp_path, first)) for first in (0, 10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(load_results(tmp_path / "results.csv")["run_id"]) == sorted(f"kd-{i}" for i in range(20))


def test_the_published_table_loads() -> None:
    table = load_results(RESULTS / "kws_hw_published.csv")
    assert table["label"].tolist()[:3] == ["B", "KD", "KD2"]
    assert len(table) == 10


def write(folder: Path, **cells: object) -> Path:
    """A table of two rows, the second of which holds these cells."""
    row = {"label": "B", "chain": "", "size_kb": 280.2, "macs": 1953865, "au_fa_fr": 4e-6}
    path = folder / "table.csv"
    pd.DataFrame([row, row | {"label": "KD", "chain": "kd"} | cells]).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"seed": "x"}, "column 'seed' holds 'x', which is no number"),
        ({"size_kb": "1,5"}, "column 'size_kb' holds '1,5', which is no number"),
        ({"macs": True}, "column 'macs' holds 'True', which is no number"),
        ({"size_kb": 1e308}, "column 'size_kb' holds '1e+308', which is out of reach"),
        ({"au_fa_fr": float("-inf")}, "column 'au_fa_fr' holds '-inf', which is out of reach"),
        ({"macs": -3}, "column 'macs' holds '-3', which is less than nothing"),
        ({"au_fa_fr_high": "much"}, "column 'au_fa_fr_high' holds 'much', which is no number"),
        ({"validation_frr_at_far_5pct": "x" * 999}, f"5pct' holds '{'x' * 40}', which is no number"),
    ],
)
def test_a_number_that_is_none_is_named(cells: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=re.escape(said)):
        load_results(write(tmp_path, **cells))


def test_numbers_that_may_be_anything_are_taken(tmp_path: Path) -> None:
    cells = {"seed": -(10**20), "target_au_fa_fr": float("inf"), "one_minus_auc": -2e-16, "note": "mine"}
    table = load_results(write(tmp_path, **cells))
    assert table["target_metric"].tolist()[1] == float("inf"), "as it is called now"
    assert table["one_minus_auc"].tolist()[1] == -2e-16
    assert table["note"].tolist()[1] == "mine"


def test_texts_stay_texts(tmp_path: Path) -> None:
    texts = {"label": "7", "chain": "007", "keyword": "null", "corpus_hash": "123456789e12", "run_id": "1e5"}
    table = load_results(write(tmp_path, **texts))
    assert {name: table[name].tolist()[1] for name in texts} == texts
    assert table["label"].tolist()[0] == "B"
    assert pd.isna(table["keyword"][0])
    append_record(tmp_path, record())
    (tmp_path / "table.csv").rename(tmp_path / "results.csv")
    append_record(tmp_path, record())
    assert ",123456789e12," in (tmp_path / "results.csv").read_text()


def test_rows_with_more_cells_than_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("chain,size_kb,macs,au_fa_fr\nkd,1.0,5,0.1,7\n")
    with pytest.raises(ResultsError, match="its rows have more cells than its first line has names"):
        load_results(path)


def test_no_table_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="bench run writes one"):
        load_results(tmp_path / "none.csv")


def names(folder: Path) -> list[str]:
    return (folder / "results.csv").read_text().partition("\n")[0].split(",")


def test_a_table_has_the_columns_of_its_rows_tasks(tmp_path: Path) -> None:
    append_record(tmp_path, record("words-1", WORDS))
    assert names(tmp_path) == list(record("words-1", WORDS).columns())
    assert not [name for name in names(tmp_path) if "au_fa_fr" in name or "keyword" in name]
    append_record(tmp_path, record())
    append_record(tmp_path, record("words-2", WORDS))
    assert set(names(tmp_path)) == {*record().columns(), *record(task=WORDS).columns()}
    table = load_results(tmp_path / "results.csv").set_index("run_id")
    assert table["au_fa_fr"].isna().tolist() == table["keyword"].isna().tolist() == [True, False, True]
    assert table["accuracy"].tolist()[::2] == [0.5, 0.5]
    assert table["task"].tolist() == ["words yes no", "keyword start", "words yes no"]
    lines = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [line["keyword_clips"] for line in lines] == ["", "0", ""], "empty, and whole numbers stay whole"


@pytest.mark.parametrize("tasks", [(KEYWORD, WORDS), (WORDS, KEYWORD)])
def test_each_task_keeps_the_order_of_its_columns(tasks: tuple[Task, Task], tmp_path: Path) -> None:
    for task in tasks:
        append_record(tmp_path, record(task.kind, task))
    whole = names(tmp_path)
    first = list(record(task=tasks[0]).columns())
    assert [name for name in whole if name in first] == first
    append_record(tmp_path, record("more", tasks[1]))
    assert names(tmp_path) == whole
    # What the other task has of its own stands where it does in its own rows.
    assert whole.index("status") < whole.index("au_fa_fr") < whole.index("validation_au_fa_fr")
    assert whole.index("validation_au_fa_fr") < whole.index("au_fa_fr_low") < whole.index("macs")
    assert whole.index("macro_f1") < whole.index("validation_macro_f1") < whole.index("macs")


@pytest.mark.parametrize("path", TABLES_OF_RUNS, ids=lambda path: path.stem)
def test_tables_of_older_versions_are_read(path: Path) -> None:
    raw = pd.read_csv(path, na_filter=False, dtype=str)
    table = load_results(path)
    assert len(table) == len(raw)
    if "keyword" in raw:
        assert table["task"].tolist() == [f"keyword {word}" for word in raw["keyword"]]
        assert table[["clip_s", "mels", "window_ms", "hop_ms"]].drop_duplicates().to_numpy().tolist() == [
            [1, 40, 25, 10]
        ]
    assert table["au_fa_fr"].tolist() == pytest.approx([float(cell) for cell in raw["au_fa_fr"]], nan_ok=True)
    if "target_au_fa_fr" in raw:
        assert "target_au_fa_fr" not in table
        wanted = [float(cell or "nan") for cell in raw["target_au_fa_fr"]]
        assert table["target_metric"].tolist() == pytest.approx(wanted, nan_ok=True)


def test_a_row_is_added_to_a_table_of_an_older_version(tmp_path: Path) -> None:
    old = (RESULTS / "arabic_start.csv").read_text()
    (tmp_path / "results.csv").write_text(old)
    append_record(tmp_path, record())
    before, after = (
        list(csv.DictReader(text.splitlines())) for text in (old, (tmp_path / "results.csv").read_text())
    )
    for was, now in zip(before, after, strict=False):
        was["target_metric"] = was.pop("target_au_fa_fr")
        assert {name: now[name] for name in was} == was, "to the letter"
    table = load_results(tmp_path / "results.csv")
    assert len(table) == len(before) + 1
    assert set(table["task"]) == {"keyword start"}
    assert table["split"].eq("speaker").all()


@pytest.mark.parametrize("label", ["KD", 'a "b", c', "two\nlines"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_at_the_end_is_the_same_as_a_table_written_anew(label: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_record(tmp_path, replace(record("kd-1"), label=label))
    path.write_text(path.read_text().rstrip("\n") + end)
    append_record(tmp_path, replace(record("kd-2"), label=label))
    rows = list(csv.DictReader(path.read_text().splitlines(keepends=True)))
    assert [row["run_id"] for row in rows] == ["kd-1", "kd-2"]
    assert rows[-1]["label"] == label


def test_a_table_that_ends_inside_a_text_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_record(tmp_path, record("first"))
    damaged = path.read_text() + 'another,"open'
    path.write_text(damaged)
    with pytest.raises(ResultsError, match="cannot be read as a CSV table"):
        append_record(tmp_path, record("second"))
    assert path.read_text() == damaged


def test_columns_of_a_plugin_that_is_not_there_stay_as_they_are(tmp_path: Path) -> None:
    append_record(tmp_path, record(au_fa_fr=0.1, worst_word=-0.25))
    append_record(tmp_path, record("kd-2"))
    table = load_results(tmp_path / "results.csv")
    assert table["worst_word"].tolist()[0] == -0.25
    assert table["worst_word"].isna().tolist() == [False, True]


def test_a_table_without_any_figure_of_quality_is_none(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("chain,size_kb,macs\nkd,1.0,5\n")
    with pytest.raises(ResultsError, match="it has no column 'au_fa_fr', nor any other figure"):
        load_results(path)
    path.write_text("chain,size_kb,macs,accuracy\nkd,1.0,5,0.5\n")
    assert load_results(path)["accuracy"].tolist() == [0.5]
