"""Small builds of synthetic running speech."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.corpora import sentences, synthetic
from bench.data.corpora.sentences import speech_hash, synthetic_speech
from bench.data.corpora.sentences_plan import COMMON, make_sentences
from bench.data.corpora.sentences_worker import SPOKEN, sentence_waves, spoken_sentences
from bench.data.corpora.synthetic import run_stages
from bench.data.corpora.synthetic_plan import WORDS, SyntheticConfig, make_clips, other_words
from bench.data.corpora.synthetic_worker import by_speaker
from bench.data.speech import Speech
from models.errors import CorpusError

SMALL = SyntheticConfig(n_clips=24, workers=2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path))
    return tmp_path / "corpora"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speech]:
    pytest.importorskip("espeakng_loader")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield synthetic_speech(SMALL, progress=False)


def test_every_sentence_is_there_with_its_text(built: Speech) -> None:
    planned = make_sentences(SMALL)
    assert built.recordings["text"].tolist() == [clip.word for clip in planned]
    assert built.name == "synthetic"
    assert built.skipped == ()
    assert built.recordings["samples"].sum() == len(built.samples)
    levels_db = [20 * np.log10(built.audio(row).astype(float).std() / 32_768) for row in range(len(planned))]
    assert -50 < min(levels_db) < max(levels_db) < -10


def test_voices_are_those_of_the_clips_in_their_splits(built: Speech) -> None:
    of_speech = dict(zip(built.recordings["speaker"], built.recordings["split"], strict=True))
    for config, of_sentences in (
        (SMALL, of_speech),
        (
            SyntheticConfig(),
            {clip.speaker.name: clip.speaker.split for clip in make_sentences(SyntheticConfig())},
        ),
    ):
        clips = make_clips(config, other_words(config.keyword))
        assert {clip.speaker.name: clip.speaker.split for clip in clips}.items() <= of_sentences.items()
    assert (built.recordings.groupby("speaker")["split"].nunique() == 1).all()
    assert set(of_speech.values()) == {"train", "validation", "test"}


def test_marks_are_the_words_in_their_order(built: Speech) -> None:
    for row, text in enumerate(built.recordings["text"]):
        marks = built.marks[built.marks["recording"] == row]
        assert " ".join(marks["word"]) == text.replace(",", "")
        assert (marks["start_s"].to_numpy()[1:] >= marks["end_s"].to_numpy()[:-1] - 1e-9).all()
        assert marks["end_s"].max() <= built.recordings["samples"][row] / 16_000


def test_words_are_heard_where_their_marks_are_and_nothing_beside(tmp_path: Path) -> None:
    """Before room and noise there is silence between the marks, and no word without sound."""
    pytest.importorskip("espeakng_loader")
    clips = make_sentences(SMALL)
    run_stages({SPOKEN: "speaking"}, SMALL, tmp_path, clips, (), progress=False)
    for name in by_speaker(clips):
        said = spoken_sentences(tmp_path, name)
        for wave, sentence in zip(sentence_waves(tmp_path, SPOKEN, name), said, strict=True):
            power = np.square(wave.astype(float))
            within = np.zeros(len(wave), bool)
            for _, first, end in sentence.words:
                within[first:end] = True
                assert 0.03 < (end - first) / 16_000 < 2
                assert power[first:end].mean() > 1e-3 * power[within].mean()
            # 10 ms for filters to ring out.
            far = ~np.convolve(within, np.ones(321), "same").astype(bool)
            assert far.sum() > 0.4 * 16_000, "the silence around a sentence at the least"
            assert power[far].mean() < 1e-4 * power[within].mean()


def test_rooms_do_not_move_the_words(built: Speech, tmp_path: Path) -> None:
    """By their envelopes, in steps of 5 ms; echo and noise at its loudest may blur a few."""
    clips = make_sentences(SMALL)
    run_stages({SPOKEN: "speaking"}, SMALL, tmp_path, clips, (), progress=False)
    dry = [wave for name in by_speaker(clips) for wave in sentence_waves(tmp_path, SPOKEN, name)]
    shifts = []
    for row, wave in enumerate(dry):
        heard = built.audio(row)
        assert len(heard) == len(wave)
        one, other = (np.abs(np.asarray(each, float))[: len(each) // 80 * 80] for each in (wave, heard))
        one, other = (each.reshape(-1, 80).mean(axis=1) for each in (one, other))
        fits = [np.corrcoef(np.roll(one, shift), other)[0, 1] for shift in range(-20, 21)]
        shifts.append(int(np.argmax(fits)) - 20)
    assert abs(np.median(shifts)) <= 1
    assert np.quantile(np.abs(shifts), 0.9) <= 3


def test_a_marked_word_is_that_word(tmp_path: Path) -> None:
    """What is marked as a word correlates in its envelope with the word's other takes by the same voice."""
    pytest.importorskip("espeakng_loader")
    config = SyntheticConfig(n_clips=24, n_sentences=30, workers=2)
    clips = [clip for clip in make_sentences(config) if clip.speaker.split == "test"]
    run_stages({SPOKEN: "speaking"}, config, tmp_path, clips, (), progress=False)
    spectra: list[tuple[str, str, np.ndarray]] = []
    for name in by_speaker(clips):
        waves, said = sentence_waves(tmp_path, SPOKEN, name), spoken_sentences(tmp_path, name)
        for wave, sentence in zip(waves, said, strict=True):
            spectra += [
                (name, word, _spectrum(wave[first:end]))
                for word, first, end in sentence.words
                if word in WORDS
            ]
    nearest = []
    for at, (name, word, spectrum) in enumerate(spectra):
        others = [each for place, each in enumerate(spectra) if place != at and each[0] == name]
        if any(each[1] == word for each in others):
            near = max(others, key=lambda each: float(np.corrcoef(each[2], spectrum)[0, 1]))
            nearest.append(near[1] == word)
    assert len(nearest) > 50
    assert np.mean(nearest) > 0.8


