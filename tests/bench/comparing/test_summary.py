from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from bench.comparing.summary import summarise


def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["B", "KD", "KD", "KD", "KD"],
            "chain": ["", "kd", "kd", "kd", "kd"],
            "status": ["ok", "ok", "ok", "ok", "diverged"],
            "keyword": ["left"] * 5,
            "seed": [0, 0, 1, 2, 3],
            "auc": [0.99, 0.97, 0.98, 0.96, None],
            "auc_low": [0.9] * 5,
            "frr_at_far_1pct": [0.0, 0.1, 0.2, 0.1, None],
            "frr_at_far_1pct_high": [0.1] * 5,
            "epochs": [60, 60, 50, 40, None],
            "macs": [9, 5, 5, 5, None],
        }
    )


def test_mean_deviation_and_interval_are_scipys() -> None:
    found = summarise(rows()).set_index("label")
    values = np.array([0.97, 0.98, 0.96])
    line = found.loc["KD"]
    assert (line["runs"], line["failed"]) == (3, 1)
    assert line["auc_mean"] == pytest.approx(values.mean())
    assert line["auc_std"] == pytest.approx(values.std(ddof=1))
    expected = student.interval(0.95, 2, values.mean(), values.std(ddof=1) / np.sqrt(3))
    assert (line["auc_low"], line["auc_high"]) == pytest.approx(expected)
    assert line["epochs_mean"] == 50
    # No rate is below 0, whatever Student's t says of three runs.
    assert line["frr_at_far_1pct_low"] == 0 < line["frr_at_far_1pct_mean"]
    assert line["macs"] == 5


def test_the_interval_of_a_share_is_of_shares() -> None:
    line = summarise(rows().assign(auc=[0.5, 1.0, 0.2, 0.9, None])).set_index("label").loc["KD"]
    assert (line["auc_low"], line["auc_high"]) == (0, 1)
    assert line["epochs_high"] > line["epochs_mean"] + 2 * line["epochs_std"], "a count is not cut"


def test_one_run_has_no_spread_and_what_never_varies_keeps_its_name() -> None:
    found = summarise(rows())
    assert list(found["label"]) == ["B", "KD"]
    line = found.set_index("label").loc["B"]
    assert line["auc_mean"] == 0.99
    assert all(math.isnan(line[f"auc_{end}"]) for end in ("std", "low", "high"))
    assert "macs" in found
    assert "macs_mean" not in found
    # Intervals of single rows are no measures of their own.
    assert not [name for name in found if name.startswith(("auc_low_", "frr_at_far_1pct_high_"))]


def test_keywords_and_options_are_not_mixed() -> None:
    other = rows().assign(keyword="stop")
    assert list(summarise(pd.concat([rows(), other]))["runs"]) == [1, 3, 1, 3]
    assert len(summarise(rows().assign(chain=["", "kd", "kd", "kd:hidden=8", "kd"]))) == 3


def test_seeds_of_two_devices_are_no_repeats() -> None:
    table = rows().assign(device=["cpu", "cpu", "cuda", "cuda", "cpu"])
    assert summarise(table)["runs"].tolist() == [1, 1, 2]
    assert summarise(table)["device"].tolist() == ["cpu", "cpu", "cuda"]


def test_a_seed_under_two_teachers_is_no_repeat() -> None:
    table = rows().iloc[[1, 2, 3, 2, 3]].assign(teacher_seed=[None, None, None, 0, 0])
    found = summarise(table)
    assert found["runs"].tolist() == [3, 2]
    assert found["teacher_seed"].fillna(-1).tolist() == [-1, 0]
    assert summarise(table.iloc[[0, 3, 4]])["runs"].tolist() == [3], "the first seed's own is the fixed one"


def test_a_label_that_never_ended_well_stays_a_line() -> None:
    line = summarise(rows().assign(status="diverged")).set_index("label").loc["KD"]
    assert (line["runs"], line["failed"]) == (0, 4)
    assert math.isnan(line["auc_mean"])
