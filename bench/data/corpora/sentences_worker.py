"""The stages of synthetic running speech, in the worker processes of the synthetic corpus.

Of each speaker a stage leaves one array of samples, all sentences one after the other. With the first comes a
file that says how long each is and when its words are heard.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data.corpora import acoustics
from bench.data.corpora.acoustics import FloatArray, Int16Array
from bench.data.corpora.espeak import ENGINE_RATE_HZ, Engine, private_engine, speak_words
from bench.data.corpora.sentences_plan import is_plain, make_sentences
from bench.data.corpora.synthetic_plan import Clip, SyntheticConfig, utterance
from bench.data.corpora.synthetic_worker import (
    BABBLE_VOICES,
    DRY_PEAK,
    Job,
    by_speaker,
    in_a_room,
    make_voice,
    save_array,
    shard,
)
from bench.data.corpora.voices import draws
from bench.files import temporary, write_text_atomically
from models.front_end import SAMPLE_RATE_HZ

SPOKEN, HEARD = "sentence-speech", "sentence-room"
STAGES = {SPOKEN: "speaking", HEARD: "rooms and noise"}
LEAD_S = 0.25  # of silence before and after what is said


class Sentence(NamedTuple):
    """A sentence as it was spoken.

    Attributes:
        samples: How long it is.
        words: Each with its first sample and the one behind its last.
    """

    samples: int
    words: list[tuple[str, int, int]]


def spoken_sentences(scratch: Path, speaker: str) -> list[Sentence]:
    """The sentences of a speaker, once they are spoken."""
    entries = json.loads(shard(scratch, SPOKEN, speaker).with_suffix(".json").read_text())
    return [
        Sentence(samples, [(word, first, end) for word, first, end in words]) for samples, words in entries
    ]


def sentence_waves(scratch: Path, stage: str, speaker: str) -> list[Int16Array]:
    """The samples of a speaker's sentences after a stage, each of shape (L,)."""
    whole = np.load(shard(scratch, stage, speaker), mmap_mode="r")
    ends = np.cumsum([sentence.samples for sentence in spoken_sentences(scratch, speaker)])
    return np.split(whole, ends[:-1])


def dry_sentence(engine: Engine, config: SyntheticConfig, clip: Clip) -> tuple[Int16Array, Sentence]:
    """One sentence as spoken, without room and noise, and when its words are heard."""
    samples, words = speak_words(engine, utterance(config, clip))
    lead = round(LEAD_S * SAMPLE_RATE_HZ)
    wave = acoustics.resample(samples.astype(np.float64) / 32768, ENGINE_RATE_HZ, SAMPLE_RATE_HZ)
    # Some voices have an offset while they sound.
    wave = acoustics.channel(np.pad(wave, lead), slope_db_per_octave=0, low_hz=50)
    rate = SAMPLE_RATE_HZ / ENGINE_RATE_HZ
    times = [(word.text, lead + round(word.first * rate), lead + round(word.end * rate)) for word in words]
    return acoustics.to_int16(wave * (DRY_PEAK / np.abs(wave).max())), Sentence(len(wave), times)


class Murmur:
    """Babble out of sentences of one split that hold no word of the corpus."""

    def __init__(self, scratch: Path, groups: Mapping[str, list[Clip]], split: str) -> None:
        """Lists the speakers of ``split``."""
        self._scratch, self._groups = scratch, groups
        self._names = [name for name, clips in groups.items() if clips[0].speaker.split == split]

    def draw(self, rng: np.random.Generator, length: int, speaker: str) -> FloatArray:
        """Babble by 4 to 8 others than ``speaker``, where there are any, shape (length,)."""
        names = [name for name in self._names if name != speaker] or self._names
        chosen = [names[int(n)] for n in rng.integers(0, len(names), rng.integers(*BABBLE_VOICES))]
        # Turned round by the drawing of babble, so that it does not matter where each begins.
        return acoustics.babble(rng, [np.resize(self._voice(rng, name), length) for name in chosen])

    def _voice(self, rng: np.random.Generator, name: str) -> FloatArray:
        waves = sentence_waves(self._scratch, SPOKEN, name)
        plain = [wave for wave, clip in zip(waves, self._groups[name], strict=True) if is_plain(clip)]
        return plain[int(rng.integers(len(plain)))] / 32768.0


def work_on_sentences(job: Job) -> None:
    """Does a job of one of ``STAGES``."""
    groups = by_speaker(make_sentences(job.config))
    if job.stage == SPOKEN:
        with temporary(Path(tempfile.gettempdir()), folder=True) as folder:
            engine = private_engine(folder)
            for name in job.speakers:
                make_voice(engine, job.config, groups[name][0].speaker)
                _save_spoken(job, name, [dry_sentence(engine, job.config, clip) for clip in groups[name]])
        return
    for name in job.speakers:
        voices = Murmur(job.scratch, groups, groups[name][0].speaker.split)
        dry = sentence_waves(job.scratch, SPOKEN, name)
        wet = [_heard(job.config, *each, voices) for each in zip(groups[name], dry, strict=True)]
        save_array(shard(job.scratch, HEARD, name), np.concatenate(wet))


def _save_spoken(job: Job, name: str, said: list[tuple[Int16Array, Sentence]]) -> None:
    # First what is said of the samples: whoever finds these is done.
    path = shard(job.scratch, SPOKEN, name)
    write_text_atomically(path.with_suffix(".json"), json.dumps([sentence for _, sentence in said]))
    save_array(path, np.concatenate([wave for wave, _ in said]))


def _heard(config: SyntheticConfig, clip: Clip, dry: Int16Array, voices: Murmur) -> Int16Array:
    rng = draws(config.seed, "room", clip.speaker.name, clip.word, clip.take)
    return in_a_room(rng, dry / 32768.0, lambda: voices.draw(rng, len(dry), clip.speaker.name))