def _spectrum(wave: np.ndarray) -> np.ndarray:
    """Log powers in eight stretches of a word and 24 bands, in a row."""
    parts = [np.square(np.abs(np.fft.rfft(part, 4_096)))[:1_024] for part in np.array_split(wave / 32_768, 8)]
    bands = [[band.sum() for band in np.array_split(part, 24)] for part in parts]
    return np.log(np.array(bands) + 1e-4).ravel()


def test_sentences_are_five_to_twelve_words_of_two_lists() -> None:
    said = [clip.word.replace(",", "").split() for clip in make_sentences(SyntheticConfig())]
    assert len(said) == 600
    assert {len(words) for words in said} == set(range(5, 13))
    assert {word for words in said for word in words} <= {*WORDS, *COMMON}
    assert not set(WORDS) & set(COMMON)
    assert not any(one == other for words in said for one, other in pairwise(words))
    for words in said[2::3]:
        assert not set(words) & set(WORDS), "babble is cut from these"


def test_the_workers_do_not_change_it_and_it_is_found_again(
    built: Speech, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = synthetic_speech(SyntheticConfig(n_clips=24, workers=1), progress=False)
    np.testing.assert_array_equal(alone.samples, built.samples)
    assert alone.marks.equals(built.marks)
    assert alone.recordings.equals(built.recordings)
    monkeypatch.setattr(synthetic, "WORKER_COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    assert synthetic_speech(SMALL, progress=False).hash == built.hash
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == [
        f"synthetic-speech-{built.hash}"
    ]


def test_it_goes_on_where_it_was_stopped(built: Speech, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = synthetic.WORKER_COMMAND
    stopped = (
        "import sys, runpy; 'room' in sys.argv[1] and sys.exit(3); runpy.run_module({!r}, {{}}, '__main__')"
    )
    monkeypatch.setattr(synthetic, "WORKER_COMMAND", (sys.executable, "-c", stopped.format(command[-1])))
    with pytest.raises(
        CorpusError, match=r"sentence-room worker 1 of 2 died of status 3 .*run again to go on"
    ):
        synthetic_speech(SMALL, progress=False)
    (scratch,) = cache.glob(".*.parts")
    kept = {path: path.stat().st_mtime_ns for path in (scratch / SPOKEN).glob("*.npy")}
    assert len(kept) == built.recordings["speaker"].nunique()
    monkeypatch.setattr(synthetic, "WORKER_COMMAND", command)
    after: dict[Path, int] = {}
    finish = sentences.write_speech

    def spy(folder: Path, **given: Any) -> Speech:
        after.update({path: path.stat().st_mtime_ns for path in kept})
        return finish(folder, **given)

    monkeypatch.setattr(sentences, "write_speech", spy)
    np.testing.assert_array_equal(synthetic_speech(SMALL, progress=False).samples, built.samples)
    assert after == kept, "nothing is spoken anew"
    assert not scratch.exists()


def test_hash_depends_on_what_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "engine_version", lambda: "1")
    configs = [SMALL, SyntheticConfig(n_clips=25), SyntheticConfig(n_clips=24, seed=1)]
    configs += [SyntheticConfig(n_clips=24, n_speakers=9), SyntheticConfig(n_clips=24, n_sentences=4)]
    hashes = {speech_hash(config) for config in configs}
    monkeypatch.setattr(sentences, "RECIPE_VERSION", 99)
    hashes.add(speech_hash(SMALL))
    assert len(hashes) == 6
    monkeypatch.setattr(sentences, "RECIPE_VERSION", 1)
    assert speech_hash(SyntheticConfig(n_clips=24, workers=7, keyword="go")) == speech_hash(SMALL)
