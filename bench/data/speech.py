"""Long audio: running speech and noise by speakers, memory-mapped, with the words known to be in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.corpora.base import SAMPLE_RATE_HZ, Int16Array, stands_in
from models.errors import CorpusError
from models.registering import Registry

if TYPE_CHECKING:
    from bench.data.spoken import Source


@dataclass(frozen=True, eq=False)
class Speech:
    """Recordings of any length, 16 kHz, mono, none of whose speakers is in two splits.

    Attributes:
        name: Of the folder, the table, or what is registered; several are joined by a plus.
        hash: Content hash; with the same hash, samples, splits, texts and marks are the same.
        recordings: One row a recording, in the order of ``samples``: source, speaker, split, its first
            sample, how many there are, and text, which is empty where it is not known.
        samples: All recordings one after the other, int16, memory-mapped, shape (S,).
        marks: Where words are known to be, in seconds within a recording: its row number, word, start_s and
            end_s, in that order; possibly empty.
        skipped: Recordings that could not be read and marks that do not fit, each with the reason.
    """

    name: str
    hash: str
    recordings: pd.DataFrame
    samples: Int16Array
    marks: pd.DataFrame
    skipped: tuple[str, ...] = ()

    def indices(self, split: str) -> npt.NDArray[np.int64]:
        """Row numbers of the recordings of one split, ascending."""
        return np.flatnonzero(stands_in(self.recordings, split))

    def audio(self, row: int) -> Int16Array:
        """A recording, as a view of ``samples``."""
        first, samples = (int(self.recordings[name].iloc[row]) for name in ("first", "samples"))
        return self.samples[first : first + samples]

    def hours(self, split: str | None = None) -> float:
        """How long all recordings last together, or those of a split."""
        rows = self.recordings if split is None else self.recordings.iloc[self.indices(split)]
        return float(rows["samples"].sum() / SAMPLE_RATE_HZ / 3600)

    def names(self, words: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which recordings name one of the words in their text or a mark, so that they are no negatives.

        Words count as a whole, whatever their case: "happy" is in "Happy, then." and not in "unhappy".

        Returns:
            Shape (R,), one for each row of ``recordings``.
        """
        found: npt.NDArray[np.bool_] = named(self.recordings["text"], words)
        found[self.marks["recording"][self.marked(words)]] = True
        return found

    def marked(self, words: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which rows of ``marks`` name one of the words."""
        return named(self.marks["word"], words)


def named(texts: Iterable[str], words: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which texts hold one of the words, or several words in a row, as a whole and in any case.

    Examples:
        >>> named(["Are you happy?", "unhappy", "Hey, robot!"], ["happy", "hey robot"]).tolist()
        [True, False, True]
    """
    phrases = [r"[\W_]+".join(map(re.escape, word.split())) for word in words if word.split()]
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)
    return np.array([bool(phrases and pattern.search(text)) for text in texts], bool)


# Given whether to show progress.
Opener = Callable[[bool], Speech]
_OPENERS: Registry[Opener] = Registry("speech", CorpusError)


def register(name: str) -> Callable[[Opener], Opener]:
    """Decorator that makes speech available under a name for ``--speech``.

    Raises:
        CorpusError: The name is none or is taken, or what is decorated cannot be called.
    """
    return _OPENERS.decorator(name, "(progress) -> Speech")


def speeches() -> dict[str, Opener]:
    """All registered speech by name, sorted."""
    return dict(sorted(_OPENERS.items()))


@register("synthetic")
def _synthetic(progress: bool) -> Speech:
    from bench.data.corpora.sentences import synthetic_speech

    return synthetic_speech(progress=progress)


def open_speech(sources: Sequence[str], *, progress: bool = False) -> Speech:
    """Speech out of folders, tables and what is registered; decoded once, and found again by content.

    All is laid one after the other, so that several sources are one array. Who is in a split by one source's
    table is in it in all sources; other speakers are split by the rule for clips.

    Args:
        sources: Each a registered name, a folder (see ``spoken_folder``), or a table (``spoken_table``).
        progress: Whether to show progress on standard error.

    Raises:
        CorpusError: What is wrong with a source, a table's line or a split, and what would be right.
        NoRoomError: The disk has no room for it.
    """
    from bench.data.spoken import Ready, joined

    if not sources:
        raise CorpusError(f"no speech given; give a folder, a table, or one of: {', '.join(speeches())}")
    found = [
        Ready(_OPENERS[source](progress)) if source in _OPENERS else _in_files(Path(source))
        for source in dict.fromkeys(sources)
    ]
    if len(found) == 1 and isinstance(found[0], Ready):
        return found[0].speech
    return joined(found, progress)


def _in_files(path: Path) -> Source:
    if path.is_dir():
        from bench.data.spoken_folder import folder_of_speech

        return folder_of_speech(path)
    if path.is_file():
        from bench.data.spoken_table import table_of_speech

        return table_of_speech(path)
    names = ", ".join(speeches())
    raise CorpusError(
        f"no speech '{path}': give a folder, a table of recordings (clips.csv), or one of: {names}"
    )
