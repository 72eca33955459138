"""``bench stream``: a run's model on audio of any length."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.data.audio import AudioError, stream_audio
from bench.data.clips import refuse_unheard
from bench.data.corpora.base import SAMPLE_RATE_HZ, Int16Array
from bench.files import write_text_atomically
from bench.reading import is_number, read_object, reading
from bench.results.open import open_run
from bench.results.runs import RunFolder
from bench.results.scores import NoScoresError, read_scores
from bench.stream.detection import (
    CLIP_FAR,
    MAX_FALSE_ALARMS_PER_HOUR,
    DetectorState,
    Frame,
    Hysteresis,
    clip_threshold,
    detect,
)
from bench.stream.plot import Peaks, StreamPicture, draw_stream
from bench.stream.spotter import StreamingSpotter, ahead, frames_back
from bench.threads import threads
from models.errors import ResultsError

THRESHOLDS_FILE = "stream_thresholds.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class StreamConfig:
    """How to listen.

    Attributes:
        chunk_ms: Audio a step; makes no difference to the result.
        max_buffer_len: Model frames that attention or a mean looks back on; None for 1.92 seconds of them.
        threshold: Of the probability; None for one chosen on validation.
        max_false_alarms_per_hour: What that choice allows.
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
        course: Probability over time, decimated.
        marks: The detections, decimated.
    """

    duration_s: float = 0.0
    detections: int = 0
    busy_s: float = 0.0
    interrupted: bool = False
    course: Peaks = field(default_factory=Peaks)
    marks: Peaks = field(default_factory=Peaks)

    @property
    def real_time_factor(self) -> float:
        """Computing time over audio time; below 1 keeps up with a live stream."""
        return self.busy_s / self.duration_s if self.duration_s else 0.0


def listen(
    spotter: StreamingSpotter,
    blocks: Iterable[Int16Array],
    how: Hysteresis,
    on_detection: Callable[[Frame], None],
) -> Heard:
    """Runs a stream to its end, or to Ctrl-C, and tells of each detection as it comes."""
    heard, state = Heard(), DetectorState()

    def step(compute: Callable[[], list[Frame]]) -> None:
        nonlocal state
        started = time.perf_counter()
        frames = compute()
        found, state = detect(frames, how, state)
        heard.busy_s += time.perf_counter() - started
        heard.course.add(frames)
        heard.marks.add(found)
        heard.detections += len(found)
        for detection in found:
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
    refuse_unheard(run.task(), "stream")
    frames = frames_back(model, config.max_buffer_len)
    spotter = StreamingSpotter(model, frames)
    threshold, origin = threshold_of(run, config, frames)
    say(f"{run.run_id}: buffer {frames} frames, threshold {threshold:.4g} ({origin}){ahead(model)}")
    blocks = stream_audio(audio, config.chunk_ms * SAMPLE_RATE_HZ // 1000)
    heard = listen(spotter, blocks, Hysteresis(threshold), lambda found: say(detection_line(found)))
    if audio != "-" and not heard.interrupted and not heard.duration_s:
        raise AudioError(Path(audio), "holds no samples")
    say(summary_line(heard))
    picture = StreamPicture(heard.course.frames, threshold, heard.marks.frames, heard.duration_s)
    draw(picture, out or run.path / "stream", "stdin" if audio == "-" else Path(audio).stem, say)
    return heard


def detection_line(found: Frame) -> str:
    """Time and probability of a detection, in columns."""
    return f"{found.time_s:10.2f} s  {found.probability:.4f}"


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


def threshold_of(run: RunFolder, config: StreamConfig, max_buffer_len: int) -> tuple[float, str]:
    """The threshold for audio of unknown content, and where it comes from.

    In this order: the one given; the one that ``bench stream RUN test`` chose on a stream of the
    validation speakers; the one that 0.5 % of the validation clips of other words reach, each on its
    own, which need not suit a stream; one half for a run of an older version that kept no labels.
    """
    if config.threshold is not None:
        return config.threshold, "given"
    kept = kept_thresholds(run).get(str(max_buffer_len))
    if kept is not None:
        return kept, "chosen on a joined stream of the validation speakers"
    better = "`bench stream RUN test` chooses one for streams"
    try:
        scores = read_scores(run.path, "validation")
    except NoScoresError:
        return 0.5, f"the run kept no labels to choose it by; {better}"
    chosen = clip_threshold(scores.labels, scores.of_keyword)
    return chosen, f"{CLIP_FAR:.1%} false alarms on single validation clips; {better}"


def kept_thresholds(run: RunFolder) -> dict[str, float]:
    """Thresholds chosen for streams, by the length of the buffer.

    Raises:
        ResultsError: The file that keeps them is damaged.
    """
    path = run.path / THRESHOLDS_FILE
    if not path.exists():
        return {}
    with reading(path, "remove it, and `bench stream RUN test` makes it anew"):
        kept = read_object(path)
        if not all(is_number(threshold) and 0 < threshold <= 1 for threshold in kept.values()):
            raise ValueError("a threshold that no probability reaches")
    return {buffer: float(threshold) for buffer, threshold in kept.items()}


def keep_threshold(run: RunFolder, max_buffer_len: int, threshold: float) -> None:
    """Keeps a threshold for later audio; a run folder that cannot be written to is left as it is."""
    kept = kept_thresholds(run) | {str(max_buffer_len): threshold}
    with suppress(PermissionError):
        write_text_atomically(run.path / THRESHOLDS_FILE, json.dumps(kept, indent=1))
