"""Sides in processes of their own. They import this file, so it imports nothing heavy."""

import os
from functools import partial
from pathlib import Path

import pytest

from benchmarks.turns import Turns, alternate


def write_laps(path: Path, name: str, count: int, turns: Turns) -> None:
    turns.note("count", float(count))
    turns.wait()
    for _ in range(count):
        with path.open("a") as file:
            file.write(name)
        turns.lap("lap")


def fail(turns: Turns) -> None:
    turns.wait()
    raise ValueError("out of paper")


def exit_at_once(turns: Turns) -> None:
    os._exit(3)


def test_sides_take_turns_and_the_longer_one_goes_on_alone(tmp_path: Path) -> None:
    path = tmp_path / "laps"
    laps = alternate({"a": partial(write_laps, path, "a", 4), "b": partial(write_laps, path, "b", 2)})
    assert path.read_text() == "ababaa"
    assert {name: len(side.seconds["lap"]) for name, side in laps.items()} == {"a": 4, "b": 2}
    assert laps["b"].notes == {"count": 2.0}
    assert laps["a"].peak_mb > 1


def test_a_side_that_fails_or_dies_ends_the_measurement(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of paper"):
        alternate({"a": partial(write_laps, tmp_path / "laps", "a", 1), "b": fail})
    with pytest.raises(RuntimeError, match="'b' died"):
        alternate({"b": exit_at_once})
