"""What a spotter got wrong, by hand and by ear."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from bench.data.corpora.base import SAMPLE_RATE_HZ, Corpus
from bench.stream.joined import marks
from bench.stream.mistakes import TABLE_FILE, Mistake, mistakes, save_mistakes
from bench.stream.operation import Track
from bench.stream.running import Sounds
from models.task import KeywordTask
from tests.bench.stream.test_running import speech

TASK = KeywordTask("start")


def track(time_s: np.ndarray, probability: np.ndarray, starts: list[float]) -> Track:
    begin = np.array(starts)
    return Track(
        time_s=time_s,
        probability=probability,
        start_s=begin,
        end_s=begin + 1,
        spoken_s=begin + 0.7,
        clips=np.arange(len(starts)),
        speakers=np.array(["s"] * len(starts)),
        duration_s=float(time_s[-1]),
    )


def test_counted_by_hand() -> None:
    times = np.arange(1.0, 31.0)
    heights = np.zeros(30)
    # The word at 4 s is found at 5 s, that at 14 s reaches .4 only; at 9 and 25 s there is none.
    for at, height in ((5, 0.9), (9, 0.8), (15, 0.4), (25, 0.7)):
        heights[at - 1] = height
    found = mistakes(track(times, heights, [4.0, 14.0]), 0.5)
    assert found == [
        Mistake("false alarm", 9.0, 9.0, 0.8),
        Mistake("miss", 14.0, 15.0, 0.4),
        Mistake("false alarm", 25.0, 25.0, 0.7),
    ]
    assert mistakes(track(times, heights, [4.0]), 0.85) == []


@pytest.mark.parametrize("running", [False, True])
def test_each_is_heard_as_in_the_stream(tone_corpus: Corpus, tmp_path: Path, running: bool) -> None:
    sounds = Sounds(tone_corpus, speech([""] * 12) if running else None)
    joined = sounds.stream(TASK, "test", 0)
    wave = np.concatenate(list(sounds.blocks(joined)))
    said = marks(joined, tone_corpus, 0)
    other = next(clip for clip in joined.clips[5:] if clip.word < 0)
    alarm_s = (other.start_sample + other.samples // 2) / SAMPLE_RATE_HZ
    found = [
        Mistake("false alarm", 0.5, 0.5, 0.9),
        *sorted(
            [
                Mistake("miss", said[1].span.start_s, said[1].span.end_s, 0.2),
                Mistake("false alarm", alarm_s, alarm_s, 0.7),
            ],
            key=lambda one: one.time_s,
        ),
        Mistake("miss", said[-1].span.start_s, said[-1].span.end_s, 0.1),
    ]
    *recordings, table = save_mistakes(sounds, joined, "start", found, tmp_path / "errors")
    rows = pd.read_csv(table)
    assert table.name == TABLE_FILE
    assert list(rows["recording"]) == [path.name for path in recordings]
    for path, mistake in zip(recordings, found, strict=True):
        before, after = (1.0, 1.0) if mistake.kind == "miss" else (2.0, 0.0)
        first = max(0, round((mistake.time_s - before) * SAMPLE_RATE_HZ))
        heard, rate = sf.read(path, dtype="int16")
        assert rate == SAMPLE_RATE_HZ
        np.testing.assert_array_equal(heard, wave[first : round((mistake.end_s + after) * SAMPLE_RATE_HZ)])
    row = rows.set_index("time_s").loc[alarm_s]
    about = (sounds.speech.recordings if other.running and sounds.speech else tone_corpus.clips).iloc[
        other.row
    ]
    assert (row["file"], row["speaker"]) == (about["source"], about["speaker"])
    assert row["at_s"] == pytest.approx((other.first + other.samples // 2) / SAMPLE_RATE_HZ, abs=1e-3)
    missed = rows[rows["kind"] == "miss"].iloc[0]
    assert missed["file"] == tone_corpus.clips["source"].iloc[said[1].clip]
    assert missed["speaker"] == said[1].speaker


def test_nothing_wrong_is_an_empty_table(tone_corpus: Corpus, tmp_path: Path) -> None:
    sounds = Sounds(tone_corpus)
    (table,) = save_mistakes(sounds, sounds.stream(TASK, "test", 0), "start", [], tmp_path)
    assert pd.read_csv(table).empty
