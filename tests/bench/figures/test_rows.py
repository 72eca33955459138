"""What of a table goes into figures; which rows are converted is written out here by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.figures.rows import by_label, converters, groups, tokens
from bench.results.table import load_results
from tests.bench.figures.tables import rows

RESULTS = Path(__file__).parents[3] / "results"
PUBLISHED = RESULTS / "kws_hw_published.csv"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("B", ()),
        ("DQ+B", ("dq",)),
        ("KD2", ("kd",)),
        ("DQ+SP(keep=0.5)+AD+KD", ("dq", "sp", "ad", "kd")),
        ("", ()),
        ("sp:keep=0.5+ad+kd:hidden=12,kernel=13x5", ("sp", "ad", "kd")),
    ],
)
def test_tokens(label: str, expected: tuple[str, ...]) -> None:
    assert tokens(label) == expected


def test_by_label_averages_runs_and_leaves_failed_ones_out() -> None:
    table = pd.concat([rows(), rows(au_fa_fr=[4e-5, 8e-5, 9e-5], status=["ok", "ok", "diverged"])])
    found = by_label(table).set_index("label")
    assert list(found.index) == ["B", "KD", "DQ+KD"]
    assert found["au_fa_fr"].tolist() == pytest.approx([3e-5, 6e-5, 5e-5])
    assert found["kilo_macs"].tolist() == [2000, 300, 300]
    assert found["quantized"].tolist() == [False, False, True]


def test_by_label_keeps_other_options_apart() -> None:
    table = pd.concat([rows(), rows(chain=["", "kd:hidden=8", "dq+kd:hidden=8"])])
    assert by_label(table)["label"].tolist() == ["B", "KD", "DQ+KD", "KD", "DQ+KD"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("kws_hw_published.csv", {"DQ+B": "dq", "DQ+KD": "dq", "DQ+KD2": "dq", "DQ+AD+KD": "dq"}),
        ("arabic_start.csv", {"DQ+B": "dq", "DQ+KD": "dq", "DQ+KD2": "dq", "DQ+AD+KD": "dq"}),
        ("arabic_start_kws_hw.csv", {"DQ+B": "dq", "DQ+KD": "dq", "DQ+KD2": "dq", "DQ+AD+KD": "dq"}),
        ("arabic_five.csv", {"DQ+B": "dq", "DQ+KD": "dq", "DQ+AD+KD": "dq"}),
        ("synthetic_sheila.csv", {}),
    ],
)
def test_the_converted_of_the_committed_tables(table: str, expected: dict[str, str]) -> None:
    found = load_results(RESULTS / table)
    converted = dict(zip(found["label"], converters(found), strict=True))
    assert {name: token for name, token in converted.items() if token} == expected | {"DQ+SP+AD+KD": "dq"}


def test_every_converter_counts_whatever_it_is_called() -> None:
    found = load_results(RESULTS / "arabic_ship.csv")
    assert dict(zip(found["label"], converters(found), strict=True)) == {
        "B": "",
        "AD+KD": "",
        "DQ+AD+KD": "dq",
        "QAT(bits=4)+AD+KD": "qat:bits=4",
    }
    # Half the bytes, as a plugin's half precision: without sizes by kind, and labels that tell nothing.
    for chain in ("sq+kd", "qat:bits=8/gru.hh=4+kd", "hf+kd"):
        table = rows(chain=["", "kd", chain], label=["big", "small", "small, in short"])
        assert by_label(table)["quantized"].tolist() == [False, False, True]
        assert by_label(table)["source"].tolist() == ["", "kd", "kd"]


def test_what_trains_or_cuts_is_no_converter() -> None:
    chains = ["", "kd:hidden=8", "ad+kd:hidden=8", "sp+kd:hidden=8", "lr"]
    table = pd.DataFrame(
        {
            "label": list("abcde"),
            "chain": chains,
            "size_kb": [280.0, 20.0, 20.0, 12.0, 90.0],
            "macs": [9000, 700, 700, 500, 4000],
            "params": [70_000, 4000, 4000, 2000, 20_000],
            "au_fa_fr": [1e-5] * 5,
        }
    )
    assert converters(table).tolist() == [""] * 5


def test_a_converted_row_is_known_without_its_float_form() -> None:
    # 8,329 parameters take 32.5 KB in float, container not counted.
    old = rows(params=[70_443, 8329, 8329]).iloc[[0, 2]]
    assert converters(old).tolist() == ["", "dq"]
    assert converters(old.assign(size_kb=[280.0, 36.0])).tolist() == ["", ""]
    # Here the container hides it: 2,445 parameters are 9.6 KB, the file has 11.2.
    small = old.assign(params=[70_443, 2445], size_kb=[280.0, 11.2])
    assert converters(small).tolist() == ["", ""]
    small = small.assign(payload_bytes=[278_400, 3000], scale_bytes=[3372, 486])
    assert converters(small).tolist() == ["", "dq"]


def test_a_table_without_rows_or_without_macs_has_nothing_converted() -> None:
    assert converters(rows().iloc[:0]).tolist() == []
    assert converters(rows(macs=[None, None, None])).tolist() == ["", "", ""]


def test_names_of_folders_stay_in_their_folder_and_apart() -> None:
    words = ["..", "on/off", "on_off", "\u4e00" * 300]
    parts = groups(
        pd.concat([rows(data=[None] * 3, keyword=[word] * 3) for word in words], ignore_index=True)
    )
    assert list(parts) == ["other", "on_off", "on_off~2", "\u4e00" * 24]
    assert parts["on_off~2"]["keyword"].tolist() == ["on_off"] * 3
    assert max(len(name.encode()) for name in parts) < 255


def test_groups_never_mix_keywords_or_corpora() -> None:
    assert list(groups(rows())) == [""]
    assert list(groups(load_results(PUBLISHED))) == [""]
    other = rows(keyword=["stop"] * 3, au_fa_fr=[1.0, 1.0, 1.0])
    parts = groups(pd.concat([rows(), other], ignore_index=True))
    assert list(parts) == ["tones-left", "tones-stop"]
    assert parts["tones-left"]["au_fa_fr"].max() < 1
    assert parts["tones-stop"]["au_fa_fr"].min() == 1
    again = rows(corpus_hash=["deadbeef0000"] * 3)
    assert list(groups(pd.concat([rows(), again]).reset_index(drop=True))) == [
        "tones-left-c0ffee00",
        "tones-left-deadbeef",
    ]
    study = pd.concat([rows(), rows(recipe=["kws-hw"] * 3)], ignore_index=True)
    assert list(groups(study)) == ["tones-left-default", "tones-left-kws-hw"]
