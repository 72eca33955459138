"""What is asked of a model: its classes, how words become labels, clip length and front end.

A task is part of every identity: of runs, cached features, tables and what ships. Nothing here needs torch.
"""

from __future__ import annotations

import abc
import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from models.errors import TaskError
from models.front_end import SAMPLE_RATE_HZ, FrontEnd
from models.numbers import shortest

# Classes that are no word to find, and what stands for a clip of no word at all.
OTHER, UNKNOWN, SILENCE = "_other_", "_unknown_", "_silence_"
LEFT_OUT = -1
# Clips of unknown words, and of none, for each clip of a word to find: as Speech Commands is reported.
TENTH = 0.1
LEAST_CLIP_S, MOST_CLIP_S = 0.5, 4.0

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task(abc.ABC):
    """What is asked of a model. One frozen dataclass a kind; its own fields say which classes there are.

    Attributes:
        clip_s: Length of a clip in seconds.
        front_end: What a model hears of it.
        kind: What tables and files call this kind of task.
        headline: The measure that the best epoch is chosen by on validation, and a target is set for.
        tested: The measure that rows are held against each other by.
    """

    clip_s: float = field(default=1.0, kw_only=True)
    front_end: FrontEnd = field(default=FrontEnd(), kw_only=True)
    kind: ClassVar[str]
    headline: ClassVar[str]
    tested: ClassVar[str]

    def __post_init__(self) -> None:
        if not LEAST_CLIP_S <= self.clip_s <= MOST_CLIP_S or round(self.clip_s * 1000) / 1000 != self.clip_s:
            raise TaskError(
                f"clips of {self.clip_s:g} s; give {LEAST_CLIP_S:g} to {MOST_CLIP_S:g}, in whole milliseconds"
            )

    @property
    @abc.abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the classes K, in the order of the logits."""

    @property
    @abc.abstractmethod
    def text(self) -> str:
        """The task in a few words, without clip length and front end: what tables and titles say."""

    @abc.abstractmethod
    def labels(self, words: Sequence[str], splits: Sequence[str], sources: Sequence[str]) -> Labels:
        """The class of each clip, ``LEFT_OUT`` for those that the task has no use for, shape (N,).

        Args:
            words: What is said in it, shape (N,).
            splits: Where it stands, as in ``train`` or ``validation+test``, shape (N,).
            sources: A name of its own, shape (N,).
        """

    @property
    def to_find(self) -> tuple[int, ...]:
        """The classes that are words to find: a stream has a threshold for each."""
        return tuple(at for at, name in enumerate(self.classes) if name not in (OTHER, UNKNOWN, SILENCE))

    @property
    def needed(self) -> tuple[str, ...]:
        """Words that a corpus must have."""
        return tuple(self.classes[at] for at in self.to_find)

    @property
    def silence(self) -> bool:
        """Whether there are clips of no word, cut from a corpus's background noise."""
        return SILENCE in self.classes

    @property
    def clip_samples(self) -> int:
        """Samples L of a clip."""
        return round(self.clip_s * SAMPLE_RATE_HZ)

    @property
    def frames(self) -> int:
        """Frames T of a clip."""
        return self.front_end.frames(self.clip_samples)

    def identity(self) -> dict[str, Any]:
        """What a hash takes of it; what tasks did not have from the beginning only where it is another."""
        own = {name: value for name, value in asdict(self).items() if name not in _LATER}
        return {"kind": self.kind, **own} | _not_default(self)


def _refuse_reserved(words: Sequence[str]) -> None:
    """Refuses words that name the classes which are none to find."""
    if strange := {OTHER, UNKNOWN, SILENCE} & set(words):
        raise TaskError(f"{strange.pop()} is no word to find; --unknown and --silence add such classes")


@dataclass(frozen=True)
class KeywordTask(Task):
    """One word against all others.

    Attributes:
        keyword: The word to spot.

    Examples:
        >>> KeywordTask("happy").labels(["up", "happy"], ["train"] * 2, ["a", "b"]).tolist()
        [0, 1]
    """

    keyword: str = "sheila"
    kind: ClassVar[str] = "keyword"
    headline: ClassVar[str] = "au_fa_fr"
    tested: ClassVar[str] = "one_minus_auc"

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_reserved((self.keyword,))

    @property
    def classes(self) -> tuple[str, ...]:
        """See the base class."""
        return (OTHER, self.keyword)

    @property
    def text(self) -> str:
        """See the base class."""
        return f"keyword {self.keyword}"

    def labels(self, words: Sequence[str], splits: Sequence[str], sources: Sequence[str]) -> Labels:
        """See the base class."""
        return np.array([word == self.keyword for word in words], np.int64)

    def identity(self) -> dict[str, Any]:
        """See the base class: runs of a keyword keep the names that they had before other tasks."""
        return {"keyword": self.keyword} | _not_default(self)


