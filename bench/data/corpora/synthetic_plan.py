"""What the synthetic corpus will hold: its configuration, speakers and clips, before any sound is made."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.data.corpora.espeak import Utterance
from bench.data.corpora.voices import ACCENTS, draws, split_families
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ

# The words of Speech Commands v0.01.
_WORDS = """
    bed bird cat dog down eight five four go happy house left marvin nine no off on one right seven sheila
    six stop three tree two up wow yes zero
"""
WORDS = tuple(_WORDS.split())
SPLIT_SHARES = {"train": 0.65, "validation": 0.15, "test": 0.2}
KEYWORD_SHARE = 0.15
CLIPS_PER_SPEAKER = 4  # at least, so that small corpora do not consist of one clip a speaker
SUFFIXES = ("", ".", "!", "?")


def available_cpus() -> int:
    """Processors that this process may use, at most 8."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


@dataclass(frozen=True)
class SyntheticConfig:
    """What to make; equal configurations give the same corpus, whatever the number of workers.

    Attributes:
        keyword: The word or words to spot, in Latin letters; it need not be one of ``WORDS``.
        seed: Seed of all draws: voices, splits, and each clip.
        n_clips: Clips, at least 6. With 8000, validation has 180 of the keyword, test 240.
        n_speakers: Speakers, at least 3; fewer are made where there would be under 4 clips for each.
        workers: Processes that make the clips.
        clip_samples: Samples L of a clip.
        n_sentences: Sentences of running speech by each speaker, at least 3.
    """

    keyword: str = "sheila"
    seed: int = 0
    n_clips: int = 8000
    n_speakers: int = 200
    workers: int = field(default_factory=available_cpus)
    clip_samples: int = SAMPLE_RATE_HZ
    n_sentences: int = 3

    def __post_init__(self) -> None:
        """Refuses what cannot be made, with a CorpusError."""
        check_keyword(self.keyword)
        for name, least in (("n_clips", 6), ("n_speakers", 3), ("workers", 1), ("n_sentences", 3)):
            if getattr(self, name) < least:
                raise CorpusError(f"{name} is {getattr(self, name)}; it must be at least {least}")


def check_keyword(keyword: str) -> None:
    """Refuses a keyword that an English voice cannot read.

    Raises:
        CorpusError: It has no letters, or some that are not Latin, or it is not one line of text.
    """
    letters = [character for character in keyword if character.isalpha()]
    if not letters:
        raise CorpusError(
            f"keyword {keyword!r} has no letters; give words as they are said, as in 'hey robot'"
        )
    if not keyword.isprintable() or keyword != keyword.strip():
        raise CorpusError(f"keyword {keyword!r} must be plain words, as in {' '.join(keyword.split())!r}")
    foreign = [letter for letter in letters if not unicodedata.name(letter, "").startswith("LATIN")]
    if foreign:
        raise CorpusError(f"keyword {keyword!r}: the voices speak English; write it in Latin letters")


@dataclass(frozen=True)
class Speaker:
    """One made voice.

    Attributes:
        name: Unique name, which is also that of its voice file.
        split: The only split that it is heard in.
        family: The family of voices it comes from, named by its first member.
        variant: The voice file that it perturbs.
        accent: The engine's name of its accent.
    """

    name: str
    split: str
    family: str
    variant: str
    accent: str

    @property
    def voice(self) -> str:
        """The engine's name of accent and voice file."""
        return f"{self.accent}+{self.name}"


@dataclass(frozen=True)
class Clip:
    """One clip: who says which word for the how-manieth time, counted from 0."""

    speaker: Speaker
    word: str
    take: int

    @property
    def source(self) -> str:
        """Where the clip comes from, for the table of clips."""
        return f"espeak:{self.speaker.voice}/{self.word}/{self.take}"


def split_sizes(total: int) -> dict[str, int]:
    """Clips in each split: in proportion to ``SPLIT_SHARES``, at least 2."""
    sizes = {split: max(2, round(total * share)) for split, share in SPLIT_SHARES.items()}
    sizes["train"] += total - sum(sizes.values())
    return sizes


def make_speakers(config: SyntheticConfig) -> dict[str, list[Speaker]]:
    """The speakers of each split; no family of voices is in two splits."""
    sizes, families = split_sizes(config.n_clips), split_families(config.seed, SPLIT_SHARES)
    speakers: dict[str, list[Speaker]] = {}
    for split, share in SPLIT_SHARES.items():
        most = max(1, round(config.n_speakers * share))
        count = min(most, max(1, sizes[split] // CLIPS_PER_SPEAKER))
        first = sum(map(len, speakers.values()))
        speakers[split] = [
            _speaker(config.seed, split, first + n, families[split][n % len(families[split])])
            for n in range(count)
        ]
    return speakers


def _speaker(seed: int, split: str, index: int, family: Sequence[str]) -> Speaker:
    rng = draws(seed, "speaker", index)
    weights = [weight / sum(ACCENTS.values()) for weight in ACCENTS.values()]
    variant, accent = str(rng.choice(list(family))), str(rng.choice(list(ACCENTS), p=weights))
    name = f"{variant.replace(' ', '_')}-{index:03d}"
    return Speaker(name, split, family[0], variant, accent)


def other_words(keyword: str) -> tuple[str, ...]:
    """The words that are not the keyword, whatever its case."""
    return tuple(word for word in WORDS if word != keyword.lower())


def make_clips(config: SyntheticConfig, words: Sequence[str]) -> list[Clip]:
    """All clips, ordered by split and speaker.

    Each word but the keyword has as many clips as each other, and so has each speaker, to within a few.

    Args:
        config: The corpus.
        words: The words that are not the keyword.
    """
    clips: list[Clip] = []
    sizes = split_sizes(config.n_clips)
    for split, speakers in make_speakers(config).items():
        count = len(speakers)
        of_keyword = min(max(1, round(sizes[split] * KEYWORD_SHARE)), sizes[split] - 1)
        planned = [(n % count, config.keyword, n // count) for n in range(of_keyword)]
        for n in range(sizes[split] - of_keyword):
            word, nth = n % len(words), n // len(words)
            # Each word starts with another speaker, lest the first speakers have one more of each word.
            who = (nth + word * count // len(words)) % count
            planned.append((who, words[word], nth // count))
        clips += [Clip(speakers[who], word, take) for who, word, take in sorted(planned)]
    return clips


def utterance(config: SyntheticConfig, clip: Clip) -> Utterance:
    """How a clip is spoken: the speaker's manner, and small changes for the one clip."""
    manner = draws(config.seed, "manner", clip.speaker.name)
    rng = draws(config.seed, "clip", clip.speaker.name, clip.word, clip.take)
    rate_wpm = manner.uniform(95, 180) * rng.uniform(0.9, 1.1)
    pitch = manner.uniform(42, 58) + rng.uniform(-4, 4)
    pitch_range = manner.uniform(25, 80) + rng.uniform(-8, 8)
    return Utterance(
        text=clip.word + str(rng.choice(SUFFIXES)),
        voice=clip.speaker.voice,
        seed=int(rng.integers(1, 2**31)),
        rate_wpm=round(rate_wpm),
        pitch=round(pitch),
        pitch_range=round(pitch_range),
    )
