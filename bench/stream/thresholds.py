"""The thresholds of a run's words on streams: kept in its folder, or from what it kept of single clips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from bench.files import write_text_atomically
from bench.quality.metrics import one_vs_rest
from bench.reading import is_number, read_object, reading
from bench.results.runs import RunFolder
from bench.results.scores import NoScoresError, read_scores
from bench.stream.detection import CLIP_FAR, clip_threshold
from models.errors import ResultsError
from models.task import Task

THRESHOLDS_FILE = "stream_thresholds.json"
BETTER = "`bench stream RUN test` chooses for streams"

Thresholds = tuple[float, ...]


def thresholds_of(
    run: RunFolder, task: Task, max_buffer_len: int, given: float | None
) -> tuple[Thresholds, str]:
    """A threshold for each word to find in audio of unknown content, and where they come from.

    In this order: the one given, for all words; those that ``bench stream RUN test`` chose on a stream of
    the validation speakers; for each word the one that 0.5 % of the other validation clips reach, each on
    its own, which need not suit a stream; one half for a run of an older version that kept no labels.
    """
    words = len(task.to_find)
    if given is not None:
        return (given,) * words, "given"
    kept = kept_thresholds(run, task).get(str(max_buffer_len))
    if kept is not None:
        return kept, "chosen on a joined stream of the validation speakers"
    try:
        scores = read_scores(run.path, "validation")
    except NoScoresError:
        return (0.5,) * words, f"the run kept no labels to choose by; {BETTER}"
    if scores.probabilities.shape[1] != len(task.classes):
        raise ResultsError(f"the scores of {run.path} are of other classes than {task.text}; run it again")
    clips = (one_vs_rest(scores.labels, scores.probabilities, number) for number in task.to_find)
    chosen = tuple(clip_threshold(*one) for one in clips)
    return chosen, f"{CLIP_FAR:.1%} false alarms on single validation clips; {BETTER}"


def kept_thresholds(run: RunFolder, task: Task) -> dict[str, Thresholds]:
    """Thresholds chosen for streams, by the length of the buffer.

    Raises:
        ResultsError: The file that keeps them is damaged.
    """
    path = run.path / THRESHOLDS_FILE
    if not path.exists():
        return {}
    with reading(path, "remove it, and `bench stream RUN test` makes it anew"):
        return {buffer: _read(task, kept) for buffer, kept in read_object(path).items()}


def keep_thresholds(run: RunFolder, task: Task, max_buffer_len: int, thresholds: Thresholds) -> None:
    """Keeps thresholds for later audio; a run folder that cannot be written to is left as it is."""
    every = kept_thresholds(run, task) | {str(max_buffer_len): thresholds}
    values = {buffer: _written(task, chosen) for buffer, chosen in every.items()}
    with suppress(PermissionError):
        write_text_atomically(run.path / THRESHOLDS_FILE, json.dumps(values, indent=1))


def _written(task: Task, thresholds: Thresholds) -> float | dict[str, float]:
    """A number where there is one word, else one for each by its name."""
    return thresholds[0] if len(thresholds) == 1 else dict(zip(task.needed, thresholds, strict=True))


def _read(task: Task, kept: Any) -> Thresholds:
    """What ``_written`` wrote; an error where it is none."""
    found = tuple(kept[word] for word in task.needed) if isinstance(kept, Mapping) else (kept,)
    if len(found) != len(task.to_find):
        raise ValueError("it does not hold a threshold for each word")
    if not all(is_number(threshold) and 0 < threshold <= 1 for threshold in found):
        raise ValueError("a threshold that no probability reaches")
    return tuple(map(float, found))
