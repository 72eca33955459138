"""Several sources laid together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench.data import spoken
from bench.data.corpora.splits import which_split
from bench.data.speech import open_speech
from bench.data.spoken import RECORDING, joint_splits
from models.errors import CorpusError


def rows(*of: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame([("x", speaker, split, "") for speaker, split in of], columns=RECORDING)


def test_named_splits_go_before_the_rule_whoever_names_them() -> None:
    by_rule = {f"s{n}": which_split(f"s{n}", 10.0, 10.0) for n in range(40)}
    assert set(by_rule.values()) == {"train", "validation", "test"}
    tested = next(name for name, split in by_rule.items() if split == "test")
    folder, table = rows(*((name, "") for name in by_rule)), rows((tested, "train"), ("t", "test"))
    found = joint_splits([("folder", folder), ("table", table)])
    assert found == by_rule | {tested: "train", "t": "test"}


def test_a_split_that_a_table_names_gets_no_others_of_it_by_rule() -> None:
    given = rows(("v", "validation"), ("t", "test"), *((f"s{n}", "") for n in range(40)))
    splits = joint_splits([("table", given)])
    assert {splits[f"s{n}"] for n in range(40)} == {"train"}


def test_one_who_is_in_two_splits_of_one_table_is_refused() -> None:
    with pytest.raises(CorpusError, match="'ann' is in train by table and in test by table"):
        joint_splits([("table", rows(("ann", "train"), ("ann", "test")))])


def test_two_folders_of_one_name_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))
    for place in ("one", "other"):
        (tmp_path / place / "wav").mkdir(parents=True)
        soundfile.write(tmp_path / place / "wav" / f"{place}.wav", np.full(800, 9, np.int16), 16_000)
    speech = open_speech([str(tmp_path / "one" / "wav"), str(tmp_path / "other" / "wav")])
    assert speech.recordings["speaker"].tolist() == ["one.wav", "other.wav"]


def test_what_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    soundfile.write(tmp_path / "set" / "a.wav", np.full(800, 9, np.int16), 16_000)
    inside = spoken.stream_audio

    def disturbed(path: Path, block: int) -> object:
        soundfile.write(tmp_path / "set" / "b.wav", np.full(800, 9, np.int16), 16_000)
        return inside(path, block)

    monkeypatch.setattr(spoken, "stream_audio", disturbed)
    with pytest.raises(CorpusError, match="was changed while it was read"):
        open_speech([str(tmp_path / "set")])
    assert not list((tmp_path / "cache" / "corpora").glob("set-speech-*/"))
