"""From keyword probability over time to detections, and their score against known keyword times.

Pure functions, incremental, without torch.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import ResultsError

# Thresholds are tried in even steps of log-odds, for probabilities crowd at 0 and 1.
LOG_ODDS = np.arange(-40, 51) / 5
MAX_FALSE_ALARMS_PER_HOUR = 10.0
CLIP_FAR = 0.005
# Models guess before they have heard as much as a clip; the usual one is of a second.
WARM_UP_S = 1.0
TOLERANCE_S = 1.0


class Frame(NamedTuple):
    """What a model says of one word at one moment.

    Attributes:
        time_s: End of the audio that it has heard.
        probability: Of the word.
    """

    time_s: float
    probability: float


class Moment(NamedTuple):
    """What a model says at one moment.

    Attributes:
        time_s: End of the audio that it has heard.
        probabilities: Of each word to find, in the order of the task's classes.
    """

    time_s: float
    probabilities: tuple[float, ...]

    def of(self, word: int) -> Frame:
        """What it says of the word with that number."""
        return Frame(self.time_s, self.probabilities[word])


class Detection(NamedTuple):
    """A word that was found.

    Attributes:
        word: Its number among the words to find.
        frame: When the probability reached the threshold, and what it was.
    """

    word: int
    frame: Frame


@dataclass(frozen=True)
class Hysteresis:
    """When a probability counts as a detection: once an utterance.

    Attributes:
        threshold: A detection comes when the probability reaches it.
        off_ratio: The utterance is over once the probability is below this share of the threshold.
        refractory_s: For so long after a detection there is no other one.
        warm_up_s: Nor before so much audio.
    """

    threshold: float
    off_ratio: float = 0.5
    refractory_s: float = 1.0
    warm_up_s: float = WARM_UP_S

    def __post_init__(self) -> None:
        if not (0 < self.threshold <= 1 and 0 < self.off_ratio <= 1 and self.refractory_s >= 0):
            raise ResultsError(
                f"threshold {self.threshold:g} and its off-ratio {self.off_ratio:g} must be above 0 and at "
                f"most 1, the refractory time {self.refractory_s:g} s at least 0"
            )


class DetectorState(NamedTuple):
    """What a detector remembers.

    Attributes:
        active: An utterance was detected and is not over.
        last_s: Time of the last detection.
    """

    active: bool = False
    last_s: float = float("-inf")


def detect(
    frames: Iterable[Frame], how: Hysteresis, state: DetectorState
) -> tuple[list[Frame], DetectorState]:
    """The detections among the next frames of a stream, and the next state.

    Each is the frame at which the probability reached the threshold: what a device would act on.

    Examples:
        >>> track = [Frame(t, p) for t, p in [(1, 0.1), (2, 0.9), (3, 0.7), (4, 0.9), (5, 0.2)]]
        >>> detect(track, Hysteresis(0.8), DetectorState())[0]
        [Frame(time_s=2, probability=0.9)]
    """
    found = []
    active, last_s = state
    ready_s = max(how.warm_up_s, last_s + how.refractory_s)
    for frame in frames:
        if frame.probability < how.threshold * how.off_ratio:
            active = False
        elif not active and frame.probability >= how.threshold and frame.time_s >= ready_s:
            active, last_s = True, frame.time_s
            ready_s = last_s + how.refractory_s
            found.append(frame)
    return found, DetectorState(active, last_s)


def detect_words(
    moments: Sequence[Moment], hows: Sequence[Hysteresis], states: Sequence[DetectorState]
) -> tuple[list[Detection], list[DetectorState]]:
    """The detections of every word, each found by itself, in order of time; and the next states.

    Examples:
        >>> moments = [Moment(t, (p, 1 - p)) for t, p in [(1, 0.1), (2, 0.9), (3, 0.2)]]
        >>> found, _ = detect_words(moments, [Hysteresis(0.8)] * 2, [DetectorState()] * 2)
        >>> [(one.word, one.frame.time_s) for one in found]
        [(1, 1), (0, 2), (1, 3)]
    """
    found: list[Detection] = []
    after: list[DetectorState] = []
    for word, (how, state) in enumerate(zip(hows, states, strict=True)):
        frames, next_state = detect((moment.of(word) for moment in moments), how, state)
        found += [Detection(word, frame) for frame in frames]
        after.append(next_state)
    return sorted(found, key=lambda one: one.frame.time_s), after


class Span(NamedTuple):
    """From when to when a keyword clip lasts."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class StreamScore:
    """How detections compare with the keyword times of a stream.

    Attributes:
        threshold: That the detections were made at.
        keywords: Keyword clips in the stream.
        hits: Keyword clips with a detection.
        false_alarms: Detections that belong to no keyword clip, and second ones of the same.
        duration_s: Length of the stream.
    """

    threshold: float
    keywords: int
    hits: int
    false_alarms: int
    duration_s: float

    @property
    def misses(self) -> int:
        """Keyword clips without a detection."""
        return self.keywords - self.hits

    @property
    def false_alarms_per_hour(self) -> float:
        """False alarms over the length of the whole stream."""
        return self.false_alarms / self.duration_s * 3600


