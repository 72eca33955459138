"""Clips of no word, cut from a corpus's background noise, as a class of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from filelock import FileLock

from bench.config import seed_from
from bench.data.corpora.base import (
    CLIP_COLUMNS,
    VALIDATION_AND_TEST,
    Corpus,
    Int16Array,
    cache_dir,
    derived_hash,
    load_corpus,
    write_corpus,
)
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ
from models.task import SILENCE, TENTH

# Raised whenever other clips would be cut from the same noise.
VERSION = 1
# Of the noise, in time: validation and test each; all before them is for training.
HELD_OUT = 0.1
BLOCK_CLIPS = 512


def with_silence(corpus: Corpus, words: Sequence[str]) -> Corpus:
    """A corpus with clips of silence behind its own: in each split a tenth as many as of words, rounded up.

    The first 80 % of the noise are for training, of the rest one half for validation and one for test, and
    each split gets at least as much as a clip. A part is divided into stretches, each a speaker of its own,
    so that clips of two speakers share no sample. Levels are drawn between nothing and that of the noise.
    What the corpus then has as background noise is that of training, so that no augmentation hears the rest.

    Args:
        corpus: Any; it is kept in the cache beside it, under a name of its own.
        words: The task's.

    Raises:
        CorpusError: It has no noise, or not enough to divide.
    """
    parts = noise_parts(corpus)
    content_hash = derived_hash(corpus.hash, f"silence {VERSION} for {sorted(words)}")
    target = cache_dir() / "corpora" / f"{corpus.name}-{content_hash[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f"{target.name}.lock"):
        if not (target / "corpus.json").is_file():
            added = [
                _silent(parts[split], split, count, corpus.clip_samples)
                for split, count in counts(corpus, words).items()
            ]
            table = pd.concat([corpus.clips, *(clips for clips, _ in added)], ignore_index=True)
            write_corpus(
                target,
                name=corpus.name,
                content_hash=content_hash,
                clips=table,
                waveforms=_joined(corpus, [waves for _, waves in added]),
                noise=parts["train"],
                skipped=corpus.skipped,
                notes=(*corpus.notes, f"{len(table) - len(corpus.clips):,} clips of silence from its noise"),
                clip_samples=corpus.clip_samples,
            )
    return replace(load_corpus(target), lengths_s=corpus.lengths_s)


def counts(corpus: Corpus, words: Sequence[str]) -> dict[str, int]:
    """How many clips of silence each split gets."""
    spoken = corpus.clips["split"][corpus.clips["word"].isin(list(words))]
    return {str(split): math.ceil(TENTH * count) for split, count in spoken.value_counts(sort=False).items()}


def noise_parts(corpus: Corpus) -> dict[str, Int16Array]:
    """The noise of each split, none of it in two; of clips of both held-out splits, that of both."""
    noise, least = corpus.noise, corpus.clip_samples
    if not len(noise):
        raise CorpusError(
            f"{corpus.name} has no background noise to cut silence from; add recordings of it in a folder "
            "_background_noise_ (or rows of that word), or ask for no class of silence"
        )
    held = max(round(HELD_OUT * len(noise)), least)
    if len(noise) < 2 * held + least:
        raise CorpusError(
            f"{corpus.name} has {len(noise) / SAMPLE_RATE_HZ:.1f} s of background noise; silence takes a "
            f"clip of it for each split, {3 * least / SAMPLE_RATE_HZ:g} s or more"
        )
    train, validation, test = np.split(noise, [len(noise) - 2 * held, len(noise) - held])
    return {
        "train": train,
        "validation": validation,
        "test": test,
        VALIDATION_AND_TEST: noise[len(noise) - 2 * held :],
    }


def _silent(noise: Int16Array, split: str, count: int, clip_samples: int) -> tuple[pd.DataFrame, Int16Array]:
    """The table and the waveforms (n, L) of a split's clips of silence."""
    rng = np.random.default_rng(seed_from("silence", split))
    stretches = max(1, len(noise) // (2 * clip_samples))
    length = len(noise) // stretches
    numbers = np.arange(count) % stretches
    starts = numbers * length + rng.integers(0, length - clip_samples + 1, count)
    levels = rng.uniform(0, 1, count)
    waves = [
        np.rint(noise[start : start + clip_samples] * level).astype(np.int16)
        for start, level in zip(starts, levels, strict=True)
    ]
    name = f"{SILENCE}/{split}"
    rows = [(SILENCE, f"{name}-{n}", split, f"{name}-{n}/{take}") for take, n in enumerate(numbers)]
    return pd.DataFrame(rows, columns=list(CLIP_COLUMNS)), np.reshape(waves, (count, clip_samples))


def _joined(corpus: Corpus, added: Sequence[Int16Array]) -> Iterator[Int16Array]:
    for start in range(0, len(corpus.waveforms), BLOCK_CLIPS):
        yield corpus.waveforms[start : start + BLOCK_CLIPS]
    yield from added
