"""Speakers and recordings that stand in two splits, where a test set no longer tests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from bench.data.corpora.base import SPLITS, Corpus, Int16Array
from bench.data.corpora.progress import progress_bar
from models.front_end import SAMPLE_RATE_HZ

# On 9,600 recordings of 24 speakers no two different takes correlate by more than 0.84, and a copy at another
# level, 20 ms later, under noise 30 dB below it, by no less than 0.96 (tests/bench/corpora/test_leaks.py).
COPY_CORRELATION = 0.9
SILENCE_DBFS = -60.0
FRAME_SAMPLES = 320
# 80 to 2128 Hz, averaged over 2 Hz, whatever the length of the clips.
BAND_HZ = (80, 2128)
BIN_HZ = 2
NEIGHBOURS = 8
BLOCK_CLIPS = 512
TILE_CLIPS = (2048, 8192)

Floats32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Copy:
    """A recording that stands in two splits.

    Attributes:
        source: The clip in the first split.
        copy: The clip in the second.
        correlation: Of their fingerprints; 1 where every sample is the same.
    """

    source: str
    copy: str
    correlation: float


@dataclass(frozen=True)
class Overlap:
    """What two splits share.

    Attributes:
        splits: Their names.
        speakers: Who speaks in both, sorted.
        speaker_clips: Clips of the second split that are by those speakers.
        exact: For each clip of the second split that has its like in the first, sample for sample, one.
        near: The same for those that only sound alike: another level, a small shift, light noise.
    """

    splits: tuple[str, str]
    speakers: tuple[str, ...]
    speaker_clips: int
    exact: tuple[Copy, ...]
    near: tuple[Copy, ...]

    @property
    def leaks(self) -> bool:
        """Whether the second split is not independent of the first."""
        return bool(self.speakers or self.exact or self.near)


@dataclass(frozen=True)
class Leaks:
    """What was found in a corpus.

    Attributes:
        overlaps: Of every two splits.
        in_two_splits: Clips that stand in two splits themselves, as a random split has them.
        silent: Clips without sound; they are compared with no other.
    """

    overlaps: tuple[Overlap, ...]
    in_two_splits: int
    silent: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether anything stands in two splits."""
        return bool(self.in_two_splits) or any(overlap.leaks for overlap in self.overlaps)


def find_leaks(corpus: Corpus, *, threshold: float = COPY_CORRELATION, progress: bool = False) -> Leaks:
    """Looks for speakers, copies and near copies across splits.

    All clips of one split are held against all of the other, in tiles: 2 KB a clip and some 100 MB beside.

    Args:
        corpus: Any.
        threshold: Correlation of fingerprints from which two clips are the same recording.
        progress: Show progress bars.
    """
    prints, digests, quiet = _heard(corpus, progress)
    split = corpus.clips["split"].to_numpy()
    # A clip of two splits is a group of its own: it has no copy, it is in both itself.
    names = sorted(set(split), key=lambda name: SPLITS.index(name.split("+")[0]))
    groups = {name: np.flatnonzero(split == name) for name in names}
    pairs = list(combinations(names, 2))
    total = sum(len(groups[first]) * len(groups[second]) for first, second in pairs)
    overlaps = []
    with progress_bar("comparing", total, progress) as advance:
        for first, second in pairs:
            rows = groups[first], groups[second]
            exact = _exact(corpus, digests, (rows[0][~quiet[rows[0]]], rows[1][~quiet[rows[1]]]))
            best, where = best_matches(prints[rows[0]], prints[rows[1]])
            same = {copy.copy for copy in exact}
            sources = corpus.clips["source"].to_numpy()
            near = tuple(
                Copy(str(sources[rows[0][where[column]]]), str(sources[rows[1][column]]), float(best[column]))
                for column in np.flatnonzero(best >= threshold)
                if sources[rows[1][column]] not in same
            )
            overlaps.append(_overlap(corpus, (first, second), rows, exact, near))
            advance(len(rows[0]) * len(rows[1]))
    twice = sum(len(groups[name]) for name in names if "+" in name)
    return Leaks(tuple(overlaps), twice, tuple(corpus.clips["source"][quiet]))


