"""Streams joined from clips of one split's speakers, over background noise, with known times of the words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.config import seed_from
from bench.data.corpora.base import SAMPLE_RATE_HZ, Corpus, Int16Array
from bench.data.speech import Speech
from bench.stream.detection import Span
from models.errors import CorpusError
from models.task import LEFT_OUT, Task

Floats32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

FADE_SAMPLES = SAMPLE_RATE_HZ // 50
LONGEST_GAP_SAMPLES = SAMPLE_RATE_HZ // 2
FEWEST_OTHERS = 5
SNR_DB = 20.0
# Clips that the level of the background is set by.
LEVEL_CLIPS = 200
# The end of a word is looked for in stretches of 50 ms, 10 ms apart.
STEP_SAMPLES = SAMPLE_RATE_HZ // 100
SPEECH_STEPS = 5
SPEECH_RANGE_DB = 30.0


@dataclass(frozen=True)
class Placed:
    """One clip in a joined stream.

    Attributes:
        row: Of the corpus; of a recording of running speech of that.
        start_sample: Where it begins.
        samples: How long it is.
        word: The number of the word to find that is spoken in it; -1 for another one.
        running: Whether it is of running speech.
        first: Where in its recording it begins.
        gain: What it is multiplied by.
    """

    row: int
    start_sample: int
    samples: int
    word: int = -1
    running: bool = False
    first: int = 0
    gain: float = 1.0

    @property
    def end_sample(self) -> int:
        """Where it ends."""
        return self.start_sample + self.samples


@dataclass(frozen=True)
class Mark:
    """A word to find in a stream.

    Attributes:
        word: Its number.
        span: When the clip that it is in begins and ends; inside a sentence, the word itself.
        spoken_s: When the word has been said.
        clip: A number of its own, the same in every joining.
        speaker: Who says it.
    """

    word: int
    span: Span
    spoken_s: float
    clip: int
    speaker: str


@dataclass(frozen=True)
class Joined:
    """Which clips stand where; the samples are made when they are asked for.

    Attributes:
        name: For titles and files.
        clips: In order of time, not overlapping.
        samples: Length of the whole, with noise behind the last clip.
        seed: Of the background.
        sentences: The words to find inside recordings of running speech.
    """

    name: str
    clips: tuple[Placed, ...]
    samples: int
    seed: int
    sentences: tuple[Mark, ...] = ()

    @property
    def duration_s(self) -> float:
        """Length of the whole."""
        return self.samples / SAMPLE_RATE_HZ

    def spans(self, word: int = 0) -> list[Span]:
        """When the clips of a word begin and end."""
        edges = [(clip.start_sample, clip.end_sample) for clip in self.clips if clip.word == word]
        alone = [Span(start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ) for start, end in edges]
        return sorted([*alone, *(mark.span for mark in self.sentences if mark.word == word)])


def joined_stream(corpus: Corpus, task: Task, split: str, *, seed: int = 0) -> Joined:
    """All clips of a split that a task has a use for.

    A single word to find stands at even distances among the others: before each of its clips and at the end
    are equally many others, at least five, so that they are several seconds apart; where the split has too
    few others, they are used again. Of several words every clip comes once, those of other words too, and no
    word twice in a row while there is another.

    Args:
        corpus: Where the clips are; splits have no speakers in common.
        task: Whose words to spot.
        split: ``validation`` or ``test``.
        seed: Of the order, the gaps and the background.

    Raises:
        CorpusError: The split lacks a word to find, or anything to tell a single one from.
    """
    rng = np.random.default_rng(seed_from("joined", split, seed))
    words, others = _rows(corpus, task, split, rng)
    if len(words) > 1:
        order = _mixed(words, others, rng)
    else:
        each = max(FEWEST_OTHERS, len(others) // (len(words[0]) + 1))
        order = []
        for number, row in enumerate([*words[0], None]):
            order += [(int(others[(number * each + i) % len(others)]), -1) for i in range(each)]
            order += [(int(row), 0)] if row is not None else []
    return _place(f"joined {split} stream", order, task.clip_samples, rng, seed)


def speech_keyword_speech(
    corpus: Corpus, task: Task, split: str = "test", *, speech_clips: int = 8, seed: int = 0
) -> Joined:
    """The study's picture: some 10 s of other words, one clip of the word to find, the same words again.

    Raises:
        CorpusError: The split lacks the keyword or other words.
    """
    rng = np.random.default_rng(seed_from("speech, keyword, speech", split, seed))
    words, others = _rows(corpus, task, split, rng)
    speech = [(int(row), -1) for row in np.resize(others, speech_clips)]
    order = [*speech, (int(words[0][0]), 0), *speech]
    return _place("speech, keyword, speech", order, task.clip_samples, rng, seed)


def _rows(corpus: Corpus, task: Task, split: str, rng: np.random.Generator) -> tuple[list[Rows], Rows]:
    """The split's clips of each word to find, and the others, all shuffled."""
    rows = corpus.indices(split)
    labels = corpus.labels(task)[rows]
    words = [rng.permutation(rows[labels == number]) for number in task.to_find]
    others = rng.permutation(rows[(labels != LEFT_OUT) & ~np.isin(labels, task.to_find)])
    if not all(map(len, words)) or not (len(others) or len(words) > 1):
        more = "" if len(words) > 1 else " and of other words"
        raise CorpusError(f"the {split} split of {corpus.name} needs clips of {task.text}{more}")
    return words, others


