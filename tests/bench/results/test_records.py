import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.results.records import load_record, save_record
from models.errors import ResultsError
from models.front_end import FrontEnd
from models.task import WordsTask
from tests.rows import row_of

WORDS = WordsTask(("yes", "no"), with_unknown=True, clip_s=1.5, front_end=FrontEnd(mels=20))


def test_a_row_is_kept_in_its_folder(tmp_path: Path) -> None:
    assert load_record(tmp_path) is None
    kept = row_of(au_fa_fr=0.125, keyword_clips=40)
    save_record(tmp_path, kept)
    assert json.loads((tmp_path / "row.json").read_text())["best_epoch"] == 7
    found = load_record(tmp_path)
    assert found is not None
    assert list(found.columns()) == list(kept.columns())
    assert (found["au_fa_fr"], found["keyword_clips"], found["macs"]) == (0.125, 40, 305719)
    assert math.isnan(found["validation_auc_low"])
    (tmp_path / "row.json").write_text("{}")
    with pytest.raises(ResultsError, match="no row of this version"):
        load_record(tmp_path)


def test_a_row_has_the_columns_of_its_task_and_no_others(tmp_path: Path) -> None:
    spotted, told = list(row_of().columns()), row_of(WORDS)
    assert "keyword" in spotted
    assert not {"macro_f1", "frr_at_far_1pct_yes"} & set(spotted)
    columns = list(told.columns())
    assert not [name for name in columns if "keyword" in name or "au_fa_fr" in name]
    # On test and on validation: figure, lower and upper end, of all measures; one count of clips.
    names = ["accuracy", "macro_f1", "frr_at_far_1pct_yes", "frr_at_far_1pct_no"]
    of_test = [*names, "clips", *(f"validation_{name}" for name in [*names, "clips"])]
    ends = [
        f"{prefix}{name}_{end}" for prefix in ("", "validation_") for name in names for end in ("low", "high")
    ]
    assert columns[columns.index("reason") + 1 : columns.index("macs")] == [*of_test, *ends]
    assert (told["task"], told["clip_s"], told["mels"], told["device"]) == (
        "words yes no + unknown",
        1.5,
        20,
        "cpu",
    )
    save_record(tmp_path, told)
    found = load_record(tmp_path)
    assert found is not None
    assert list(found.columns()) == columns


def test_the_columns_of_a_keyword_stand_where_they_stood() -> None:
    """In the order of the tables that were committed before there were other tasks."""
    old = pd.read_csv(Path(__file__).parents[3] / "results" / "words.csv").columns.tolist()
    now = [{"target_metric": "target_au_fa_fr"}.get(name, name) for name in row_of().columns()]
    assert [name for name in now if name in old] == old


def test_any_column_is_read_and_what_is_none_is_refused() -> None:
    row = replace(row_of(), quality={"auc": 0.9, "of_a_plugin": 2.5})
    assert (row["auc"], row["label"], row["of_a_plugin"], row["keyword_clips"]) == (0.9, "KD", 2.5, 0)
    assert math.isnan(row["eer_high"])
    with pytest.raises(KeyError):
        row["of_another"]
    with pytest.raises(ResultsError, match="a measure must not be called macs"):
        replace(row, quality={"macs": 0.5})


def old_row(**changed: Any) -> dict[str, Any]:
    """``row.json`` as version 0.1.0 wrote it."""
    row: dict[str, Any] = json.loads(Path(__file__).with_name("row_of_version_0_1_0.json").read_text())
    assert "target_au_fa_fr" in row
    assert "task" not in row
    return row | changed


def test_a_row_of_the_version_before_is_read(tmp_path: Path) -> None:
    (tmp_path / "row.json").write_text(json.dumps(old_row(target_au_fa_fr=5e-5)))
    found = load_record(tmp_path)
    assert found is not None
    assert (found.task, found.keyword, found.target_metric) == ("keyword happy", "happy", 5e-5)
    assert (found.clip_s, found.mels, found.window_ms, found.hop_ms, found.device) == (
        1.0,
        40,
        25.0,
        10.0,
        "cpu",
    )
    assert found["au_fa_fr"] == 9.119615152240575e-05
    assert (found["clips"], found["keyword_clips"]) == (1539, 179)
    assert found["one_minus_auc_high"] == old_row()["one_minus_auc_high"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"au_fa_fr": "much"}, "au_fa_fr is no number"),
        ({"au_fa_fr": True}, "au_fa_fr is no number"),
        ({"keyword_clips": 1.5}, "keyword_clips is no count"),
        ({"validation_clips": -1}, "validation_clips is no count"),
        ({"of_a_newer_version": [1]}, "of_a_newer_version is no number"),
        ({"clip_s": None}, "clip_s is no float"),
        ({"task": 3}, "task is no str"),
        ({"keyword": 3}, "keyword is no str"),
        ({"quality": {}}, "quality is no number"),
        ({"status": "fine"}, "its status is none of ok, diverged, undefined"),
    ],
)
def test_what_no_row_holds_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "row.json").write_text(json.dumps(old_row(**changed)))
    with pytest.raises(ResultsError, match=said):
        load_record(tmp_path)
