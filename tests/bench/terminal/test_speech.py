"""bench data info on long audio, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from bench.cli import main

NONE = "these are no negatives"


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four recordings of a quarter of an hour, at a low rate, by three speakers."""
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))
    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.flac", np.full(900 * 4_000, 9, np.int16), 4_000)
    (tmp_path / "talks.csv").write_text(
        "path,speaker,split,text,word,start_s,end_s\n"
        "a.flac,ann,train,we are happy,,,\nb.flac,ann,train,,happy,61.5,62\n"
        "b.flac,ann,train,,happy,3,3.25\nc.flac,bob,validation,unhappy,,,\nd.flac,cem,test,,,,\n"
    )
    return tmp_path / "talks.csv"


def info(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", "info", *map(str, arguments)])


def test_hours_speakers_texts_and_marks_by_split(talks: Path) -> None:
    output = info("--speech", talks).stdout
    cells = [line.split() for line in output.splitlines()]
    assert ["train", "2", "0.50", "1", "1", "2"] in cells
    assert ["validation", "1", "0.25", "1", "1", "0"] in cells
    assert ["test", "1", "0.25", "1", "0", "0"] in cells
    assert ["all", "4", "1.00", "3", "2", "2"] in cells
    assert "named in" not in output, "nobody asked for a word"


def test_where_a_word_is_named(talks: Path) -> None:
    root = talks.parent.name
    lines = info("--speech", talks, "--keyword", "happy", "--keyword", "go").stdout.splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("happy:"))
    assert lines[at:] == [
        f"happy: named in 2 of 4 recordings (train 2, validation 0, test 0), 2 times marked; {NONE}",
        f"  {root}/a.flac, ann, train: in its text",
        f"  {root}/b.flac, ann, train: 3.00 to 3.25 s, 61.50 to 62.00 s",
        f"go: named in 0 of 4 recordings (train 0, validation 0, test 0), 0 times marked; {NONE}",
    ]


def test_no_more_places_than_anyone_reads(talks: Path) -> None:
    text = "path,text\n" + "".join(f"{n}.flac,go\n" for n in range(8))
    for n in range(8):
        soundfile.write(talks.parent / f"{n}.flac", np.full(4_000, 9, np.int16), 4_000)
    talks.write_text(text)
    lines = info("--speech", talks, "--words", "go,on").stdout.splitlines()
    assert sum(line.endswith("in its text") for line in lines) == 5
    assert "  and 3 more" in lines


def test_clips_and_speech_are_shown_together(talks: Path, tone_folder: Path) -> None:
    output = info(tone_folder, "--speech", talks).stdout
    assert "clips of each word" in output
    assert "talks" in output


@pytest.mark.parametrize(
    ("arguments", "says"), [([], "nothing to look at"), (["--speech", "x"], "no speech 'x'")]
)
def test_what_is_wrong_is_one_line(arguments: list[str], says: str) -> None:
    result = info(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert says in line