class Matcher:
    """Tells of each detection of a word, as it comes, which of the word's clips it finds.

    Args:
        spans: When the clips are, ascending and equally long.
        tolerance_s: A detection must come within a clip, or up to so long after it.
    """

    def __init__(self, spans: Sequence[Span], tolerance_s: float = TOLERANCE_S) -> None:
        self._starts = [span.start_s for span in spans]
        self._ends = [span.end_s + tolerance_s for span in spans]
        self._found: set[int] = set()

    def match(self, detection: Frame) -> int:
        """The number of the clip that it finds, which is found once; -1 for a false alarm."""
        first = bisect_left(self._ends, detection.time_s)
        after = bisect_right(self._starts, detection.time_s)
        number = next((n for n in range(first, after) if n not in self._found), -1)
        self._found.add(number)
        return number


def matches(detections: Sequence[Frame], spans: Sequence[Span]) -> list[int]:
    """For each detection the number of the clip that it finds; -1 for a false alarm. See ``Matcher``."""
    return [*map(Matcher(spans).match, detections)]


def score(
    detections: Sequence[Frame], keywords: Sequence[Span], duration_s: float, threshold: float
) -> StreamScore:
    """Hits, misses and false alarms of the detections made at a threshold."""
    found = matches(detections, keywords)
    return StreamScore(
        threshold=threshold,
        keywords=len(keywords),
        hits=sum(number >= 0 for number in found),
        false_alarms=found.count(-1),
        duration_s=duration_s,
    )


def choose_threshold(
    frames: Sequence[Frame],
    keywords: Sequence[Span],
    duration_s: float,
    max_false_alarms_per_hour: float = MAX_FALSE_ALARMS_PER_HOUR,
    warm_up_s: float = WARM_UP_S,
) -> StreamScore:
    """The threshold that misses fewest keywords at so many false alarms an hour, keyword times being known.

    Where a whole range of thresholds does equally well, the middle (in log-odds) of its widest unbroken
    stretch is taken, which is the furthest from either error.

    Args:
        frames: Of the whole stream.
        keywords: When the keyword was spoken in it.
        duration_s: Its length.
        max_false_alarms_per_hour: What the user puts up with.
        warm_up_s: Nothing is detected before.

    Returns:
        The score at that threshold.
    """
    scores = []
    for threshold in 1 / (1 + np.exp(-LOG_ODDS)):
        how = Hysteresis(float(threshold), warm_up_s=warm_up_s)
        detections, _ = detect(frames, how, DetectorState())
        scores.append(score(detections, keywords, duration_s, float(threshold)))
    allowed = [one.false_alarms_per_hour <= max_false_alarms_per_hour for one in scores]
    return scores[best_index([one.misses for one in scores], allowed)]


def best_index(misses: npt.ArrayLike, allowed: npt.ArrayLike) -> int:
    """The middle of the widest unbroken stretch of allowed thresholds that miss fewest keywords.

    Args:
        misses: At each threshold, ascending, shape (n,).
        allowed: Whether its false alarms are few enough, shape (n,).

    Returns:
        Its index; that of the strictest threshold where none is allowed.

    Examples:
        >>> best_index([0, 1, 1, 1, 2], [False, True, True, True, True])
        2
    """
    counts, may = np.asarray(misses), np.asarray(allowed, bool)
    if not may.any():
        return len(counts) - 1
    good = np.flatnonzero(may & (counts == counts[may].min()))
    stretches = np.split(good, np.flatnonzero(np.diff(good) > 1) + 1)
    widest = max(stretches, key=len)
    return int(widest[len(widest) // 2])


def clip_threshold(labels: npt.ArrayLike, probabilities: npt.ArrayLike, max_far: float = CLIP_FAR) -> float:
    """The lowest threshold that at most a share ``max_far`` of single clips of other words reaches.

    Args:
        labels: 1 for the keyword, shape (N,).
        probabilities: Of the keyword, shape (N,).
        max_far: Of the clips of other words.

    Examples:
        >>> clip_threshold([0, 0, 1], [0.1, 0.4, 0.9], max_far=0.0) > 0.4
        True
    """
    others = np.sort(np.asarray(probabilities, np.float64)[np.asarray(labels) == 0])[::-1]
    passing = int(max_far * len(others))
    highest_refused = float(others[passing]) if passing < len(others) else 0.0
    # Just above the first clip that must not pass.
    return min(float(np.nextafter(highest_refused, 2.0)), 1.0)
