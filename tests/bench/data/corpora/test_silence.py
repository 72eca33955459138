"""Silence from background noise: how much, which stretches, and that no split shares any."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.data.corpora import open_corpus
from bench.data.corpora.base import Corpus, Int16Array
from bench.data.corpora.leaks import find_leaks
from bench.data.corpora.silence import counts, noise_parts, with_silence
from models.errors import CorpusError
from models.task import SILENCE, KeywordTask, WordsTask

SECOND = 16_000
TASK = WordsTask(("start", "stop"), with_unknown=True, with_silence=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def noisy(corpus: Corpus, seconds: float = 40) -> Corpus:
    """With noise in which no two samples in a row are found twice."""
    noise = np.random.default_rng(5).normal(0, 3_000, round(seconds * SECOND)).astype(np.int16)
    return replace(corpus, noise=noise)


def silent(corpus: Corpus, split: str) -> Int16Array:
    rows = corpus.clips["word"].eq(SILENCE) & corpus.clips["split"].eq(split)
    return np.asarray(corpus.waveforms)[rows.to_numpy()]


def place(clip: Int16Array, noise: Int16Array) -> int:
    """Where in the noise a clip was cut, by its correlation with all of it."""
    size = 1 << (len(noise) + len(clip)).bit_length()
    product = np.fft.rfft(noise.astype(float), size) * np.conj(np.fft.rfft(clip.astype(float), size))
    return int(np.fft.irfft(product, size)[: len(noise) - len(clip) + 1].argmax())


def test_each_split_gets_a_tenth_of_its_words_rounded_up(tone_corpus: Corpus) -> None:
    corpus = with_silence(noisy(tone_corpus), ("start", "stop"))
    for split in ("train", "validation", "test"):
        spoken = tone_corpus.clips[tone_corpus.clips["split"] == split]["word"].isin(["start", "stop"]).sum()
        assert len(silent(corpus, split)) == math.ceil(spoken / 10)
    assert corpus.clips.iloc[: len(tone_corpus.clips)].equals(tone_corpus.clips[list(corpus.clips)])
    np.testing.assert_array_equal(corpus.waveforms[: len(tone_corpus.clips)], tone_corpus.waveforms)
    assert corpus.clips["source"].is_unique
    labels = corpus.labels(TASK)
    assert (labels == 0).tolist() == corpus.clips["word"].eq(SILENCE).tolist()


def test_a_tenth_of_eleven_is_two(tone_corpus: Corpus) -> None:
    clips = tone_corpus.clips.query("word == 'start'").groupby("split").head(11)
    assert counts(replace(tone_corpus, clips=clips), ("start",)) == {"train": 2, "validation": 1, "test": 1}


def test_no_noise_is_in_two_splits_nor_with_two_speakers(tone_corpus: Corpus) -> None:
    given = noisy(tone_corpus)
    corpus = with_silence(given, tuple(tone_corpus.words))
    heard: dict[str, set[int]] = {}
    edges = {"train": (0, 32), "validation": (32, 36), "test": (36, 40)}
    for row in np.flatnonzero(corpus.clips["word"] == SILENCE):
        clip, about = np.asarray(corpus.waveforms[row]), corpus.clips.iloc[row]
        start = place(clip, given.noise)
        low, high = (edge_s * SECOND for edge_s in edges[about["split"]])
        assert low <= start <= high - SECOND
        level = (
            clip.astype(float)
            @ given.noise[start : start + SECOND]
            / np.square(given.noise[start : start + SECOND].astype(float)).sum()
        )
        assert 0 <= level <= 1
        expected = np.rint(given.noise[start : start + SECOND] * level)
        assert np.abs(clip - expected).max() <= 1
        heard.setdefault(about["speaker"], set()).update(range(start, start + SECOND))
    assert len(heard) > 3
    assert sum(map(len, heard.values())) == len(set.union(*heard.values()))
    speakers = corpus.clips[corpus.clips["word"] == SILENCE].groupby("speaker")["split"].nunique()
    assert speakers.max() == 1
    np.testing.assert_array_equal(corpus.noise, given.noise[: 32 * SECOND])
    assert not find_leaks(corpus).found


def test_levels_reach_from_silence_to_all_of_the_noise(tone_corpus: Corpus) -> None:
    many = replace(noisy(tone_corpus), clips=tone_corpus.clips.assign(word="start"))
    waves = silent(with_silence(many, ("start",)), "train").astype(float)
    levels = np.sort(waves.std(axis=1) / 3_000)
    assert len(levels) == 16
    assert levels[0] < 0.2
    assert 0.8 < levels[-1] < 1.05


def test_it_is_the_same_each_time_and_another_corpus(tone_corpus: Corpus, cache: Path) -> None:
    first = with_silence(noisy(tone_corpus), ("start",))
    waves = np.array(first.waveforms)
    kept = with_silence(noisy(tone_corpus), ("start",))
    assert kept.hash == first.hash != tone_corpus.hash
    assert with_silence(noisy(tone_corpus), ("stop",)).hash != first.hash
    for folder in (cache / "corpora").glob("tones-*"):
        if folder.is_dir():
            folder.rename(folder.with_name(f".{folder.name}"))
    again = with_silence(noisy(tone_corpus), ("start",))
    np.testing.assert_array_equal(again.waveforms, waves)


def test_little_noise_is_divided_as_far_as_it_goes(tone_corpus: Corpus) -> None:
    parts = noise_parts(noisy(tone_corpus, 3))
    assert {name: len(part) for name, part in parts.items()} == {
        "train": SECOND,
        "validation": SECOND,
        "test": SECOND,
        "validation+test": 2 * SECOND,
    }
    with pytest.raises(CorpusError, match=r"tones has 2.9 s of background noise; .* 3 s or more"):
        with_silence(noisy(tone_corpus, 2.9), ("start",))


def test_without_noise_there_is_no_silence(tone_corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match=r"tones has no background noise .*_background_noise_") as caught:
        with_silence(replace(tone_corpus, noise=np.zeros(0, np.int16)), ("start",))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("split", "clip_s"), [("speaker", 1.0), ("random", 1.0), ("speaker", 1.5)])
def test_a_folder_with_noise_has_clips_of_silence(
    tone_folder: Path, tmp_path: Path, split: str, clip_s: float
) -> None:
    folder = tmp_path / "tones"
    folder.symlink_to(tone_folder)
    with pytest.raises(CorpusError, match="no background noise"):
        open_corpus(str(folder), TASK, progress=False)
    folder.unlink()
    folder.mkdir()
    for entry in tone_folder.iterdir():
        (folder / entry.name).symlink_to(entry)
    (folder / "_background_noise_").mkdir()
    hiss = np.random.default_rng(0).normal(0, 900, 20 * SECOND).astype(np.int16)
    soundfile.write(folder / "_background_noise_" / "hiss.opus", hiss, SECOND, format="OGG", subtype="OPUS")
    task = replace(TASK, clip_s=clip_s)
    corpus = open_corpus(str(folder), task, split=split, progress=False)
    assert corpus.clip_samples == task.clip_samples
    assert set(corpus.labels(task)) >= {0, 1, 2, 3}
    for name in ("train", "validation", "test"):
        assert (corpus.labels(task)[corpus.indices(name)] == 0).any()
    plain = open_corpus(str(folder), KeywordTask("start", clip_s=clip_s), split=split, progress=False)
    assert SILENCE not in plain.words
    assert plain.hash != corpus.hash
    assert corpus.lengths_s == plain.lengths_s == (1.0, 1.0)
