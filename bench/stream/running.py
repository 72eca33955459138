"""Streams of running speech with words in it: recorded sentences that hold them, or clips set in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import signal

from bench.config import seed_from
from bench.data.corpora.acoustics import active_rms
from bench.data.corpora.base import SAMPLE_RATE_HZ, Corpus, Int16Array
from bench.data.speech import Speech
from bench.stream.detection import TOLERANCE_S, Span
from bench.stream.joined import LEVEL_CLIPS, LONGEST_GAP_SAMPLES, Joined, Mark, Placed, joined_stream, render
from models.errors import CorpusError
from models.task import Task

# Longer recordings are taken apart, so that words can stand between the pieces.
LONGEST_PIECE = 15 * SAMPLE_RATE_HZ
SHORTEST_PIECE = SAMPLE_RATE_HZ // 2
# Of the energy of recordings over a telephone no more than the first lies above; of wider ones the second or
# more. Where a tenth of the recordings are of either kind, all are made alike.
BAND_HZ, NARROW_SHARE, WIDE_SHARE, TENTH = 4000.0, 2e-5, 1e-3, 0.1
FILTER_ORDER = 8
# Nothing is lifted by more than 40 dB.
FAINTEST, MOST_GAIN = 1.0, 100.0


@dataclass(frozen=True, eq=False)
class Sounds:
    """What streams are made of.

    Attributes:
        corpus: Clips of words, and their background noise.
        speech: Running speech; None: streams are joined from the clips alone.
    """

    corpus: Corpus
    speech: Speech | None = None

    @cached_property
    def band_hz(self) -> float | None:
        """Where streams are cut off, so that words and speech are equally wide; None: nowhere."""
        return None if self.speech is None else band_of_both(self.corpus, self.speech)

    def stream(self, task: Task, split: str, seed: int) -> Joined:
        """A stream of a split, with the words that a task asks for."""
        if self.speech is None:
            return joined_stream(self.corpus, task, split, seed=seed)
        return running_stream(self.corpus, self.speech, task, split, seed=seed)

    def blocks(self, joined: Joined) -> Iterator[Int16Array]:
        """Its samples."""
        return limited(self.band_hz)(render(joined, self.corpus, self.speech))


class Piece(NamedTuple):
    """A stretch of a recording, or a clip.

    Attributes:
        row: Of the speech, or of the corpus.
        first: Its first sample in the recording.
        samples: How many.
        word: The number of the word that a clip is of; -1 for speech.
        sentence: Whether it is a recorded sentence that holds words to find.
    """

    row: int
    first: int
    samples: int
    word: int = -1
    sentence: bool = False


def running_stream(corpus: Corpus, speech: Speech, task: Task, split: str, *, seed: int = 0) -> Joined:
    """All running speech of a split that names no word to find, and the words spread evenly over it.

    Words are the sentences of the split in which they are marked; of a word that is marked in none, the
    split's clips. Sentences that name a word nobody says the time of are left out. Nothing is heard twice.

    Args:
        corpus: Where the clips are.
        speech: Running speech, of speakers of its own or of the corpus's.
        task: Whose words to spot.
        split: ``validation`` or ``test``.
        seed: Of the order, the gaps and the background.

    Raises:
        CorpusError: The split has no speech without the words, or lacks a word.
    """
    rng = np.random.default_rng(seed_from("running", split, seed))
    rows = speech.indices(split)
    quiet = rng.permutation(rows[~speech.names(task.needed)[rows]])
    background = [piece for row in quiet for piece in _pieces(speech, int(row))]
    if not background:
        raise CorpusError(f"the {split} split of {speech.name} has no speech without {task.text}")
    words = _words(corpus, speech, task, split, rng)
    order = _spread(background, [words[number] for number in rng.permutation(len(words))])
    clips = _levelled(_placed(order, rng), corpus, speech)
    return Joined(
        f"{split} words in running speech",
        clips,
        clips[-1].end_sample + SAMPLE_RATE_HZ,
        seed,
        tuple(_sentence_marks(clips, speech, task)),
    )


def _pieces(speech: Speech, row: int) -> Iterator[Piece]:
    """A recording in stretches of at most so long, equally long."""
    samples = len(speech.audio(row))
    count = -(-samples // LONGEST_PIECE)
    edges = np.linspace(0, samples, count + 1).astype(int)
    for first, last in pairwise(edges):
        if last - first >= SHORTEST_PIECE:
            yield Piece(row, int(first), int(last - first))


def _words(corpus: Corpus, speech: Speech, task: Task, split: str, rng: np.random.Generator) -> list[Piece]:
    """Whole sentences with marks of words, and clips of the words that have none."""
    rows, labels = corpus.indices(split), corpus.labels(task)
    of_split = speech.marks["recording"].isin(speech.indices(split)).to_numpy()
    found: list[Piece] = []
    for word, (number, name) in enumerate(zip(task.to_find, task.needed, strict=True)):
        held = dict.fromkeys(speech.marks["recording"][of_split & speech.marked([name])])
        found += [Piece(int(row), 0, len(speech.audio(int(row))), sentence=True) for row in held]
        if not held:
            clips = rng.permutation(rows[labels[rows] == number])
            found += [Piece(int(row), 0, task.clip_samples, word) for row in clips]
            if not len(clips):
                raise CorpusError(f"the {split} split of {corpus.name} has no clips of {name}")
    return list(dict.fromkeys(found))


def _spread(background: Sequence[Piece], words: Sequence[Piece]) -> list[Piece]:
    """Both in their order, words at even distances; speech comes first."""
    of_speech = [(at / len(background), 0, at) for at in range(len(background))]
    of_words = [((at + 1) / (len(words) + 1), 1, at) for at in range(len(words))]
    return [(background, words)[kind][at] for _, kind, at in sorted([*of_speech, *of_words])]


def _placed(order: Sequence[Piece], rng: np.random.Generator) -> tuple[Placed, ...]:
    """One after the other, with gaps of up to half a second, and between two words as long as they count."""
    placed: list[Placed] = []
    at = 0
    for before, piece in zip([None, *order], order, strict=False):
        at += int(rng.integers(0, LONGEST_GAP_SAMPLES, endpoint=True))
        both = before is not None and min(_holds(before), _holds(piece))
        at += round(TOLERANCE_S * SAMPLE_RATE_HZ) if both else 0
        placed.append(Placed(piece.row, at, piece.samples, piece.word, piece.word < 0, piece.first))
        at += piece.samples
    return tuple(placed)


def _holds(piece: Piece) -> bool:
    return piece.sentence or piece.word >= 0


def _sentence_marks(clips: Sequence[Placed], speech: Speech, task: Task) -> Iterator[Mark]:
    """The marked words of the sentences in a stream, in order of time."""
    words = [
        speech.marks[speech.marked([name])].assign(number=number) for number, name in enumerate(task.needed)
    ]
    of_row = dict(iter(pd.concat(words).groupby("recording")))
    speakers = speech.recordings["speaker"]
    for clip in clips:
        if not clip.running or clip.row not in of_row:
            continue
        start_s = clip.start_sample / SAMPLE_RATE_HZ
        table = of_row[clip.row].sort_values("start_s")
        times = table[["start_s", "end_s"]].to_numpy(float) + start_s
        for mark, number, span in zip(table.index, table["number"], times.tolist(), strict=True):
            yield Mark(int(number), Span(*span), span[1], int(mark), str(speakers.iloc[clip.row]))


def _levelled(clips: Sequence[Placed], corpus: Corpus, speech: Speech) -> tuple[Placed, ...]:
    """All at one level, the median of the corpus's clips: who speaks does not step back for the word."""
    wanted = float(np.median([_level(corpus.waveforms[row]) for row in _some(len(corpus.waveforms))]))
    gains: dict[tuple[bool, int], float] = {}
    for clip in clips:
        if (key := (clip.running, clip.row)) not in gains:
            own = _level(speech.audio(clip.row) if clip.running else corpus.waveforms[clip.row])
            gains[key] = min(wanted / max(own, FAINTEST), MOST_GAIN)
    return tuple(replace(clip, gain=gains[clip.running, clip.row]) for clip in clips)


