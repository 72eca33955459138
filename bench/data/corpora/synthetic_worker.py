"""Worker process of the synthetic corpus: ``python -m bench.data.corpora.synthetic_worker JOB``.

``JOB`` is a JSON file; each finished speaker is one file of clips in the scratch folder, written whole or
not at all, so that whoever comes next goes on with the speakers that are missing.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from bench.data.corpora import acoustics
from bench.data.corpora.acoustics import FloatArray, Int16Array
from bench.data.corpora.espeak import (
    ENGINE_RATE_HZ,
    Engine,
    Utterance,
    add_voice,
    phonemes,
    private_engine,
    speak,
)
from bench.data.corpora.synthetic_plan import (
    Clip,
    Speaker,
    SyntheticConfig,
    make_clips,
    other_words,
    utterance,
)
from bench.data.corpora.voices import draws, perturbed_voice, voice_text
from bench.files import temporary, write_atomically, write_text_atomically
from bench.processes import leave_when
from models.front_end import SAMPLE_RATE_HZ

SHIFT_SAMPLES = 1_600
MARGIN_SAMPLES = 800  # shorter than its clip speech is at the least, so that it does not touch the ends
NOISE_PART_S = 5
FASTEST_WPM = 450
DRY_PEAK = 0.7
BABBLE_SHARE = 0.3
BABBLE_VOICES = (4, 9)  # from, below
PROBE_VOICE, PROBE_ACCENTS = "en-us", ("en-us", "en")


@dataclass(frozen=True)
class Job:
    """One worker's share of a stage.

    Attributes:
        stage: ``probe``, ``speech`` or ``room``; or one of ``sentences.STAGES``.
        scratch: Folder for the files of all stages.
        config: The corpus.
        words: The words that are not the keyword; empty for ``probe``.
        speakers: Names of the speakers to do.
    """

    stage: str
    scratch: Path
    config: SyntheticConfig
    words: tuple[str, ...]
    speakers: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Writes the job as JSON."""
        write_text_atomically(path, json.dumps(asdict(self) | {"scratch": str(self.scratch)}))

    @classmethod
    def load(cls, path: Path) -> Job:
        """Reads what ``save`` wrote."""
        about = json.loads(path.read_text())
        config = SyntheticConfig(**about["config"])
        words, speakers = tuple(about["words"]), tuple(about["speakers"])
        return cls(about["stage"], Path(about["scratch"]), config, words, speakers)


def shard(scratch: Path, stage: str, speaker: str) -> Path:
    """File of one speaker's clips after a stage."""
    return scratch / stage / f"{speaker}.npy"


