"""``bench stream RUN test`` and ``bench operate`` on a run of several words."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.stream.operate import OperateConfig, operate_one
from bench.stream.thresholds import THRESHOLDS_FILE


@pytest.fixture
def run(words_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(words_run, tmp_path / "runs" / words_run.name)


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)


def test_each_word_is_found_at_a_threshold_of_its_own(run: Path, tmp_path: Path) -> None:
    result = bench("stream", run, "test", "--max-buffer-len", 12, "--out", tmp_path / "figures")
    assert result.exit_code == 0
    kept = json.loads((run / THRESHOLDS_FILE).read_text())
    (thresholds,) = kept.values()
    assert list(thresholds) == ["start", "stop"]
    assert (
        f"thresholds start {thresholds['start']:.4g}, stop {thresholds['stop']:.4g} (on val" in result.output
    )
    for word in ("start", "stop"):
        *_, summary = re.findall(rf"^{word}: (\d) of 6 keyword clips found", result.output, re.M)
        right = re.findall(rf"^ *[\d.]+ s  [\d.]+  {word}  keyword$", result.output, re.M)
        assert len(right) == int(summary) >= 5
    # The study's picture is of one word.
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "joined-test.png",
        "joined-test.svg",
    ]
    again = bench("stream", run, "test", "--threshold", "1", "--out", tmp_path / "figures")
    assert again.output.count("0 of 6 keyword clips found, 6 missed, 0 false alarms") == 2


def test_a_point_of_each_word_is_what_bench_stream_finds_at_its_threshold(run: Path, tmp_path: Path) -> None:
    config = OperateConfig(joinings=1, rates_per_hour=(300.0,))
    for found in operate_one(run, None, config, lambda _: None):
        index = found.chosen[0]
        threshold = float(found.test.thresholds[index])
        arguments = ("--threshold", repr(threshold), "--max-buffer-len", found.max_buffer_len)
        result = bench("stream", run, "test", *arguments, "--out", tmp_path / "figures")
        (heard,) = re.findall(
            rf"^{found.word}: (\d+) of 6 .*, (\d+) false alarms in",
            result.output.split("s of audio")[1],
            re.M,
        )
        hits = round(6 * (1 - found.test.miss_rate[index]))
        assert (int(heard[0]), int(heard[1])) == (hits, found.test.false_alarms[index])


def test_operate_has_a_row_and_a_line_for_each_word(run: Path) -> None:
    result = bench("operate", run, "--joinings", "1")
    assert result.exit_code == 0
    folder = run.parents[1] / "operate" / "words_start_stop_+_unknown"
    points = pd.read_csv(folder / "operating_points.csv")
    assert list(points["keyword"]) == ["start"] * 3 + ["stop"] * 3
    assert (points["keyword_clips"] == 6).all()
    assert re.search(r" B, .*\n +start", result.stdout)
    assert sorted(path.suffix for path in folder.iterdir()) == [
        ".csv",
        ".csv",
        ".png",
        ".png",
        ".svg",
        ".svg",
    ]
    # The tracks are kept: nothing is listened to again.
    assert "listening" in result.stderr
    assert "listening" not in bench("operate", run, "--joinings", "1").stderr
