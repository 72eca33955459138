"""Words in running speech, counted by hand."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.data.corpora.acoustics import active_rms
from bench.data.corpora.base import SAMPLE_RATE_HZ, Corpus
from bench.data.speech import Speech
from bench.stream.joined import marks
from bench.stream.running import BAND_HZ, Sounds, band_of_both, limited, running_stream
from models.errors import CorpusError
from models.task import KeywordTask, WordsTask

TASK = KeywordTask("start")


def speech(
    texts: list[str], *, seconds: float = 3.0, marked: dict[int, list[tuple[str, float, float]]] | None = None
) -> Speech:
    """Recordings of noise of a level of its own, all of test, spoken by two."""
    rng, length = np.random.default_rng(0), round(seconds * SAMPLE_RATE_HZ)
    samples = rng.normal(0, 200, (len(texts), length)).astype(np.int16)
    recordings = pd.DataFrame(
        {
            "source": [f"r{number}.wav" for number in range(len(texts))],
            "speaker": [f"p{number % 2}" for number in range(len(texts))],
            "split": "test",
            "first": np.arange(len(texts)) * length,
            "samples": length,
            "text": texts,
        }
    )
    rows = [(row, *mark) for row, found in (marked or {}).items() for mark in found]
    table = pd.DataFrame(rows, columns=["recording", "word", "start_s", "end_s"])
    return Speech("talk", "f" * 16, recordings, samples.ravel(), table)


def test_clips_stand_between_recordings_that_do_not_name_the_word(tone_corpus: Corpus) -> None:
    talk = speech(["so it goes", "let us start now", "and on", *[""] * 18])
    joined = running_stream(tone_corpus, talk, TASK, "test")
    rows = [clip.row for clip in joined.clips if clip.running]
    assert sorted(rows) == [0, *range(2, 21)]
    clips = [clip.row for clip in joined.clips if not clip.running]
    assert sorted(clips) == sorted(tone_corpus.clips.query("split == 'test' and word == 'start'").index)
    # 20 recordings and 10 words: never two words in a row, and speech first.
    kinds = [clip.running for clip in joined.clips]
    assert kinds[0]
    assert all(one or two for one, two in itertools.pairwise(kinds))
    for one, two in itertools.pairwise(joined.clips):
        assert 0 <= two.start_sample - one.end_sample <= SAMPLE_RATE_HZ // 2
    # Gaps of a quarter of a second on average.
    assert joined.duration_s == pytest.approx(20 * 3 + 10 + 1 + 0.25 * 30, abs=2)


def test_marked_sentences_take_the_place_of_clips(tone_corpus: Corpus) -> None:
    talk = speech([""] * 8, marked={2: [("start", 1.0, 1.5)], 5: [("Stop", 0.2, 0.6), ("start", 2.0, 2.4)]})
    task = WordsTask(("start", "stop"), with_unknown=True)
    joined = running_stream(tone_corpus, talk, task, "test")
    assert sorted(clip.row for clip in joined.clips) == list(range(8))
    assert all(clip.running for clip in joined.clips)
    starts = {clip.row: clip.start_sample / SAMPLE_RATE_HZ for clip in joined.clips}
    said = {(mark.word, mark.clip): mark for word in (0, 1) for mark in marks(joined, tone_corpus, word)}
    assert len(said) == 3
    expected = {(0, 0): (2, 1.0, 1.5), (1, 1): (5, 0.2, 0.6), (0, 2): (5, 2.0, 2.4)}
    for key, (row, start_s, end_s) in expected.items():
        assert said[key].span == pytest.approx((starts[row] + start_s, starts[row] + end_s))
        assert said[key].spoken_s == said[key].span.end_s
        assert said[key].speaker == f"p{row % 2}"
    assert [len(joined.spans(word)) for word in (0, 1)] == [2, 1]
    # Where only one of the words is marked, the other one's clips are set in.
    other = running_stream(tone_corpus, replace(talk, marks=talk.marks.iloc[:1]), task, "test")
    assert [len(other.spans(word)) for word in (0, 1)] == [1, 10]


def test_long_recordings_are_taken_apart_and_nothing_is_lost(tone_corpus: Corpus) -> None:
    talk = speech(["", ""], seconds=50.0)
    joined = running_stream(tone_corpus, talk, TASK, "test")
    pieces = sorted((clip.row, clip.first, clip.samples) for clip in joined.clips if clip.running)
    assert len(pieces) == 8
    for row in (0, 1):
        own = [(first, samples) for of, first, samples in pieces if of == row]
        assert own[0][0] == 0
        assert [first + samples for first, samples in own] == [
            *(first for first, _ in own[1:]),
            50 * SAMPLE_RATE_HZ,
        ]
    # More words than pieces: between two of them nothing is said for as long as a detection counts.
    for one, two in itertools.pairwise(joined.clips):
        if not one.running and not two.running:
            assert two.start_sample - one.end_sample >= SAMPLE_RATE_HZ


def test_all_is_at_the_level_of_the_clips(tone_corpus: Corpus) -> None:
    talk = speech([""] * 12)
    sounds = Sounds(tone_corpus, talk)
    joined = sounds.stream(TASK, "test", 0)
    wave = np.concatenate(list(sounds.blocks(joined))).astype(float)
    assert len(wave) == joined.samples
    levels = []
    for clip in joined.clips:
        given = talk.audio(clip.row) if clip.running else tone_corpus.waveforms[clip.row]
        heard = wave[clip.start_sample : clip.end_sample]
        assert np.corrcoef(heard, given)[0, 1] > 0.97
        levels.append(active_rms(heard))
    # Within a decibel of each other, though the speech was recorded at a tenth of the words' level.
    assert max(levels) < 1.12 * min(levels)
    clips = [active_rms(wave.astype(float)) for wave in tone_corpus.waveforms]
    assert np.median(levels) == pytest.approx(np.median(clips), rel=0.1)


def test_the_same_each_time_and_another_by_seed(tone_corpus: Corpus) -> None:
    talk = speech([""] * 12)
    one, two = (running_stream(tone_corpus, talk, TASK, "test", seed=3) for _ in range(2))
    assert one == two
    assert running_stream(tone_corpus, talk, TASK, "test", seed=4).clips != one.clips


def test_a_split_without_speech_is_refused(tone_corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="the validation split of talk has no speech without keyword start"):
        running_stream(tone_corpus, speech(["", ""]), TASK, "validation")
    with pytest.raises(CorpusError, match="the test split of talk has no speech"):
        running_stream(tone_corpus, speech(["start"]), TASK, "test")


def test_both_are_cut_off_where_one_of_them_ends(tone_corpus: Corpus) -> None:
    wide, narrow = speech([""] * 4), speech([""] * 4)
    through = limited(BAND_HZ)
    narrow = replace(narrow, samples=np.concatenate(list(through([narrow.samples]))))
    assert band_of_both(tone_corpus, wide) is None
    assert band_of_both(tone_corpus, narrow) == BAND_HZ
    spectrum = np.abs(np.fft.rfft(narrow.samples.astype(float))) ** 2
    at_hz = np.fft.rfftfreq(len(narrow.samples), 1 / SAMPLE_RATE_HZ)
    assert spectrum[at_hz > 4100].mean() < 1e-5 * spectrum[at_hz < 3000].mean()
    assert spectrum[at_hz < 3000].mean() == pytest.approx(
        np.mean(np.abs(np.fft.rfft(wide.samples))[at_hz < 3000] ** 2), rel=0.05
    )
    # Where blocks are cut makes no difference.
    wave = wide.samples[:20_000]
    np.testing.assert_array_equal(
        np.concatenate(list(through([wave]))), np.concatenate(list(through(np.split(wave, [7, 5000, 5001]))))
    )
    joined = Sounds(tone_corpus, narrow).stream(TASK, "test", 0)
    heard = np.concatenate(list(Sounds(tone_corpus, narrow).blocks(joined))).astype(float)
    high = np.abs(np.fft.rfft(heard)[np.fft.rfftfreq(len(heard), 1 / SAMPLE_RATE_HZ) > 4200]) ** 2
    assert high.sum() < 1e-4 * np.sum(np.abs(np.fft.rfft(heard)) ** 2)