def by_speaker(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Clips of each speaker, in the order given."""
    return {name: list(group) for name, group in groupby(clips, key=lambda clip: clip.speaker.name)}


def save_array(path: Path, array: Int16Array) -> None:
    """Writes an array whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomically(path, buffer.getvalue())


def spoken(engine: Engine, said: Utterance, longest_samples: int) -> FloatArray:
    """An utterance without the silence around it, at 16 kHz; spoken faster if longer than asked."""
    for _ in range(4):
        samples = speak(engine, said).astype(np.float64) / 32768
        wave = acoustics.trim(samples, ENGINE_RATE_HZ)
        if not len(wave):
            raise ValueError(f"no sound in {said}")
        wave = acoustics.resample(wave, ENGINE_RATE_HZ, SAMPLE_RATE_HZ)
        if len(wave) <= longest_samples or said.rate_wpm >= FASTEST_WPM:
            break
        faster = round(said.rate_wpm * 1.05 * len(wave) / longest_samples) + 1
        said = replace(said, rate_wpm=min(FASTEST_WPM, faster))
    return wave


def dry_clip(engine: Engine, config: SyntheticConfig, clip: Clip) -> Int16Array:
    """One clip as spoken, without room and noise, shape (L,)."""
    wave = spoken(engine, utterance(config, clip), config.clip_samples - MARGIN_SAMPLES)
    rng = draws(config.seed, "place", clip.speaker.name, clip.word, clip.take)
    shift = int(rng.integers(-SHIFT_SAMPLES, SHIFT_SAMPLES + 1))
    # Some voices have an offset while they sound.
    wave = acoustics.channel(
        acoustics.centre(wave, config.clip_samples, shift=shift), slope_db_per_octave=0, low_hz=50
    )
    return acoustics.to_int16(wave * (DRY_PEAK / np.abs(wave).max()))


def make_voice(engine: Engine, config: SyntheticConfig, speaker: Speaker) -> None:
    """Adds the voice file of a speaker to the private engine."""
    rng = draws(config.seed, "voice", speaker.name)
    add_voice(engine, speaker.name, perturbed_voice(voice_text(speaker.variant), speaker.name, rng))


class Babble:
    """Voices of one split that say anything but the keyword, from the files of the ``speech`` stage."""

    def __init__(self, scratch: Path, config: SyntheticConfig, clips: Sequence[Clip], split: str) -> None:
        """Lists the clips of ``split`` to draw from."""
        self._places: list[tuple[Path, str, int]] = []
        for name, group in by_speaker(clips).items():
            path = shard(scratch, "speech", name)
            self._places += [
                (path, name, row)
                for row, clip in enumerate(group)
                if clip.speaker.split == split and clip.word != config.keyword
            ]
        self._open: dict[Path, Int16Array] = {}

    def draw(self, rng: np.random.Generator, speaker: str = "") -> FloatArray:
        """Babble of 4 to 8 clips, by others than ``speaker`` where there are any, shape (L,)."""
        places = [place for place in self._places if place[1] != speaker] or self._places
        chosen = [places[int(n)] for n in rng.integers(0, len(places), rng.integers(*BABBLE_VOICES))]
        return acoustics.babble(rng, [self._voice(path, row) for path, _, row in chosen])

    def _voice(self, path: Path, row: int) -> FloatArray:
        if path not in self._open:
            self._open[path] = np.load(path)
        return np.asarray(self._open[path][row], np.float64)


def room_clip(config: SyntheticConfig, clip: Clip, dry: Int16Array, voices: Babble) -> Int16Array:
    """Puts a dry clip into a room, through a channel, with noise, at a level; shape (L,)."""
    rng = draws(config.seed, "room", clip.speaker.name, clip.word, clip.take)
    return in_a_room(rng, dry / 32768.0, lambda: voices.draw(rng, clip.speaker.name))


def in_a_room(rng: np.random.Generator, wave: FloatArray, babble: Callable[[], FloatArray]) -> Int16Array:
    """Puts dry speech into a room, through a channel, with noise, at a level; shape (L,), as it was."""
    if rng.random() < 0.6:
        rt60_s, direct_db = rng.uniform(0.1, 0.6), rng.uniform(-5, 8)
        wave = acoustics.convolve(wave, acoustics.room_response(rng, rt60_s=rt60_s, direct_db=direct_db))
    slope = rng.uniform(-4, 4) if rng.random() < 0.8 else 0.0
    low_hz, high_hz = (rng.uniform(80, 400), rng.uniform(1800, 6000)) if rng.random() < 0.4 else (None, None)
    wave = acoustics.channel(wave, slope_db_per_octave=slope, low_hz=low_hz, high_hz=high_hz)
    kind = "babble" if rng.random() < BABBLE_SHARE else str(rng.choice(acoustics.NOISE_KINDS))
    background = babble() if kind == "babble" else acoustics.noise(rng, kind, len(wave))
    wave = acoustics.mix_at_snr(wave, background, rng.uniform(0, 25))
    return acoustics.to_int16(acoustics.at_level(wave, rng.uniform(-34, -16)))


def background_noise(config: SyntheticConfig, voices: Babble, seconds: int) -> Int16Array:
    """Background noise without speech to recognise: each kind in turn, 5 s long, at a level of its own."""
    kinds, parts = [*acoustics.NOISE_KINDS, "babble"], []
    length = NOISE_PART_S * SAMPLE_RATE_HZ
    for n in range(-(-seconds // NOISE_PART_S)):
        rng = draws(config.seed, "background", n)
        kind = kinds[n % len(kinds)]
        if kind == "babble":
            babble = [voices.draw(rng) for _ in range(-(-length // config.clip_samples))]
            wave = np.concatenate(babble)[:length]
        else:
            wave = acoustics.noise(rng, kind, length)
        parts.append(acoustics.to_int16(acoustics.at_level(wave, rng.uniform(-40, -25))))
    return np.concatenate(parts)[: seconds * SAMPLE_RATE_HZ]


def probe(engine: Engine, keyword: str) -> Mapping[str, object]:
    """Speaks the keyword once: its length, its peak of 32768, and the words that sound different from it."""
    samples = speak(engine, Utterance(keyword, PROBE_VOICE))
    wave = acoustics.trim(samples.astype(np.float64), ENGINE_RATE_HZ)
    said = [phonemes(engine, keyword.lower(), accent) for accent in PROBE_ACCENTS]
    words = [
        word
        for word in other_words(keyword)
        if not any(phonemes(engine, word, a) == sound for a, sound in zip(PROBE_ACCENTS, said, strict=True))
    ]
    return {
        "duration_s": len(wave) / ENGINE_RATE_HZ,
        "peak": int(np.abs(samples.astype(np.int64)).max(initial=0)),
        "words": words,
    }


def speech_stage(job: Job, groups: Mapping[str, list[Clip]]) -> None:
    """Speaks all clips of each speaker."""
    with temporary(Path(tempfile.gettempdir()), folder=True) as folder:
        engine = private_engine(folder)
        for name in job.speakers:
            make_voice(engine, job.config, groups[name][0].speaker)
            clips = [dry_clip(engine, job.config, clip) for clip in groups[name]]
            save_array(shard(job.scratch, job.stage, name), np.stack(clips))


def room_stage(job: Job, groups: Mapping[str, list[Clip]]) -> None:
    """Puts all clips of each speaker into rooms."""
    clips = [clip for group in groups.values() for clip in group]
    voices = {
        split: Babble(job.scratch, job.config, clips, split)
        for split in {clip.speaker.split for clip in clips}
    }
    for name in job.speakers:
        dry = np.load(shard(job.scratch, "speech", name))
        rows = zip(groups[name], dry, strict=True)
        wet = [room_clip(job.config, clip, row, voices[clip.speaker.split]) for clip, row in rows]
        save_array(shard(job.scratch, job.stage, name), np.stack(wet))


def work(job: Job) -> None:
    """Does a job."""
    if job.stage == "probe":
        with temporary(Path(tempfile.gettempdir()), folder=True) as folder:
            found = probe(private_engine(folder), job.config.keyword)
        write_text_atomically(job.scratch / "probe.json", json.dumps(found))
        return
    if job.stage.startswith("sentence"):
        from bench.data.corpora.sentences_worker import work_on_sentences

        work_on_sentences(job)
        return
    groups = by_speaker(make_clips(job.config, job.words))
    (speech_stage if job.stage == "speech" else room_stage)(job, groups)


if __name__ == "__main__":
    # Whoever waits for the result holds the other end of standard input, and lets go of it by ending.
    leave_when(lambda: os.read(0, 1))
    work(Job.load(Path(sys.argv[1])))
