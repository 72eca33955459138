"""``bench stream``: a run's model on audio of any length."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.data.audio import AudioError, stream_audio
from bench.data.corpora.base import SAMPLE_RATE_HZ, Int16Array
from bench.results.open import open_run
from bench.stream.detection import (
    MAX_FALSE_ALARMS_PER_HOUR,
    Detection,
    DetectorState,
    Hysteresis,
    Moment,
    Span,
    detect_words,
)
from bench.stream.plot import Peaks, StreamPicture, WordPicture, draw_stream
from bench.stream.spotter import StreamingSpotter, ahead, frames_back
from bench.stream.thresholds import Thresholds, thresholds_of
from bench.threads import threads
from models.errors import ResultsError
from models.task import Task

Say = Callable[[str], None]


@dataclass(frozen=True)
class StreamConfig:
    """How to listen.

    Attributes:
        chunk_ms: Audio a step; makes no difference to the result.
        max_buffer_len: Model frames that attention or a mean looks back on; None for 1.92 seconds of them.
        threshold: Of the probability of each word; None for those chosen on validation.
        max_false_alarms_per_hour: What that choice allows each word.
    """

    chunk_ms: int = 80
    max_buffer_len: int | None = None
    threshold: float | None = None
    max_false_alarms_per_hour: float = MAX_FALSE_ALARMS_PER_HOUR


@dataclass
class Heard:
    """What came of a stream; its size does not grow with the audio.

    Attributes:
        duration_s: Length of the audio.
        detections: How many.
        busy_s: Time spent on computing, without that of waiting for audio.
        interrupted: Ended by Ctrl-C.
        course: Of each word the probability over time, decimated.
        marks: Of each word the detections, decimated.
    """

    course: Sequence[Peaks]
    marks: Sequence[Peaks]

    duration_s: float = 0.0
    detections: int = 0
    busy_s: float = 0.0
    interrupted: bool = False

    @property
    def real_time_factor(self) -> float:
        """Computing time over audio time; below 1 keeps up with a live stream."""
        return self.busy_s / self.duration_s if self.duration_s else 0.0


def listen(
    spotter: StreamingSpotter,
    blocks: Iterable[Int16Array],
    hows: Sequence[Hysteresis],
    on_detection: Callable[[Detection], None],
) -> Heard:
    """Runs a stream to its end, or to Ctrl-C, and tells of each detection as it comes.

    Args:
        spotter: At its beginning.
        blocks: The audio.
        hows: When each word counts as detected.
        on_detection: Is told.
    """
    heard = Heard([Peaks() for _ in hows], [Peaks() for _ in hows])
    states = [DetectorState()] * len(hows)

    def step(compute: Callable[[], list[Moment]]) -> None:
        nonlocal states
        started = time.perf_counter()
        moments = compute()
        found, states = detect_words(moments, hows, states)
        heard.busy_s += time.perf_counter() - started
        for word, course in enumerate(heard.course):
            course.add(moment.of(word) for moment in moments)
        heard.detections += len(found)
        for detection in found:
            heard.marks[detection.word].add([detection.frame])
            on_detection(detection)

    # A model of some thousand weights is slower on several threads, and a device has one.
    with threads(1):
        try:
            for block in blocks:
                step(partial(spotter.push, block))
        except KeyboardInterrupt:
            heard.interrupted = True
        step(spotter.finish)
    heard.duration_s = spotter.heard_s
    return heard


def stream_file(path: Path, audio: str, config: StreamConfig, out: Path | None, say: Say) -> Heard:
    """Listens to a file, or to raw PCM on standard input, and draws the probability over time.

    Args:
        path: Run folder, or a file in it.
        audio: A recording of any format, rate and length, or ``-``.
        config: How to listen.
        out: Folder for the figure; None for ``stream/`` in the run folder.
        say: Gets one line for each detection as it comes, and the summary.

    Raises:
        KwsError: The run or the audio cannot be read.
    """
    run, model = open_run(path)
    task = run.task()
    frames = frames_back(model, config.max_buffer_len)
    spotter = StreamingSpotter(model, frames, task)
    thresholds, origin = thresholds_of(run, task, frames, config.threshold)
    known = f"{threshold_text(task, thresholds)} ({origin})"
    say(f"{run.run_id}: buffer {frames} frames, {known}{ahead(model, task.front_end)}")
    blocks = stream_audio(audio, config.chunk_ms * SAMPLE_RATE_HZ // 1000)
    heard = listen(
        spotter, blocks, detectors(task, thresholds), lambda found: say(detection_line(found, task))
    )
    if audio != "-" and not heard.interrupted and not heard.duration_s:
        raise AudioError(Path(audio), "holds no samples")
    say(summary_line(heard))
    name = "stdin" if audio == "-" else Path(audio).stem
    draw(picture_of(heard, task, thresholds), out or run.path / "stream", name, say)
    return heard


def detectors(task: Task, thresholds: Thresholds) -> list[Hysteresis]:
    """When each word counts as detected."""
    return [Hysteresis(threshold, warm_up_s=task.clip_s) for threshold in thresholds]


def picture_of(
    heard: Heard, task: Task, thresholds: Thresholds, spans: Sequence[Sequence[Span]] | None = None
) -> StreamPicture:
    """What there is to draw of a stream.

    Args:
        heard: What came of it.
        task: Whose words.
        thresholds: Of each.
        spans: When each is known to be spoken.
    """
    known = spans or [()] * len(thresholds)
    parts = zip(task.needed, heard.course, thresholds, heard.marks, known, strict=True)
    words = [
        WordPicture(name, course.frames, threshold, marks.frames, spoken)
        for name, course, threshold, marks, spoken in parts
    ]
    return StreamPicture(words, heard.duration_s, task.clip_s)


def threshold_text(task: Task, thresholds: Thresholds) -> str:
    """``threshold 0.5``, or ``thresholds yes 0.5, no 0.625``."""
    if len(thresholds) == 1:
        return f"threshold {thresholds[0]:.4g}"
    pairs = zip(task.needed, thresholds, strict=True)
    return "thresholds " + ", ".join(f"{word} {threshold:.4g}" for word, threshold in pairs)


def detection_line(found: Detection, task: Task) -> str:
    """Time and probability of a detection, in columns, and the word where there are several."""
    word = f"  {task.needed[found.word]}" if len(task.to_find) > 1 else ""
    return f"{found.frame.time_s:10.2f} s  {found.frame.probability:.4f}{word}"


def summary_line(heard: Heard) -> str:
    """Length, detections and speed of a stream."""
    plural = "" if heard.detections == 1 else "s"
    return (
        f"{heard.duration_s:.2f} s of audio, {heard.detections} detection{plural}, "
        f"real-time factor {heard.real_time_factor:.4f} on one thread"
    )


def draw(picture: StreamPicture, out: Path, name: str, say: Say) -> None:
    """Draws a picture and says where it is.

    Raises:
        ResultsError: The folder cannot be written to.
    """
    try:
        png, _ = draw_stream(picture, out, name)
    except OSError as error:
        raise ResultsError(f"no figure in {out}: {error.strerror or error}; give another --out") from None
    say(f"{png} and .svg")
