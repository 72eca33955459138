"""Speech out of hand-made folders and tables, and the real ones where they are."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter
from copy import copy
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.data.audio import read_audio
from bench.data.speech import named, open_speech
from models.errors import CorpusError

CONTINUOUS = os.environ.get("KWS_BENCH_CONTINUOUS")
WAKE_WORDS = os.environ.get("KWS_BENCH_WAKE_WORDS")
SECOND = 16_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def record(path: Path, seconds: float, seed: int = 0) -> np.ndarray:
    """Writes a recording of noise."""
    samples = np.random.default_rng(seed).integers(-9_000, 9_000, round(seconds * SECOND)).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SECOND)
    return samples


def table(folder: Path, text: str) -> str:
    path = folder / "clips.csv"
    path.write_text(text)
    return str(path)


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Three recordings and a table that says all of them."""
    for at, name in enumerate("abc"):
        record(tmp_path / "talks" / f"{name}.flac", 2 + at, at)
    table(
        tmp_path / "talks",
        "path,speaker,split,text,word,start_s,end_s\n"
        "a.flac,ann,train,Are you happy?,happy,.5,1\n"
        "b.flac,bob,dev,,happy,2.0,2.25\n"
        "b.flac,bob,,,go,0.25,0.5\n"
        "c.flac,cem,test,unhappy,,,\n",
    )
    return tmp_path / "talks"


def test_a_table_is_recordings_one_after_the_other_with_marks(talks: Path) -> None:
    speech = open_speech([str(talks / "clips.csv")])
    assert speech.name == "talks-clips"
    assert speech.recordings.to_dict("list") == {
        "source": ["talks/a.flac", "talks/b.flac", "talks/c.flac"],
        "speaker": ["ann", "bob", "cem"],
        "split": ["train", "validation", "test"],
        "first": [0, 32_000, 80_000],
        "samples": [32_000, 48_000, 64_000],
        "text": ["Are you happy?", "", "unhappy"],
    }
    assert speech.marks.to_numpy().tolist() == [
        [0, "happy", 0.5, 1.0],
        [1, "go", 0.25, 0.5],
        [1, "happy", 2.0, 2.25],
    ]
    for row, name in enumerate("abc"):
        np.testing.assert_array_equal(speech.audio(row), read_audio(talks / f"{name}.flac"))
    assert isinstance(speech.samples, np.memmap)
    assert np.shares_memory(speech.audio(1), speech.samples)
    assert speech.hours() == 9 / 3600
    assert speech.hours("validation") == 3 / 3600
    assert speech.indices("test").tolist() == [2]
    assert speech.skipped == ()


def test_what_names_a_word_is_no_negative(talks: Path) -> None:
    speech = open_speech([str(talks / "clips.csv")])
    assert speech.names(["HAPPY"]).tolist() == [True, True, False]
    assert speech.names(["go", "unhappy"]).tolist() == [False, True, True]
    assert speech.names([]).tolist() == [False] * 3
    assert speech.marked(["happy"]).tolist() == [True, False, True]


def test_words_count_as_a_whole() -> None:
    texts = ["happy", "So happy, again", "unhappy", "happyness", "hey robot", "hey, Robot!", "robot hey", ""]
    assert named(texts, ["happy"]).tolist() == [True, True] + [False] * 6
    assert named(texts, ["hey robot"]).tolist() == [False] * 4 + [True, True, False, False]
    assert named(["a.b", "axb"], ["a.b"]).tolist() == [True, False], "a dot is a dot"
    assert named(["şimdi evet", "evetse"], ["evet"]).tolist() == [True, False]