# The task of a model of which nobody says another: usual clips, and a word without a name.
UNNAMED = KeywordTask(keyword="")


@dataclass(frozen=True)
class WordsTask(Task):
    """Several words, each a class of its own.

    Attributes:
        words: The words to tell apart, two or more, or one beside ``unknown`` or ``silence``.
        with_unknown: Whether all other words are a class: on validation and test a tenth as many clips as of
            the words, which the hash of their names picks; in training all there are.
        with_silence: Whether there are clips of no word, cut from the background noise, a tenth as many.
        name: What it is called; empty: by its words.

    Examples:
        >>> task = WordsTask(("yes", "no"), with_unknown=True)
        >>> task.classes
        ('_unknown_', 'yes', 'no')
        >>> task.labels(["no", "cat", "yes"], ["train"] * 3, ["a", "b", "c"]).tolist()
        [2, 0, 1]
    """

    words: tuple[str, ...] = ()
    with_unknown: bool = False
    with_silence: bool = False
    name: str = ""
    kind: ClassVar[str] = "words"
    headline: ClassVar[str] = "accuracy"
    tested: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.words)) < len(self.words) or not all(self.words):
            raise TaskError(f"words {','.join(self.words)}: give each word once")
        _refuse_reserved(self.words)
        if not self.words or len(self.classes) < 2:
            raise TaskError("one word and nothing to tell it from; give two words, --unknown, or --keyword")

    @property
    def classes(self) -> tuple[str, ...]:
        """See the base class; silence and unknown come first, as in Speech Commands' own code."""
        return ((SILENCE,) * self.with_silence) + ((UNKNOWN,) * self.with_unknown) + self.words

    @property
    def text(self) -> str:
        """See the base class."""
        more = [name.strip("_") for name in (UNKNOWN, SILENCE) if name in self.classes]
        return self.name or " + ".join(["words " + " ".join(self.words), *more])

    def labels(self, words: Sequence[str], splits: Sequence[str], sources: Sequence[str]) -> Labels:
        """See the base class."""
        number = {name: at for at, name in enumerate(self.classes)}
        other = number.get(UNKNOWN, LEFT_OUT)
        # A word that is spoken in a clip of silence is unknown; nothing else is called as the classes are.
        found = np.array([number.get(word, other) for word in words], np.int64)
        if self.with_unknown:
            _thin_out(found, other, splits, sources)
        return found


def _thin_out(labels: Labels, other: int, splits: Sequence[str], sources: Sequence[str]) -> None:
    """Leaves out unknown clips of validation and test beyond a tenth of the clips of words, in place."""
    where = np.asarray(splits, object)
    for split in sorted(set(where) - {"train"}):
        rows = np.flatnonzero(where == split)
        unknown = sorted(rows[labels[rows] == other], key=lambda row: _drawn(sources[row]))
        most = math.ceil(TENTH * (labels[rows] > other).sum())
        labels[unknown[most:]] = LEFT_OUT


def _drawn(source: str) -> bytes:
    """A number by chance that is the same for the same clip, whatever else a corpus holds."""
    return hashlib.sha1(source.encode(errors="surrogateescape")).digest()


_LATER = tuple(one.name for one in fields(Task))


def _not_default(task: Task) -> dict[str, Any]:
    """Clip length and front end, where they are not the first version's."""
    own, default = (asdict(one) for one in (task.front_end, FrontEnd()))
    more = {name: value for name, value in own.items() if value != default[name]}
    return more if task.clip_s == 1.0 else more | {"clip_s": task.clip_s}


def front_end_text(task: Task) -> str:
    """Clip length and front end where they are not the usual ones, for titles; else empty.

    Examples:
        >>> front_end_text(KeywordTask("happy", clip_s=1.5, front_end=FrontEnd(mels=20)))
        'clips of 1.5 s, 20 mels'
    """
    front, usual = task.front_end, FrontEnd()
    parts = [f"clips of {shortest(task.clip_s)} s"] if task.clip_s != 1.0 else []
    parts += [f"{front.mels} mels"] if front.mels != usual.mels else []
    if (front.window_ms, front.hop_ms) != (usual.window_ms, usual.hop_ms):
        parts += [f"{shortest(front.window_ms)} ms every {shortest(front.hop_ms)} ms"]
    return ", ".join(parts)
