"""``bench stream RUN test``: a run's model on clips of its own test speakers, joined to a stream."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from bench.data.clips import corpus_of, refuse_unheard
from bench.data.corpora.base import Corpus
from bench.results.open import open_run
from bench.stream.detection import (
    Frame,
    Hysteresis,
    StreamScore,
    choose_threshold,
    matches,
    score,
)
from bench.stream.joined import Joined, joined_stream, render, speech_keyword_speech
from bench.stream.plot import StreamPicture
from bench.stream.run import (
    Heard,
    Say,
    StreamConfig,
    detection_line,
    draw,
    keep_threshold,
    listen,
    summary_line,
)
from bench.stream.spotter import StreamingSpotter, ahead, frames_back
from bench.threads import threads
from models.task import Task


def stream_test(
    path: Path, data: str | None, config: StreamConfig, out: Path | None, say: Say
) -> StreamScore:
    """Listens to all clips of the run's own test speakers, joined with background noise to one stream.

    Unless one is given, the threshold is chosen on a stream of the validation speakers joined in the same
    way, and kept in the run folder for later audio. Draws the whole stream, and the study's picture:
    speech, keyword, speech.

    Args:
        path: Run folder, or a file in it.
        data: Where the run's corpus lies now; None for where it lay.
        config: How to listen.
        out: Folder for the figures; None for ``stream/`` in the run folder.
        say: Gets one line for each detection as it comes, and the summary.

    Raises:
        KwsError: The run or its corpus cannot be read.
    """
    run, model = open_run(path)
    refuse_unheard(run.task(), "stream")
    corpus, task = corpus_of(run, data)
    folder = out or run.path / "stream"
    frames = frames_back(model, config.max_buffer_len)
    spotter = StreamingSpotter(model, frames)
    threshold, origin = config.threshold, "given"
    if threshold is None:
        validation = joined_stream(corpus, task, "validation")
        threshold, origin = _chosen(spotter, validation, corpus, config)
        keep_threshold(run, frames, threshold)
    say(f"{run.run_id}: buffer {frames} frames, threshold {threshold:.4g} ({origin}){ahead(model)}")
    test = joined_stream(corpus, task, "test")
    heard, found = _hear(spotter, test, corpus, threshold, say)
    result = score(found, test.keywords, heard.duration_s, threshold)
    say(summary_line(heard))
    say(describe(result))
    picture = StreamPicture(
        heard.course.frames, threshold, heard.marks.frames, heard.duration_s, test.keywords
    )
    draw(picture, folder, "joined-test", say)
    draw_three_parts(spotter, corpus, task, threshold, folder, say)
    return result


def draw_three_parts(
    spotter: StreamingSpotter, corpus: Corpus, task: Task, threshold: float, out: Path, say: Say
) -> None:
    """The study's picture, out of clips of the test speakers: near 0, a peak at the keyword, near 0."""
    joined = speech_keyword_speech(corpus, task)
    heard, _ = _hear(spotter, joined, corpus, threshold, lambda _: None)
    picture = StreamPicture(
        heard.course.frames,
        threshold,
        heard.marks.frames,
        heard.duration_s,
        joined.keywords,
        parts=("speech", "keyword", "speech"),
    )
    draw(picture, out, "speech-keyword-speech", say)


def describe(result: StreamScore) -> str:
    """One line: what was found, what was missed, and how often the alarm was false."""
    return (
        f"{result.hits} of {result.keywords} keyword clips found, {result.misses} missed, "
        f"{result.false_alarms} false alarms in {result.duration_s / 60:.0f} min of speech "
        f"({result.false_alarms_per_hour:.1f} an hour)"
    )


def _chosen(
    spotter: StreamingSpotter, joined: Joined, corpus: Corpus, config: StreamConfig
) -> tuple[float, str]:
    """The threshold for a joined validation stream, and how well it does there."""
    spotter.reset()
    with threads(1):
        blocks = (spotter.push(block) for block in render(joined, corpus))
        frames = [*chain.from_iterable(blocks), *spotter.finish()]
    limit = config.max_false_alarms_per_hour
    result = choose_threshold(frames, joined.keywords, joined.duration_s, limit)
    return result.threshold, f"on validation at most {limit:g} false alarms an hour: {describe(result)}"


def _hear(
    spotter: StreamingSpotter, joined: Joined, corpus: Corpus, threshold: float, say: Say
) -> tuple[Heard, list[Frame]]:
    """Listens to a joined stream; says of each detection whether it is right."""
    found: list[Frame] = []

    def tell(detection: Frame) -> None:
        found.append(detection)
        right = matches(found, joined.keywords)[-1] >= 0
        say(f"{detection_line(detection)}  {'keyword' if right else 'false alarm'}")

    spotter.reset()
    heard = listen(spotter, render(joined, corpus), Hysteresis(threshold), tell)
    if heard.interrupted:
        raise KeyboardInterrupt
    return heard, found