def test_it_is_decoded_once_and_made_anew_when_contents_change(
    talks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.data import spoken

    read: list[str] = []
    inside = spoken.stream_audio

    def counted(path: Path, block: int) -> object:
        read.append(path.name)
        return inside(path, block)

    monkeypatch.setattr(spoken, "stream_audio", counted)
    path = talks / "clips.csv"
    hashes = {open_speech([str(path)]).hash}
    os.utime(talks / "a.flac", ns=(1, 1))
    hashes.add(open_speech([str(path)]).hash)
    assert read == ["a.flac", "b.flac", "c.flac"], "the same contents are found again"
    assert len(hashes) == 1
    text = path.read_text()
    for other in (
        text.replace(",dev,", ",test,"),
        text.replace("2.25", "2.5"),
        text.replace("Are you", "I'm"),
    ):
        path.write_text(other)
        hashes.add(open_speech([str(path)]).hash)
    record(talks / "c.flac", 4, 9)
    hashes.add(open_speech([str(path)]).hash)
    assert len(hashes) == 5


def test_two_sources_are_one_and_agree_about_a_speaker(talks: Path, tmp_path: Path) -> None:
    """Bob is in validation by a table; the folder's other speakers go by the rule."""
    for name in ("bob_1", "17_1", "17_2", "18_1", "19_1"):
        record(tmp_path / "more" / name.split("_")[0] / f"{name}.wav", 0.5)
    speech = open_speech([str(tmp_path / "more"), str(talks / "clips.csv")])
    alone = open_speech([str(tmp_path / "more")])
    assert speech.name == "more+talks-clips"
    assert len(speech.recordings) == 5 + 3
    splits = dict(zip(speech.recordings["speaker"], speech.recordings["split"], strict=True))
    assert splits["bob"] == "validation"
    assert (speech.recordings.groupby("speaker")["split"].nunique() == 1).all()
    ruled = dict(zip(alone.recordings["speaker"], alone.recordings["split"], strict=True))
    assert {name: splits[name] for name in ("17", "18", "19")} == {n: ruled[n] for n in ("17", "18", "19")}
    np.testing.assert_array_equal(speech.audio(5), read_audio(talks / "a.flac"))
    assert speech.marks["recording"].tolist() == [5, 6, 6]


def test_sources_that_differ_about_a_speaker_are_refused(talks: Path, tmp_path: Path) -> None:
    record(tmp_path / "other" / "x.wav", 1)
    other = table(tmp_path / "other", "path,speaker,split\nx.wav,bob,train\n")
    with pytest.raises(
        CorpusError, match="'bob' is in validation by talks-clips and in train by other-clips"
    ):
        open_speech([str(talks / "clips.csv"), other])


def test_a_source_given_twice_counts_once(talks: Path) -> None:
    path = str(talks / "clips.csv")
    assert open_speech([path, path]).hash == open_speech([path]).hash


@pytest.mark.parametrize(
    ("sources", "says"),
    [([], "no speech given"), (["nowhere"], "no speech 'nowhere': give a folder, a table")],
)
def test_what_is_no_source_is_refused(sources: list[str], says: str) -> None:
    with pytest.raises(CorpusError, match=says):
        open_speech(sources)


def test_speech_from_outside_stands_beside_other_sources(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.data import speech as module

    monkeypatch.setattr(module, "_OPENERS", copy(module._OPENERS))
    module.register("mine")(lambda progress: open_speech([str(talks / "clips.csv")]))
    alone = open_speech(["mine"])
    assert alone.hash == open_speech([str(talks / "clips.csv")]).hash
    record(tmp_path / "more" / "x.wav", 1)
    both = open_speech([str(tmp_path / "more"), "mine"])
    assert both.recordings["source"].tolist() == ["more/x.wav", *alone.recordings["source"]]
    np.testing.assert_array_equal(both.samples[16_000:], alone.samples)
    assert both.recordings["split"].tolist()[1:] == ["train", "validation", "test"]
    with pytest.raises(CorpusError, match="'mine' is already registered"):
        module.register("mine")(lambda progress: alone)


def test_memory_does_not_grow_with_the_hours(tmp_path: Path) -> None:
    """Forty minutes, 77 MB of samples, in a process that may take 20 MB more than it has at the start."""
    quiet = np.zeros(20 * 60 * SECOND, np.int16)
    quiet[::1_000] = 500
    for name in ("a", "b"):
        path = tmp_path / "long" / f"{name}.flac"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, quiet, SECOND)
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from bench.data.speech import open_speech\n"
        "import bench.data.spoken, bench.data.spoken_folder\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = peak(); speech = open_speech(sys.argv[1:])\n"
        "assert len(speech.samples) == 2 * 20 * 60 * 16000\n"
        "print(peak() - before)"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("there is no /proc to read the peak of memory from")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "long")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 20 * 1024


@pytest.mark.slow
@pytest.mark.skipif(not CONTINUOUS, reason="KWS_BENCH_CONTINUOUS names no folder")
def test_the_real_running_speech() -> None:
    path = Path(str(CONTINUOUS)) / "clips.csv"
    with path.open(newline="") as file:
        told = {row["path"]: row for row in csv.DictReader(file)}
    speech = open_speech([str(path)])
    assert speech.skipped == ()
    assert len(speech.recordings) == len(told)
    assert Counter(speech.recordings["split"]) == Counter(row["split"] for row in told.values())
    assert speech.recordings["speaker"].nunique() == len({row["speaker"] for row in told.values()})
    assert speech.recordings.groupby("speaker")["split"].nunique().max() == 1
    seconds = sum(float(row["duration_s"]) for row in told.values())
    assert speech.hours() * 3600 == pytest.approx(seconds, rel=1e-3)
    assert speech.names(["happy"]).sum() == sum("happy" in row["text"].split() for row in told.values())
    for row in range(0, len(told), 500):
        source = speech.recordings["source"][row].partition("/")[2]
        np.testing.assert_array_equal(speech.audio(row), read_audio(path.parent / source))
    # Its folders and names say the same speakers as the table does.
    found = open_speech([str(path.parent)])
    assert found.recordings["speaker"].tolist() == speech.recordings["speaker"].tolist()


@pytest.mark.slow
@pytest.mark.skipif(not WAKE_WORDS, reason="KWS_BENCH_WAKE_WORDS names no folder")
def test_the_real_sentences_with_wake_up_words_have_marks() -> None:
    path = Path(str(WAKE_WORDS)) / "clips.csv"
    with path.open(newline="") as file:
        told = {row["path"]: row for row in csv.DictReader(file)}
    speech = open_speech([str(path)])
    assert len(speech.recordings) == len(speech.marks) == len(told)
    for word in ("operator", "thinkengine", "onword"):
        assert speech.names([word]).sum() == sum(row["word"] == word for row in told.values())
    loud = []
    for mark in speech.marks.itertuples():
        about = told[speech.recordings["source"][mark.recording].partition("/")[2]]
        assert (mark.word, mark.start_s) == (about["word"], float(about["start_s"]))
        samples = speech.audio(mark.recording).astype(float)
        if about["kind"] == "alone":
            within = samples[round(mark.start_s * SECOND) : round(mark.end_s * SECOND)]
            loud.append(np.square(within).sum() / np.square(samples).sum())
    assert np.median(loud) > 0.9, "the word is where its mark is"
