"""``bench stream RUN test``: a run's model on clips of its own test speakers, joined to a stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from bench.data.clips import corpus_of
from bench.data.corpora.base import Corpus
from bench.results.open import open_run
from bench.stream.detection import (
    Detection,
    Matcher,
    StreamScore,
    choose_threshold,
    score,
)
from bench.stream.ear import Ear
from bench.stream.joined import Joined, joined_stream, render, speech_keyword_speech
from bench.stream.joined_mel import joined_mel
from bench.stream.run import (
    Heard,
    Say,
    StreamConfig,
    detection_line,
    detectors,
    draw,
    listen,
    picture_of,
    summary_line,
    threshold_text,
)
from bench.stream.running import Sounds
from bench.stream.spotter import StreamingSpotter, ahead, frames_back
from bench.stream.thresholds import Thresholds, keep_thresholds
from bench.threads import threads
from models.task import Task


def stream_test(
    path: Path, data: str | None, config: StreamConfig, out: Path | None, say: Say
) -> list[StreamScore]:
    """Listens to all clips of the run's own test speakers, joined with background noise to one stream.

    Unless one is given, a threshold for each word is chosen on a stream of the validation speakers joined in
    the same way, and kept in the run folder for later audio. Draws the whole stream, and where there is one
    word to find the study's picture: speech, keyword, speech.

    Args:
        path: Run folder, or a file in it.
        data: Where the run's corpus lies now; None for where it lay.
        config: How to listen.
        out: Folder for the figures; None for ``stream/`` in the run folder.
        say: Gets one line for each detection as it comes, and the summary.

    Returns:
        What came of each word.

    Raises:
        KwsError: The run or its corpus cannot be read.
    """
    run, model = open_run(path)
    corpus, task = corpus_of(run, data)
    folder = out or run.path / "stream"
    frames = frames_back(model, config.max_buffer_len)
    spotter = StreamingSpotter(model, frames, task)
    thresholds, origin = (config.threshold or 0.0,) * len(task.to_find), "given"
    if config.threshold is None:
        thresholds, origin = _chosen(model, frames, task, corpus, config)
        keep_thresholds(run, task, frames, thresholds)
    known = f"{threshold_text(task, thresholds)} ({origin})"
    say(f"{run.run_id}: buffer {frames} frames, {known}{ahead(model, task.front_end)}")
    test = joined_stream(corpus, task, "test")
    heard, found = _hear(spotter, test, corpus, thresholds, say)
    say(summary_line(heard))
    results = []
    for word, threshold in enumerate(thresholds):
        frames_found = [one.frame for one in found if one.word == word]
        results.append(score(frames_found, test.spans(word), heard.duration_s, threshold))
    say(describe(results, task))
    spans = [test.spans(word) for word in range(len(thresholds))]
    draw(picture_of(heard, task, thresholds, spans), folder, "joined-test", say)
    if len(thresholds) == 1:
        draw_three_parts(spotter, corpus, thresholds, folder, say)
    return results


def draw_three_parts(
    spotter: StreamingSpotter, corpus: Corpus, thresholds: Thresholds, out: Path, say: Say
) -> None:
    """The study's picture, out of clips of the test speakers: near 0, a peak at the keyword, near 0."""
    joined = speech_keyword_speech(corpus, spotter.task)
    heard, _ = _hear(spotter, joined, corpus, thresholds, lambda _: None)
    picture = picture_of(heard, spotter.task, thresholds, [joined.spans()])
    draw(replace(picture, parts=("speech", "keyword", "speech")), out, "speech-keyword-speech", say)


def describe(results: list[StreamScore], task: Task) -> str:
    """A line a word: what was found, what was missed, and how often the alarm was false."""
    lines = [
        f"{result.hits} of {result.keywords} keyword clips found, {result.misses} missed, "
        f"{result.false_alarms} false alarms in {result.duration_s / 60:.0f} min of speech "
        f"({result.false_alarms_per_hour:.1f} an hour)"
        for result in results
    ]
    if len(lines) == 1:
        return lines[0]
    return "\n".join(f"{word}: {line}" for word, line in zip(task.needed, lines, strict=True))


def _chosen(
    model: nn.Module, max_buffer_len: int, task: Task, corpus: Corpus, config: StreamConfig
) -> tuple[Thresholds, str]:
    """The thresholds for a joined validation stream, and how well they do there."""
    joined, limit = joined_stream(corpus, task, "validation"), config.max_false_alarms_per_hour
    with threads(1):
        said = Ear(model, task, max_buffer_len).hear(joined_mel(joined, Sounds(corpus), task.front_end))
    results = []
    for word in range(len(task.to_find)):
        frames = said.of(word)
        spans = joined.spans(word)
        results.append(choose_threshold(frames, spans, joined.duration_s, limit, task.clip_s))
    told = f"each word\n{describe(results, task)}" if len(results) > 1 else describe(results, task)
    return (
        tuple(result.threshold for result in results),
        f"on validation at most {limit:g} false alarms an hour: {told}",
    )


def _hear(
    spotter: StreamingSpotter, joined: Joined, corpus: Corpus, thresholds: Thresholds, say: Say
) -> tuple[Heard, list[Detection]]:
    """Listens to a joined stream; says of each detection whether it is right."""
    found: list[Detection] = []
    matchers = [Matcher(joined.spans(word)) for word in range(len(thresholds))]

    def tell(detection: Detection) -> None:
        found.append(detection)
        right = matchers[detection.word].match(detection.frame) >= 0
        say(f"{detection_line(detection, spotter.task)}  {'keyword' if right else 'false alarm'}")

    spotter.reset()
    heard = listen(spotter, render(joined, corpus), detectors(spotter.task, thresholds), tell)
    if heard.interrupted:
        raise KeyboardInterrupt
    return heard, found