def _level(wave: Int16Array) -> float:
    """Of the sound in a recording, of a full scale of 32,768."""
    return active_rms(wave.astype(np.float64))


def band_of_both(corpus: Corpus, speech: Speech) -> float | None:
    """Where both must be cut off because some of them ends there; None where all are equally wide.

    Words of the telephone among speech of a room would be told from it by their band alone.
    """
    clips = [corpus.waveforms[row] for row in _some(len(corpus.waveforms))]
    sets = [high_shares(clips), high_shares(map(speech.audio, _some(len(speech.recordings))))]
    narrow = any((shares < NARROW_SHARE).mean() >= TENTH for shares in sets)
    wide = any((shares >= WIDE_SHARE).mean() >= TENTH for shares in sets)
    return BAND_HZ if narrow and wide else None


def _some(count: int) -> range:
    """A few of so many rows, spread over all."""
    return range(0, count, max(1, count // LEVEL_CLIPS))


def high_shares(waves: Iterable[Int16Array]) -> npt.NDArray[np.float64]:
    """The share of the energy of each recording that lies above 4 kHz."""
    found = []
    for wave in waves:
        at_hz, power = signal.welch(wave.astype(np.float64), SAMPLE_RATE_HZ, nperseg=min(512, len(wave)))
        found.append(power[at_hz > BAND_HZ].sum() / max(power.sum(), 1e-9))
    return np.array(found)


def limited(band_hz: float | None) -> Callable[[Iterable[Int16Array]], Iterator[Int16Array]]:
    """What cuts a stream off above a frequency, block after block; with none it leaves it alone."""
    if band_hz is None:
        return iter
    # Down by 60 dB from there on.
    sos = signal.cheby2(FILTER_ORDER, 60, band_hz, fs=SAMPLE_RATE_HZ, output="sos")

    def through(blocks: Iterable[Int16Array]) -> Iterator[Int16Array]:
        state: npt.NDArray[np.float64] = np.zeros((len(sos), 2))
        for block in blocks:
            wave, state = signal.sosfilt(sos, block.astype(np.float64), zi=state)
            yield np.clip(np.rint(wave), -32768, 32767).astype(np.int16)

    return through
