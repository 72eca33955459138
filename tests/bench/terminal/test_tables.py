"""What a terminal shows of rows, failed ones among them."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from bench.results.records import RunRecord
from bench.terminal.tables import repeats_table, summary_table
from tests.rows import failed

FAILED = replace(failed(), run_id="kd-0")
DONE = replace(
    FAILED,
    run_id="kd-1",
    seed=1,
    status="ok",
    size_kb=37.5,
    quality={**FAILED.quality, "one_minus_auc": 0.0, "clips": 24, "keyword_clips": 6},
)


def text(table: Table) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_failed_repeats_are_counted_and_not_averaged() -> None:
    shown = text(repeats_table([FAILED, DONE]))
    (line,) = (line.split() for line in shown.splitlines() if line.strip().startswith("KD"))
    assert line == ["KD", "1", "of", "2", "37.5", "-", "-", "0.0000", "(-,", "-)"]
    assert "means over seeds 0 to 1" in shown
    assert "6 of 24 test clips are the keyword" in " ".join(shown.split())


@pytest.mark.parametrize("table", [summary_table, repeats_table])
def test_another_device_than_the_cpu_is_told(table: Callable[[list[RunRecord]], Table]) -> None:
    assert "trained on" not in text(table([DONE]))
    assert "trained on cuda" in " ".join(text(table([replace(DONE, device="cuda")])).split())


@pytest.mark.parametrize("table", [summary_table, repeats_table])
def test_a_base_that_was_given_is_told(table: Callable[[list[RunRecord]], Table]) -> None:
    assert "given" not in text(table([DONE]))
    assert "the base was given, weights 0123456789abcdef" in text(
        table([replace(DONE, base="0123456789abcdef")])
    )


@pytest.mark.parametrize("table", [summary_table, repeats_table])
def test_a_random_split_is_told(table: Callable[[list[RunRecord]], Table]) -> None:
    assert "random split" not in text(table([DONE]))
    assert "random split: speakers stand on both sides" in text(table([replace(DONE, split="random")]))
