import json
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.results.records import COLUMNS, RunRecord, load_record, save_record
from bench.results.table import append_record, load_results
from models.errors import ResultsError


def record(run_id: str = "kd-1") -> RunRecord:
    return RunRecord(
        run_id=run_id,
        label="KD",
        chain="kd",
        model="crnn",
        data="tones",
        corpus_hash="0",
        keyword="start",
        recipe="default",
        seed=0,
        au_fa_fr=0.125,
        macs=305719,
        size_kb=37.5,
        best_epoch=7,
    )


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    append_record(tmp_path, record())
    append_record(tmp_path, record("kd-2"))
    table = load_results(tmp_path / "results.csv")
    assert list(table.columns) == list(COLUMNS)
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
    failed = replace(record(), status="diverged", reason="the loss was nan", macs=None, au_fa_fr=float("nan"))
    append_record(tmp_path, failed)
    append_record(tmp_path, record("kd-2"))
    append_record(tmp_path, replace(record(), label="mine"), named=True)
    assert append_record(tmp_path, replace(record(), au_fa_fr=0.1 + 0.2)).label == "mine"
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


def test_a_row_is_kept_in_its_folder(tmp_path: Path) -> None:
    assert load_record(tmp_path) is None
    save_record(tmp_path, record())
    assert json.loads((tmp_path / "row.json").read_text())["best_epoch"] == 7
    assert load_record(tmp_path).__dict__.keys() == record().__dict__.keys()
    (tmp_path / "row.json").write_text("{}")
    with pytest.raises(ResultsError, match="no row of this version"):
        load_record(tmp_path)


def test_the_published_table_loads() -> None:
    table = load_results(Path(__file__).parents[3] / "results" / "kws_hw_published.csv")
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
    assert table["target_au_fa_fr"].tolist()[1] == float("inf")
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