def _mixed(words: list[Rows], others: Rows, rng: np.random.Generator) -> list[tuple[int, int]]:
    """All rows with the numbers of their words, by chance; no word twice in a row while there is another."""
    waiting = {-1: list(others)} | {number: list(rows) for number, rows in enumerate(words)}
    order: list[tuple[int, int]] = []
    last = -1
    for _ in range(sum(map(len, waiting.values()))):
        there = [number for number, rows in waiting.items() if rows]
        numbers = [number for number in there if number != last or last < 0] or there
        weights = np.array([len(waiting[number]) for number in numbers], float)
        last = int(rng.choice(numbers, p=weights / weights.sum()))
        order.append((int(waiting[last].pop()), last))
    return order


def _place(
    name: str, order: Sequence[tuple[int, int]], length: int, rng: np.random.Generator, seed: int
) -> Joined:
    """One clip after the other, with gaps of up to half a second between them."""
    gaps = rng.integers(0, LONGEST_GAP_SAMPLES, len(order) + 1, endpoint=True)
    # A model has to have heard a clip's length before it is asked for a word.
    lead = length if order[0][1] >= 0 else 0
    starts = lead + np.cumsum(gaps[:-1] + length) - length
    placed = tuple(
        Placed(row, int(start), length, word) for (row, word), start in zip(order, starts, strict=True)
    )
    # A second of background at the end, so that the last clip is heard to its end.
    return Joined(name, placed, placed[-1].end_sample + SAMPLE_RATE_HZ, seed)


def spoken_samples(clip: Int16Array) -> int:
    """Where the speech in a clip ends, to 10 ms: the last stretch of 50 ms with the power of speech.

    That is half way, in dB, between the quietest tenth of the clip and its loudest stretch, but at most
    30 dB below the latter: words end softly, but not that softly.

    Args:
        clip: Samples, shape (L,), at least 50 ms.

    Returns:
        Samples from its beginning; the whole clip where it is silent or of one level.
    """
    rest = len(clip) % STEP_SAMPLES
    power = np.square(clip[rest:].astype(np.float64)).reshape(-1, STEP_SAMPLES).mean(1)
    smooth = np.convolve(power, np.full(SPEECH_STEPS, 1 / SPEECH_STEPS), mode="valid")
    level_db = 10 * np.log10(np.maximum(smooth, 1.0))
    loudest, quietest = level_db.max(), np.percentile(level_db, 10)
    active = np.flatnonzero(level_db >= max((loudest + quietest) / 2, loudest - SPEECH_RANGE_DB))
    # A stretch that is half speech is as loud as that: the word ends in its middle.
    steps = int(active[-1]) + (SPEECH_STEPS + 1) // 2
    return len(clip) if active[-1] == len(level_db) - 1 else rest + steps * STEP_SAMPLES