def fingerprints(waves: Floats32) -> Floats32:
    """What a recording is known by: the fine structure of its spectrum, whatever its level and place.

    The square root of the amplitude in bins of 2 Hz, less its mean over the neighbours: the magnitude does
    not change when a sound moves within the clip, and what is left beside the envelope differs between takes.

    Args:
        waves: Clips at 16 kHz, shape (n, L).

    Returns:
        Vectors of length 1 (0 for silence), shape (n, D): their product is a correlation.
    """
    seconds = -(-waves.shape[1] // SAMPLE_RATE_HZ)  # as many bins a Hz
    low, high = (edge_hz * seconds for edge_hz in BAND_HZ)
    power = np.square(np.abs(np.fft.rfft(waves, seconds * SAMPLE_RATE_HZ, axis=1))[:, low:high])
    shape = power.reshape(len(power), -1, BIN_HZ * seconds).mean(axis=2) ** 0.25
    padded = np.pad(shape, ((0, 0), (NEIGHBOURS + 1, NEIGHBOURS)), mode="edge")
    sums, width = np.cumsum(padded, axis=1), 2 * NEIGHBOURS + 1
    fine = shape - (sums[:, width:] - sums[:, :-width]) / width
    fine -= fine.mean(axis=1, keepdims=True)
    length = np.linalg.norm(fine, axis=1, keepdims=True)
    found: Floats32 = np.divide(fine, length, out=np.zeros_like(fine), where=length > 1e-9).astype(np.float32)
    return found


def best_matches(first: npt.NDArray[np.float16], second: npt.NDArray[np.float16]) -> tuple[Floats32, Rows]:
    """For each row of the second, the greatest correlation with a row of the first, and which it is."""
    best, where = np.full(len(second), -1.0, np.float32), np.zeros(len(second), np.int64)
    height, width = TILE_CLIPS
    for left in range(0, len(second), width):
        heard = second[left : left + width].astype(np.float32)
        part, at = best[left : left + width], where[left : left + width]  # views: filled in place
        for top in range(0, len(first), height):
            products = heard @ first[top : top + height].astype(np.float32).T
            row = products.argmax(axis=1)
            value = products[np.arange(len(row)), row]
            at[value > part] = row[value > part] + top
            np.maximum(part, value, out=part)
    return best, where


def loudest_dbfs(waves: Floats32) -> Floats32:
    """Level of the loudest 20 ms of each clip, in dB below full scale, shape (n,)."""
    frames = waves[:, : waves.shape[1] // FRAME_SAMPLES * FRAME_SAMPLES].reshape(
        len(waves), -1, FRAME_SAMPLES
    )
    power: Floats32 = np.square(frames).mean(axis=2).max(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)), dtype=np.float32)


def _heard(
    corpus: Corpus, progress: bool
) -> tuple[npt.NDArray[np.float16], list[bytes], npt.NDArray[np.bool_]]:
    """Fingerprints (N, D), hashes of the samples, and which clips are silent."""
    count, width = len(corpus.clips), (BAND_HZ[1] - BAND_HZ[0]) // BIN_HZ
    prints, digests = np.zeros((count, width), np.float16), list[bytes]()
    quiet = np.zeros(count, bool)
    with progress_bar("listening", count, progress) as advance:
        for start in range(0, count, BLOCK_CLIPS):
            block: Int16Array = np.ascontiguousarray(corpus.waveforms[start : start + BLOCK_CLIPS])
            waves = np.divide(block, 32768, dtype=np.float32)
            silent = loudest_dbfs(waves) < SILENCE_DBFS
            quiet[start : start + len(block)] = silent
            prints[start : start + len(block)] = np.where(silent[:, None], 0, fingerprints(waves))
            digests += [hashlib.sha256(clip.tobytes()).digest() for clip in block]
            advance(len(block))
    return prints, digests, quiet


def _exact(corpus: Corpus, digests: list[bytes], rows: tuple[Rows, Rows]) -> tuple[Copy, ...]:
    """Clips of the second split whose samples are those of one in the first."""
    sources = corpus.clips["source"].to_numpy()
    known = {digests[row]: row for row in reversed(rows[0])}
    return tuple(
        Copy(str(sources[known[digests[row]]]), str(sources[row]), 1.0)
        for row in rows[1]
        if digests[row] in known
    )


def _overlap(
    corpus: Corpus,
    splits: tuple[str, str],
    rows: tuple[Rows, Rows],
    exact: tuple[Copy, ...],
    near: tuple[Copy, ...],
) -> Overlap:
    speakers = corpus.clips["speaker"].to_numpy()
    both = set(speakers[rows[0]]) & set(speakers[rows[1]])
    clips = int(np.isin(speakers[rows[1]], list(both)).sum())
    return Overlap(splits, tuple(sorted(map(str, both))), clips, exact, near)
