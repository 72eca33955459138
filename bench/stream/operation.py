"""The operating curve of a spotter on long audio: misses and false alarms at every threshold, and delays.

Pure functions over probability tracks, without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.quality.shares import share_interval
from bench.stream.detection import TOLERANCE_S, WARM_UP_S, Hysteresis, best_index
from bench.stream.rates import Floats, poisson_interval

Ints = npt.NDArray[np.int64]

# Finer and stricter than what a single threshold is chosen from: rare false alarms stand far up.
THRESHOLDS: Floats = 1 / (1 + np.exp(-np.arange(-60, 201) / 10))


@dataclass(frozen=True)
class Track:
    """A model's opinion of one word over one joined stream, and where the word is in it.

    Attributes:
        time_s: End of the audio heard at each frame, shape (T,).
        probability: Of the word, shape (T,).
        start_s: Beginning of each of the word's clips, ascending, shape (K,).
        end_s: End of each, shape (K,).
        spoken_s: Where the word itself ends in each, shape (K,).
        clips: Which clip each is, shape (K,); the same numbers, in another order, in other joinings.
        speakers: Of each, shape (K,).
        duration_s: Length of the stream.
        warm_up_s: Nothing is detected before.
    """

    time_s: Floats
    probability: Floats
    start_s: Floats
    end_s: Floats
    spoken_s: Floats
    clips: Ints
    speakers: npt.NDArray[np.str_]
    duration_s: float
    warm_up_s: float = WARM_UP_S


def detections(track: Track, threshold: float) -> Ints:
    """The frames of a track at which its word is detected."""
    return detected(track.time_s, track.probability, Hysteresis(threshold, warm_up_s=track.warm_up_s))


def detected(time_s: Floats, probability: Floats, how: Hysteresis) -> Ints:
    """The frames at which ``detection.detect`` would detect, found by jumps instead of steps.

    Examples:
        >>> times = np.arange(1.0, 6.0)
        >>> detected(times, np.array([0.1, 0.9, 0.7, 0.9, 0.2]), Hysteresis(0.8)).tolist()
        [1]
    """
    high = np.flatnonzero((probability >= how.threshold) & (time_s >= how.warm_up_s))
    low = np.flatnonzero(probability < how.threshold * how.off_ratio)
    found: list[int] = []
    at = 0
    while at < len(high):
        frame = int(high[at])
        found.append(frame)
        over = int(np.searchsorted(low, frame))
        if over == len(low):
            break
        ready = int(np.searchsorted(time_s, time_s[frame] + how.refractory_s))
        at = int(np.searchsorted(high, max(int(low[over]) + 1, ready)))
    return np.array(found, np.int64)


def first_hits(track: Track, frames: Ints) -> Ints:
    """For each keyword clip the first detection that finds it, -1 where it is missed, shape (K,).

    All other detections are false alarms, second ones of the same clip too, as in ``detection.matches``.
    """
    hits = np.full(len(track.start_s), -1, np.int64)
    times = track.time_s[frames]
    which = np.searchsorted(track.start_s, times, side="right") - 1
    inside = (which >= 0) & (times <= track.end_s[which] + TOLERANCE_S)
    # From the last to the first, so that the first stays.
    hits[which[inside][::-1]] = frames[inside][::-1]
    return hits


@dataclass(frozen=True)
class Sweep:
    """What every threshold does on the joinings of one split.

    Attributes:
        thresholds: Ascending, shape (n,).
        false_alarms: In all joinings together, shape (n,).
        missed: The share of the joinings in which each keyword clip is missed, shape (n, K).
        speakers: Of the keyword clips, shape (K,).
        joinings: How many times the clips were joined.
        duration_s: Of all joinings together.
    """

    thresholds: Floats
    false_alarms: Ints
    missed: Floats
    speakers: npt.NDArray[np.str_]
    joinings: int
    duration_s: float

    @property
    def hours(self) -> float:
        """Of all joinings together."""
        return self.duration_s / 3600

    @property
    def miss_rate(self) -> Floats:
        """Share of the keyword clips missed, mean of the joinings, shape (n,)."""
        rate: Floats = self.missed.mean(1)
        return rate

    @property
    def miss_rate_interval(self) -> Floats:
        """Of the speakers' clips: other joinings of the same ones make it no narrower, shape (2, n)."""
        return share_interval(self.missed, self.speakers)

    @property
    def false_alarms_per_hour(self) -> Floats:
        """Over the length of all joinings, shape (n,)."""
        return self.false_alarms / self.hours

    @property
    def false_alarms_interval(self) -> Floats:
        """An hour, shape (2, n). The joinings hold the same speech, so they count as one of their mean."""
        return poisson_interval(self.false_alarms / self.joinings, self.hours / self.joinings)


def sweep(tracks: Sequence[Track], thresholds: Floats = THRESHOLDS) -> Sweep:
    """Misses and false alarms at every threshold.

    Args:
        tracks: Joinings of the same clips, one or more.
        thresholds: Ascending, shape (n,).
    """
    clips = np.sort(tracks[0].clips)
    missed = np.zeros((len(thresholds), len(clips)))
    alarms = np.zeros(len(thresholds), np.int64)
    for track in tracks:
        column = np.searchsorted(clips, track.clips)
        for row, threshold in enumerate(thresholds):
            frames = detections(track, float(threshold))
            hits = first_hits(track, frames) >= 0
            alarms[row] += len(frames) - hits.sum()
            missed[row, column] += ~hits
    return Sweep(
        thresholds=thresholds,
        false_alarms=alarms,
        missed=missed / len(tracks),
        speakers=tracks[0].speakers[np.argsort(tracks[0].clips)],
        joinings=len(tracks),
        duration_s=sum(track.duration_s for track in tracks),
    )


def choose(validation: Sweep, max_false_alarms_per_hour: float) -> int:
    """Index of the threshold that misses fewest keywords at so many false alarms an hour.

    Of several, the middle of the widest stretch (see ``detection.choose_threshold``); the strictest where
    even that gives more.
    """
    # Alarms are counted: an hour of 1 alarm must not be 1.0000001.
    allowed = validation.false_alarms <= max_false_alarms_per_hour * validation.hours + 1e-9
    return best_index(validation.miss_rate, allowed)


def resolves(validation: Sweep, max_false_alarms_per_hour: float) -> bool:
    """Whether so low a rate differs from none at all on streams of this length: it allows one alarm."""
    return max_false_alarms_per_hour * validation.hours >= 1 - 1e-9


def delays_ms(tracks: Sequence[Track], threshold: float) -> Floats:
    """From the end of the word to its detection, for every keyword clip found; negative before its end."""
    found = []
    for track in tracks:
        frames = detections(track, threshold)
        hits = first_hits(track, frames)
        found.append(track.time_s[hits[hits >= 0]] - track.spoken_s[hits >= 0])
    return np.concatenate(found) * 1000