def render(joined: Joined, corpus: Corpus, speech: Speech | None = None) -> Iterator[Int16Array]:
    """The samples of a joined stream, in blocks; memory does not grow with its length.

    Clips are faded into a background that goes on beneath them, 20 dB below their mean power; it is the
    corpus's noise, its end faded into its beginning, or white where there is none. Of clips alone each keeps
    its level.
    """
    background = _background(joined, corpus)
    ramp = np.sin(np.linspace(0, np.pi / 2, FADE_SAMPLES, dtype=np.float32)) ** 2
    at = 0
    for clip in joined.clips:
        yield _to_int16(_cut(background, at, clip.start_sample))
        at = clip.end_sample
        whole = speech.audio(clip.row) if clip.running and speech else corpus.waveforms[clip.row]
        wave = whole[clip.first : clip.first + clip.samples] * np.float32(clip.gain)
        wave[:FADE_SAMPLES] *= ramp
        wave[-FADE_SAMPLES:] *= ramp[::-1]
        yield _to_int16(_cut(background, clip.start_sample, at) + wave)
    yield _to_int16(_cut(background, at, joined.samples))


def marks(joined: Joined, corpus: Corpus, word: int) -> list[Mark]:
    """Where a word is, in order of time; in a clip it ends with the speech."""
    speakers = corpus.clips["speaker"]
    alone = [
        Mark(
            word,
            Span(clip.start_sample / SAMPLE_RATE_HZ, clip.end_sample / SAMPLE_RATE_HZ),
            (clip.start_sample + spoken_samples(corpus.waveforms[clip.row])) / SAMPLE_RATE_HZ,
            clip.row,
            str(speakers.iloc[clip.row]),
        )
        for clip in joined.clips
        if clip.word == word
    ]
    inside = [mark for mark in joined.sentences if mark.word == word]
    return sorted([*alone, *inside], key=lambda mark: mark.span)


def _background(joined: Joined, corpus: Corpus) -> Floats32:
    """A loop of noise at its level, int16 units."""
    rng = np.random.default_rng(seed_from("background", joined.seed))
    noise = np.asarray(corpus.noise[: 60 * SAMPLE_RATE_HZ], np.float32)
    if len(noise) > 2 * FADE_SAMPLES and np.any(noise):
        ramp = np.linspace(0, 1, FADE_SAMPLES, dtype=np.float32)
        seam = np.sqrt(ramp) * noise[:FADE_SAMPLES] + np.sqrt(1 - ramp) * noise[-FADE_SAMPLES:]
        noise = np.concatenate([seam, noise[FADE_SAMPLES:-FADE_SAMPLES]])
    else:
        noise = rng.standard_normal(10 * SAMPLE_RATE_HZ).astype(np.float32)
    heard = [clip.row for clip in joined.clips if not clip.running]
    rows = heard[:LEVEL_CLIPS] or list(range(min(LEVEL_CLIPS, len(corpus.waveforms))))
    power = float(np.mean([np.square(corpus.waveforms[row].astype(np.float64)).mean() for row in rows]))
    level = np.sqrt(power / 10 ** (SNR_DB / 10) / np.square(noise.astype(np.float64)).mean())
    return np.roll(noise, int(rng.integers(len(noise)))) * np.float32(level)


def _cut(loop: Floats32, start: int, stop: int) -> Floats32:
    return loop.take(np.arange(start, stop), mode="wrap")


def _to_int16(samples: Floats32) -> Int16Array:
    limits = np.iinfo(np.int16)
    clipped: Int16Array = np.clip(np.rint(samples), limits.min, limits.max).astype(np.int16)
    return clipped
