"""Folders of speech as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.data.corpora.splits import which_split
from bench.data.speech import open_speech
from bench.data.spoken_folder import scan, speaker_in
from models.errors import CorpusError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))


def recorded(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "FLAC" if name.endswith("flac") else "WAV"
        soundfile.write(str(folder / name), np.full(800, 100, np.int16), 16_000, format=kind)
    return folder


@pytest.mark.parametrize(
    ("path", "speaker"),
    [
        ("train-clean-100/103/1240/103-1240-0000.flac", "103"),  # LibriSpeech
        ("103-1240-0000.flac", "103"),
        ("84_121123_000001_000000.wav", "84"),  # LibriTTS, MLS
        ("wav48/p225/p225_001.wav", "p225"),  # VCTK
        ("learners/SPEAKER0003_000030012.opus", "SPEAKER0003"),
        ("yes/0a7c2a8d_nohash_0.wav", "0a7c2a8d"),  # Speech Commands
        ("id10001/1zcIwhmdeo4/00001.wav", "id10001"),  # VoxCeleb
        ("ABA/wav/arctic_a0001.wav", "ABA"),  # L2-ARCTIC
        ("DKITCHEN/ch01.wav", "DKITCHEN"),  # DEMAND
        ("my talk.mp3", "my talk.mp3"),
    ],
)
def test_who_speaks(path: str, speaker: str) -> None:
    assert speaker_in(path) == speaker


def test_any_depth_any_format_and_what_is_hidden_is_left(tmp_path: Path) -> None:
    names = ("a.wav", "x/b.flac", "x/y/z/c.WAV", "x/nameless", ".hidden.wav", ".git/d.wav")
    folder = recorded(tmp_path / "set", *names)
    (folder / "README.txt").write_text("no audio")
    (folder / "x" / "notes").write_text("nor this")
    assert [file.path for file in scan(folder).clips] == ["a.wav", "x/b.flac", "x/nameless", "x/y/z/c.WAV"]
    assert len(open_speech([str(folder)]).recordings) == 4


def test_speakers_are_split_by_the_rule_for_clips(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "set", *(f"s{n:02}/{take}.wav" for n in range(60) for take in range(2)))
    speech = open_speech([str(folder)])
    assert speech.recordings["split"].tolist() == [
        which_split(f"s{n:02}", 10.0, 10.0) for n in range(60) for take in range(2)
    ]
    assert set(speech.recordings["split"]) == {"train", "validation", "test"}


def test_texts_beside_recordings_are_read(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "set", "1/2/1-2-0000.flac", "1/2/1-2-0001.flac", "p/talk.wav", "p/mute.wav")
    (folder / "1/2/1-2.trans.txt").write_text("1-2-0000 GO HOME\n1-2-0001 STAY HERE\n")
    (folder / "p/talk.txt").write_text("we go\n out ")
    first = open_speech([str(folder)])
    assert first.recordings["text"].tolist() == ["GO HOME", "STAY HERE", "", "we go out"]
    assert first.names(["go"]).tolist() == [True, False, False, True]
    (folder / "p/talk.txt").write_text("we stay")
    assert open_speech([str(folder)]).names(["go"]).tolist() == [True, False, False, False]


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"no audio in .*empty, however deep"):
        open_speech([str(tmp_path / "empty")])


def test_what_cannot_be_read_is_skipped_and_named_or_refused(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "set", *(f"s{n:02}.wav" for n in range(30)))
    (folder / "s07.wav").write_bytes(b"RIFF of nothing")
    speech = open_speech([str(folder)])
    assert len(speech.recordings) == 29
    assert len(speech.skipped) == 1
    assert speech.skipped[0].startswith("set/s07.wav: ")
    assert speech.recordings["first"].tolist() == [800 * n for n in range(29)]
    broken = np.zeros(100_000, np.float32)
    broken[-1] = np.nan  # known once most of it is written
    soundfile.write(folder / "s07.wav", broken, 16_000, subtype="FLOAT")
    speech = open_speech([str(folder)])
    assert speech.skipped == ("set/s07.wav: holds samples that are no finite numbers",)
    assert speech.recordings["first"].tolist() == [800 * n for n in range(29)]
    assert len(speech.samples) == 29 * 800
    assert (speech.samples == speech.samples[0]).all()
    for n in range(8, 12):
        (folder / f"s{n:02}.wav").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="5 of 30 clips in set cannot be read"):
        open_speech([str(folder)])
    assert not list((tmp_path / "cache" / "corpora").glob(".kws-bench-*"))
