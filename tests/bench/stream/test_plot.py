from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from bench.stream.detection import Frame, Span
from bench.stream.plot import Peaks, StreamPicture, WordPicture, draw_stream, probability_over_time


def frames_of(probabilities: np.ndarray) -> list[Frame]:
    return [Frame(0.08 * (number + 1), float(p)) for number, p in enumerate(probabilities)]


def test_peaks_keep_all_of_a_short_stream() -> None:
    frames, peaks = frames_of(np.random.default_rng(0).random(150)), Peaks(100)
    peaks.add(frames)
    assert peaks.frames == frames


@pytest.mark.parametrize("length", [199, 200, 201, 777, 1600, 5003])
def test_peaks_are_the_maximum_of_even_buckets(length: int) -> None:
    frames, peaks = frames_of(np.random.default_rng(length).random(length)), Peaks(100)
    for start in range(0, length, 7):
        peaks.add(frames[start : start + 7])
    kept = peaks.frames
    width = 1
    while length // width >= 200:
        width *= 2
    expected = [
        max(frames[at : at + width], key=lambda one: one.probability) for at in range(0, length, width)
    ]
    assert kept == expected
    assert len(kept) <= 201


def picture(duration_s: float = 21.0, **changes: object) -> StreamPicture:
    frames = frames_of(np.exp(-((np.arange(0, duration_s, 0.08) - 10) ** 2)))
    fields = {
        "words": [WordPicture("happy", frames, 0.8, [Frame(9.6, 0.85)], [Span(9.0, 10.0)])],
        "duration_s": duration_s,
        "parts": ("speech", "keyword", "speech"),
    }
    return StreamPicture(**{**fields, **changes})


def test_what_is_drawn() -> None:
    axes = Figure().subplots()
    shown = picture()
    (word,) = shown.words
    probability_over_time(shown, word, axes)
    grey, curve = axes.get_lines()[:2]
    counted = [frame for frame in word.frames if frame.time_s >= 1.0]
    np.testing.assert_allclose(curve.get_ydata(), [frame.probability for frame in counted])
    assert len(grey.get_ydata()) + len(counted) == len(word.frames) + 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (s)", "keyword probability")
    assert [text.get_text() for text in axes.texts] == ["speech", "keyword", "speech"]
    assert [text.get_position()[0] for text in axes.texts] == [4.5, 9.5, 15.5]
    names = axes.get_legend_handles_labels()[1]
    assert sorted(names) == ["detection", "keyword clip", "threshold 0.8"]


@pytest.mark.parametrize(
    ("duration_s", "unit", "right"), [(60.0, "s", 60.0), (1800.0, "min", 30.0), (36_000.0, "h", 10.0)]
)
def test_the_time_axis_reads_well(duration_s: float, unit: str, right: float) -> None:
    axes = Figure().subplots()
    shown = picture(duration_s, parts=None)
    probability_over_time(shown, shown.words[0], axes)
    assert axes.get_xlabel() == f"time ({unit})"
    assert axes.get_xlim() == (0, right)


def test_files_are_written_and_the_same_each_time(tmp_path: Path) -> None:
    first = draw_stream(picture(), tmp_path / "a", "talk")
    again = draw_stream(picture(), tmp_path / "b", "talk")
    assert [path.name for path in first] == ["talk.png", "talk.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_nothing_heard_can_be_drawn(tmp_path: Path) -> None:
    silent = StreamPicture([WordPicture("happy", [], 0.5, [])], 0.0)
    assert len(draw_stream(silent, tmp_path, "nothing")) == 2
