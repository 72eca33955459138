"""Synthetic running speech: sentences by the voices of the synthetic corpus, made on first use.

Recipe. Each of the 200 voices says three sentences of 5 to 12 words, drawn one by one from the 30 words of
the corpus (two words in five) and from some 400 ordinary ones; every third sentence holds ordinary words
alone, and babble is cut from these. The engine speaks a sentence in one breath and says itself when each
word is heard. Manner, rooms, channels, noise and levels are those of the clips, and so is the split: a
voice stands in the same one in both. That is 39 minutes, in which each word of the corpus is heard some
forty times; it is made faster than the clips are.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
from filelock import FileLock

from bench.data.corpora.base import SAMPLE_RATE_HZ, Int16Array
from bench.data.corpora.espeak import engine_version
from bench.data.corpora.sentences_plan import make_sentences
from bench.data.corpora.sentences_worker import HEARD, STAGES, sentence_waves, spoken_sentences
from bench.data.corpora.synthetic import run_stages
from bench.data.corpora.synthetic_plan import SyntheticConfig
from bench.data.corpora.synthetic_worker import by_speaker
from bench.data.speech import Speech
from bench.data.speech_store import Read, is_there, load_speech, speech_folder, write_speech

NAME = "synthetic"
# Raised whenever the recipe makes other sentences from the same configuration.
RECIPE_VERSION = 1


def synthetic_speech(config: SyntheticConfig | None = None, *, progress: bool = True) -> Speech:
    """Opens synthetic running speech, making it first if this is its first use.

    It is kept in the cache folder. Processes that ask for it at once make it once, and one that was
    interrupted goes on with the speakers that are missing.

    Args:
        config: Whose voices; keyword and length of clips say nothing here.
        progress: Whether to show a progress bar.

    Raises:
        CorpusError: The engine is not installed, or a worker process died.
    """
    config = config or SyntheticConfig()
    key = speech_hash(config)
    folder = speech_folder(NAME, key)
    if is_there(folder):
        return load_speech(folder)
    scratch = folder.with_name(f".{folder.name}.parts")
    with FileLock(f"{scratch}.lock"):
        return load_speech(folder) if is_there(folder) else _made(config, folder, scratch, key, progress)


def speech_hash(config: SyntheticConfig) -> str:
    """12 hex digits for all that determines the sentences: voices, recipe and engine, not the workers."""
    voices = [config.seed, config.n_clips, config.n_speakers]
    key = json.dumps([RECIPE_VERSION, engine_version(), config.n_sentences, *voices])
    return hashlib.blake2b(key.encode(), digest_size=6).hexdigest()


def _made(config: SyntheticConfig, folder: Path, scratch: Path, key: str, progress: bool) -> Speech:
    clips = make_sentences(config)
    run_stages(STAGES, config, scratch, clips, (), progress=progress)
    names = list(by_speaker(clips))
    sentences = [sentence for name in names for sentence in spoken_sentences(scratch, name)]
    marks = [
        (row, word, first / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ)
        for row, sentence in enumerate(sentences)
        for word, first, end in sentence.words
    ]
    speech = write_speech(
        folder,
        name=NAME,
        content_hash=key,
        recordings=pd.DataFrame(
            {
                "source": [clip.source for clip in clips],
                "speaker": [clip.speaker.name for clip in clips],
                "split": [clip.speaker.split for clip in clips],
                "text": [clip.word for clip in clips],
            }
        ),
        marks=pd.DataFrame(marks, columns=["recording", "word", "start_s", "end_s"]),
        reads=_reads(scratch, names),
        needs_samples=sum(sentence.samples for sentence in sentences),
        progress=False,
    )
    shutil.rmtree(scratch, ignore_errors=True)
    return speech


def _reads(scratch: Path, names: list[str]) -> Iterator[Read]:
    return (partial(_blocks, wave) for name in names for wave in sentence_waves(scratch, HEARD, name))


def _blocks(wave: Int16Array) -> list[Int16Array]:
    return [wave]
