"""Recordings as a corpus: decoded once, found again by content, whatever says which there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from filelock import FileLock

from bench.data.audio import AudioError, read_audio
from bench.data.corpora.base import Corpus, Int16Array, cache_dir, load_corpus, of_length, write_corpus
from bench.data.corpora.contents import BLOCK_ITEMS, Cut, Recordings, known_hash, mapped
from bench.data.corpora.splits import check_splits
from bench.data.cutting import cut_clip, fit_clip
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ

MAX_UNREADABLE_SHARE = 0.05


def recordings_corpus(recordings: Recordings, clip_samples: int, progress: bool) -> Corpus:
    """The corpus of recordings; the first call decodes them, later calls open what is in the cache.

    Raises:
        CorpusError: What says which there are does not fit, too many are unreadable, or a split is empty.
    """
    content_hash = of_length(known_hash(recordings, progress), clip_samples)
    target = cache_dir() / "corpora" / f"{recordings.name}-{content_hash[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f"{target.name}.lock"):
        if not (target / "corpus.json").is_file():
            _build(recordings, target, content_hash, clip_samples, progress)
    return load_corpus(target)


class _UnreadableClipsError(Exception):
    """Why clips cannot be read, by source."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(f"{len(reasons)} clips")
        self.reasons = reasons


def _build(
    recordings: Recordings, target: Path, content_hash: str, clip_samples: int, progress: bool
) -> None:
    clips, cuts = recordings.table()
    check_splits(clips, recordings.name, recordings.remedy)
    noise, bad_noise = _read_noise(recordings)
    bad: dict[str, str] = {}
    total = len(cuts)
    while True:
        lengths_s: list[float] = []
        try:
            write_corpus(
                target,
                name=recordings.name,
                content_hash=content_hash,
                clips=clips,
                waveforms=_decoded(recordings, cuts, clip_samples, lengths_s, progress),
                noise=noise,
                skipped=[f"{source}: {reason}" for source, reason in (bad | bad_noise).items()],
                notes=recordings.notes(),
                lengths_s=lengths_s,
                clip_samples=clip_samples,
            )
            return
        except _UnreadableClipsError as found:
            # Which clips are bad is known after a pass over all; the next one leaves them out.
            bad |= found.reasons
            check_unreadable(bad, total, recordings.place)
            clips = clips[~clips["source"].isin(list(bad))]
            cuts = [cut for cut in cuts if cut.source not in bad]
            check_splits(clips, recordings.name, recordings.remedy)


def _read_noise(recordings: Recordings) -> tuple[Int16Array, dict[str, str]]:
    """All background noise in one row, and the reasons for what was left out."""
    rows, bad = [np.zeros(0, np.int16)], {}
    for cut in recordings.noise():
        try:
            samples = read_audio(recordings.listing.root / cut.path)
            rows.append(samples[slice(*_stretch(cut, samples))])
        except AudioError as error:
            bad[cut.source] = error.reason
    return np.concatenate(rows), bad


def check_unreadable(bad: Mapping[str, str], total: int, place: Path | str) -> None:
    """Refuses recordings of which too many cannot be read, by source with the reason."""
    if len(bad) > MAX_UNREADABLE_SHARE * total:
        source, reason = next(iter(bad.items()))
        raise CorpusError(
            f"{len(bad)} of {total} clips in {place} cannot be read, more than "
            f"{MAX_UNREADABLE_SHARE:.0%} ({source}: {reason}); repair or remove them"
        )


def _stretch(cut: Cut, samples: Int16Array) -> tuple[int, int]:
    """First sample of what is taken of a recording, and the one behind its last.

    Raises:
        AudioError: The recording ends before.
    """
    if cut.start_s is None or cut.end_s is None:
        return 0, len(samples)
    first, last = (round(at_s * SAMPLE_RATE_HZ) for at_s in (cut.start_s, cut.end_s))
    if first >= len(samples):
        raise AudioError(
            Path(cut.path), f"ends after {len(samples) / SAMPLE_RATE_HZ:.2f} s, before the stretch"
        )
    return first, min(last, len(samples))


def _clip(cut: Cut, samples: Int16Array, clip_samples: int) -> tuple[Int16Array | str, float]:
    """The clip of a recording, or why there is none, and the length of what it was taken from in seconds."""
    try:
        first, last = _stretch(cut, samples)
    except AudioError as error:
        return error.reason, 0.0
    whole = cut.start_s is None
    clip = fit_clip(samples, clip_samples) if whole else cut_clip(samples, first, last, clip_samples)
    return clip, (last - first) / SAMPLE_RATE_HZ


def _decoded(
    recordings: Recordings, cuts: Sequence[Cut], clip_samples: int, lengths_s: list[float], progress: bool
) -> Iterator[Int16Array]:
    """Blocks of clips, shape (n, L); fills ``lengths_s`` on the way.

    Raises:
        _UnreadableClipsError: At the end: some could not be read; the blocks are of no use then.
        CorpusError: At the end: a file has changed, so that the content hash no longer holds.
    """
    bad: dict[str, str] = {}

    def read(of_file: list[Cut]) -> list[tuple[Int16Array | str, float]]:
        try:
            samples = read_audio(recordings.listing.root / of_file[0].path)
        except AudioError as error:
            return [(error.reason, 0.0)] * len(of_file)
        return [_clip(cut, samples, clip_samples) for cut in of_file]

    # Cuts of one recording stand together, so each is decoded once.
    files = [list(group) for _, group in groupby(cuts, key=lambda cut: cut.path)]
    there = iter(cuts)
    # As many clips in memory at once, however many a recording has.
    block_files = max(1, BLOCK_ITEMS * len(files) // max(1, len(cuts)))
    for block in mapped(read, files, "decoding", progress, block_files):
        clips = [clip for of_file in block for clip in of_file]
        bad |= {
            cut.source: clip for (clip, _), cut in zip(clips, there, strict=False) if isinstance(clip, str)
        }
        lengths_s += [length_s for _, length_s in clips]
        if not bad:
            yield np.stack([clip for clip, _ in clips if not isinstance(clip, str)])
    if bad:
        raise _UnreadableClipsError(bad)
    if recordings.scanned() != recordings.listing:
        raise CorpusError(f"{recordings.place} was changed while it was read; run again when it is complete")
