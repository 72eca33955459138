import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.data.corpora.base import SAMPLE_RATE_HZ, Corpus, write_corpus
from bench.stream.joined import Joined, joined_stream, render, speech_keyword_speech, spoken_samples
from models.errors import CorpusError
from models.task import KeywordTask, WordsTask
from tests.conftest import tone_clips


def samples_of(joined: Joined, corpus: Corpus) -> np.ndarray:
    return np.concatenate(list(render(joined, corpus)))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_all_clips_of_one_split_and_no_others(tone_corpus: Corpus, split: str) -> None:
    joined = joined_stream(tone_corpus, KeywordTask("start"), split)
    table = tone_corpus.clips.iloc[[clip.row for clip in joined.clips]]
    assert set(table["split"]) == {split}
    assert list(table["word"] == "start") == [clip.word == 0 for clip in joined.clips]
    spoken = [clip.row for clip in joined.clips if clip.word == 0]
    everything = tone_corpus.clips.query("split == @split and word == 'start'")
    assert sorted(spoken) == list(everything.index)


def test_keyword_clips_are_several_seconds_apart(tone_corpus: Corpus) -> None:
    keywords = joined_stream(tone_corpus, KeywordTask("start"), "test").spans()
    assert len(keywords) == 10
    assert keywords[0].start_s >= 5
    assert min(after.start_s - before.end_s for before, after in itertools.pairwise(keywords)) >= 5
    assert {round(span.end_s - span.start_s, 6) for span in keywords} == {1.0}


def test_clips_sound_where_the_plan_says(tone_corpus: Corpus) -> None:
    joined = joined_stream(tone_corpus, KeywordTask("start"), "test")
    wave = samples_of(joined, tone_corpus)
    assert wave.dtype == np.int16
    assert len(wave) == joined.samples == round(joined.duration_s * SAMPLE_RATE_HZ)
    ends = [clip.start_sample + SAMPLE_RATE_HZ for clip in joined.clips]
    assert all(end <= clip.start_sample for end, clip in zip(ends, joined.clips[1:], strict=False))
    for clip in joined.clips[::7]:
        heard = wave[clip.start_sample :][:SAMPLE_RATE_HZ].astype(float)
        original = tone_corpus.waveforms[clip.row].astype(float)
        assert np.corrcoef(heard, original)[0, 1] > 0.98


def test_background_goes_on_20_db_below_without_clicks(tone_corpus: Corpus) -> None:
    joined = joined_stream(tone_corpus, KeywordTask("start"), "test")
    wave = samples_of(joined, tone_corpus).astype(float)
    between = np.ones(len(wave), bool)
    for clip in joined.clips:
        between[clip.start_sample : clip.start_sample + SAMPLE_RATE_HZ] = False
    clips = np.mean([np.mean(tone_corpus.waveforms[clip.row].astype(float) ** 2) for clip in joined.clips])
    assert 10 * np.log10(clips / np.mean(wave[between] ** 2)) == pytest.approx(20, abs=0.3)


def test_the_same_each_time_and_another_by_seed(tone_corpus: Corpus) -> None:
    one, two = (joined_stream(tone_corpus, KeywordTask("start"), "test") for _ in range(2))
    assert one == two
    np.testing.assert_array_equal(samples_of(one, tone_corpus), samples_of(two, tone_corpus))
    assert joined_stream(tone_corpus, KeywordTask("start"), "test", seed=1).clips != one.clips


def test_white_noise_where_the_corpus_has_none(tone_corpus: Corpus) -> None:
    silent = replace(tone_corpus, noise=np.zeros(0, np.int16))
    joined = joined_stream(silent, KeywordTask("start"), "test")
    start = joined.clips[-1].start_sample + SAMPLE_RATE_HZ
    assert np.std(samples_of(joined, silent)[start:].astype(float)) > 50


def test_speech_keyword_speech(tone_corpus: Corpus) -> None:
    joined = speech_keyword_speech(tone_corpus, KeywordTask("start"))
    rows = [clip.row for clip in joined.clips]
    assert [clip.word == 0 for clip in joined.clips] == [False] * 8 + [True] + [False] * 8
    assert rows[:8] == rows[9:]
    assert set(tone_corpus.clips.iloc[rows]["split"]) == {"test"}
    assert 8 <= joined.spans()[0].start_s <= 12.5


