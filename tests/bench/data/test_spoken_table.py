"""Tables of speech, line by line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from bench.cli import main
from bench.data.speech import Speech, open_speech
from models.errors import CorpusError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(16_000, 100, np.int16), 16_000)
    return tmp_path


def opened(data: Path, text: str) -> Speech:
    (data / "clips.csv").write_text(text)
    return open_speech([str(data / "clips.csv")])


def test_a_path_is_all_that_is_needed(data: Path) -> None:
    speech = opened(data, "path\nb.wav\n./a.wav\n")
    assert speech.recordings["source"].tolist() == [f"{data.name}/a.wav", f"{data.name}/b.wav"]
    assert speech.recordings["speaker"].tolist() == ["a.wav", "b.wav"]
    assert speech.recordings["text"].tolist() == ["", ""]
    assert len(speech.marks) == 0


def test_a_word_alone_is_text_and_noise_says_nothing(data: Path) -> None:
    speech = opened(data, "path,word,start_s,end_s\na.wav,go,,\nb.wav,_background_noise_,,\nc.wav,,.1,.2\n")
    assert speech.recordings["text"].tolist() == ["go", "", ""]
    assert len(speech.marks) == 0
    assert speech.names(["go"]).tolist() == [True, False, False]


def test_lines_of_one_recording_add_up(data: Path) -> None:
    speech = opened(
        data, "path,word,start_s,end_s,speaker,text\na.wav,go,.5,.6,,\na.wav,on,.1,.2,ann,on we go\n"
    )
    assert speech.recordings[["speaker", "text"]].to_numpy().tolist() == [["ann", "on we go"]]
    assert speech.marks["word"].tolist() == ["on", "go"]


def test_marks_end_with_their_recording(data: Path) -> None:
    speech = opened(data, "path,word,start_s,end_s\na.wav,go,.5,1.5\na.wav,on,1.0,2\nb.wav,go,0,.5\n")
    assert speech.marks.to_numpy().tolist() == [[0, "go", 0.5, 1.0], [1, "go", 0.0, 0.5]]
    assert speech.skipped == (f"{data.name}/a.wav: ends after 1.00 s, before 'on'",)


def test_marks_stay_with_their_recording_where_another_is_skipped(data: Path) -> None:
    lines = [f"n{n:02}.wav,on,.1,.2" for n in range(30)]
    for n in range(30):
        soundfile.write(data / f"n{n:02}.wav", np.full(8_000, n, np.int16), 16_000)
    (data / "n03.wav").write_bytes(b"nothing")
    speech = opened(data, "\n".join(["path,word,start_s,end_s", *lines]))
    assert len(speech.skipped) == 1
    assert speech.marks["recording"].tolist() == list(range(29))
    assert [int(speech.audio(row)[0]) for row in (2, 3)] == [2, 4]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("file\na.wav\n", 1, "no column 'path' among file; add it: a table of speech"),
        ("path,text,text\na.wav,x,y\n", 1, "the column 'text' stands there twice"),
        ("path\na.wav\nz.wav\n", 3, "no file .*z.wav; paths are relative to the table"),
        ("path,split\na.wav,evaluation\n", 2, "split 'evaluation'; give train, validation"),
        ("path,word,start_s,end_s\na.wav,go,1,\n", 2, "only one of start_s and end_s"),
        ("path,word\na.wav,_unknown_\n", 2, "word '_unknown_': such names are kept"),
        ("path,speaker\na.wav,ann\na.wav,bob\n", 3, "a.wav has the speaker 'bob' here and 'ann' in a line"),
        ("path,word,start_s,end_s\na.wav,go,0,1\na.wav,go,0,1\n", 3, "a.wav has this mark in a line above"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_number(data: Path, text: str, line: int, reason: str) -> None:
    with pytest.raises(CorpusError, match=rf"clips.csv, line {line}: {reason}"):
        opened(data, text)
    result = CliRunner().invoke(main, ["data", "info", "--speech", str(data / "clips.csv")])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_an_empty_table_is_refused(data: Path) -> None:
    with pytest.raises(CorpusError, match="names no recording"):
        opened(data, "path\n")