def test_a_split_without_the_keyword_is_refused(tone_corpus: Corpus) -> None:
    clips = tone_corpus.clips[(tone_corpus.clips["split"] != "test") | (tone_corpus.clips["word"] != "start")]
    without = replace(tone_corpus, clips=clips.reset_index(drop=True))
    with pytest.raises(CorpusError, match="test split of tones needs clips of keyword start"):
        joined_stream(without, KeywordTask("start"), "test")


@pytest.mark.parametrize("words", [("start", "stop"), ("start", "stop", "left")])
@pytest.mark.parametrize("unknown", [False, True])
def test_of_several_words_every_clip_comes_once(
    tone_corpus: Corpus, words: tuple[str, ...], unknown: bool
) -> None:
    task = WordsTask(words, with_unknown=unknown)
    joined = joined_stream(tone_corpus, task, "test")
    rows = [clip.row for clip in joined.clips]
    said = tone_corpus.clips.iloc[rows]["word"].tolist()
    assert [word if word in words else None for word in said] == [
        words[clip.word] if clip.word >= 0 else None for clip in joined.clips
    ]
    assert len(set(rows)) == len(rows)
    for number, word in enumerate(words):
        assert said.count(word) == len(joined.spans(number)) == 10
    # A tenth of the words' clips are unknown; without that class there are no others.
    assert len(rows) - 10 * len(words) == (len(words) if unknown else 0)
    for number, (one, two) in enumerate(itertools.pairwise(said)):
        # Twice in a row only where nothing else is left.
        assert one != two or one not in words or set(said[number:]) == {one}
    assert joined.clips[0].start_sample >= (SAMPLE_RATE_HZ if joined.clips[0].word >= 0 else 0)


@pytest.mark.parametrize("clip_s", [0.5, 2.0])
def test_clips_of_any_length(tmp_path: Path, clip_s: float) -> None:
    samples, rng = round(clip_s * SAMPLE_RATE_HZ), np.random.default_rng(0)
    clips = tone_clips(takes=1)
    waves = rng.normal(0, 1000, (len(clips), samples)).astype(np.int16)
    corpus = write_corpus(
        tmp_path / "clips",
        name="clips",
        content_hash="0" * 16,
        clips=clips,
        waveforms=[waves],
        noise=waves[0],
        clip_samples=samples,
    )
    joined = joined_stream(corpus, KeywordTask("start", clip_s=clip_s), "test")
    wave = samples_of(joined, corpus)
    assert len(wave) == joined.samples
    for clip, after in itertools.pairwise(joined.clips):
        assert 0 <= after.start_sample - clip.start_sample - samples <= SAMPLE_RATE_HZ // 2
    for clip in joined.clips[::3]:
        heard = wave[clip.start_sample :][:samples].astype(float)
        assert np.corrcoef(heard, corpus.waveforms[clip.row])[0, 1] > 0.95
    assert {round(span.end_s - span.start_s, 6) for span in joined.spans()} == {clip_s}


@pytest.mark.parametrize("noise_level", [0, 30, 300])
@pytest.mark.parametrize("end_ms", [400, 730, 900])
def test_the_end_of_a_word_is_found(noise_level: float, end_ms: int) -> None:
    rng = np.random.default_rng(end_ms)
    clip = rng.normal(0, noise_level, SAMPLE_RATE_HZ) if noise_level else np.zeros(SAMPLE_RATE_HZ)
    stop = end_ms * 16
    clip[stop - 4000 : stop] += 8000 * np.sin(np.arange(4000) * 0.3)
    assert spoken_samples(clip.astype(np.int16)) / 16 == pytest.approx(end_ms, abs=30)


@pytest.mark.parametrize("level", [0, 1000])
def test_a_clip_of_one_level_ends_with_the_clip(level: int) -> None:
    assert spoken_samples(np.full(SAMPLE_RATE_HZ, level, np.int16)) == SAMPLE_RATE_HZ


def test_what_lies_30_db_below_the_word_is_not_of_it() -> None:
    clip = np.zeros(SAMPLE_RATE_HZ)
    clip[4000:8000] = 8000 * np.sin(np.arange(4000) * 0.3)
    clip[8000:12000] = 178 * np.sin(np.arange(4000) * 0.3)
    assert spoken_samples(clip.astype(np.int16)) / 16 == pytest.approx(500, abs=30)
    clip[8000:12000] *= 2
    assert spoken_samples(clip.astype(np.int16)) / 16 == pytest.approx(750, abs=30)
