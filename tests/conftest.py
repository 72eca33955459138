"""Shared by all tests: a cache of their own, a tiny corpus, and the way to real recordings."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from bench.config import Recipe, RunConfig
from bench.data.corpora.base import Corpus, write_corpus
from bench.running.pipeline import run_chain
from bench.threads import threads
from models.front_end import SAMPLE_RATE_HZ, FrontEnd
from models.task import WordsTask

# Speaker-disjoint real recordings: the Arabic Speech Commands, in a folder of <word>/<clip>.flac.
ARABIC = "KWS_BENCH_ARABIC"
WORDS = {"start": 900.0, "left": 350.0, "right": 550.0, "stop": 1500.0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is built in, or taken from, the user's cache."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("KWS_BENCH_CACHE", str(cache))
    return cache


@pytest.fixture
def zoo_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of the zoo are families, named as their specifications, as a plugin's would be."""
    from models import registry
    from tests.zoo import OWN

    monkeypatch.setattr(registry, "_FAMILIES", copy(registry._FAMILIES))
    for spec, model in OWN.items():
        registry.register(spec.__name__, spec())(model)


@pytest.fixture
def arabic() -> Path:
    """The folder of real recordings; the test is skipped where there is none."""
    folder = os.environ.get(ARABIC)
    if not folder:
        pytest.skip(f"{ARABIC} names no folder of real recordings")
    return Path(folder)


@pytest.fixture
def hears_ctrl_c() -> Callable[[], None]:
    """For ``preexec_fn``: what a script starts in its background is deaf to Ctrl-C, as are its children."""

    def restore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return restore


@pytest.fixture
def gone() -> Callable[..., bool]:
    """Whether every process of a group (of ``start_new_session``) ends within so many seconds."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("there is no /proc to look for processes in")
    return _gone


def _gone(group: int, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while alive := _alive(group):
        if time.monotonic() > deadline:
            print("still there:", alive)
            return False
        time.sleep(0.02)
    return True


def _alive(group: int) -> list[str]:
    """The processes of a group; not those that have ended and that nobody has asked for yet."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            about = entry.read_text().rpartition(")")[2].split()
            command = (entry.parent / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it ended meanwhile
            continue
        if about[0] not in "ZX" and int(about[2]) == group:
            found.append(command)
    return found


def tone(word: str, speaker: int, take: int) -> np.ndarray:
    """A 'word': a noisy tone whose pitch tells the words apart, and a little the speakers."""
    rng = np.random.default_rng([list(WORDS).index(word), speaker, take])
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    pitch_hz = WORDS[word] * (1 + 0.01 * speaker)
    wave = 0.05 * np.sin(2 * np.pi * pitch_hz * time_s) * np.hanning(SAMPLE_RATE_HZ)
    return ((wave + 0.04 * rng.standard_normal(SAMPLE_RATE_HZ)) * 32767).astype(np.int16)


def tone_clips(takes: int) -> pd.DataFrame:
    """Twelve speakers, eight of them for training."""
    rows = [
        (word, f"s{speaker:02}", split, f"{word}/s{speaker:02}_nohash_{take}.wav", speaker, take)
        for speaker in range(12)
        for split in ["train" if speaker < 8 else "validation" if speaker < 10 else "test"]
        for word in WORDS
        for take in range(takes)
    ]
    return pd.DataFrame(rows, columns=["word", "speaker", "split", "source", "number", "take"])


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """240 clips of tones in place of words."""
    clips = tone_clips(takes=5)
    waves = np.stack([tone(row.word, row.number, row.take) for row in clips.itertuples()])
    noise = np.random.default_rng(0).normal(0, 500, 3 * SAMPLE_RATE_HZ).astype(np.int16)
    return write_corpus(
        tmp_path_factory.mktemp("corpora") / "tones",
        name="tones",
        content_hash="0" * 16,
        clips=clips,
        waveforms=[waves[:100], waves[100:]],
        noise=noise,
    )


@pytest.fixture(scope="session")
def tone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same kind of corpus as a folder of WAV files, with lists."""
    folder = tmp_path_factory.mktemp("audio") / "tones"
    clips = tone_clips(takes=3)
    for row in clips.itertuples():
        path = folder / row.source
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, tone(row.word, row.number, row.take), SAMPLE_RATE_HZ)
    for name, split in (("validation_list.txt", "validation"), ("testing_list.txt", "test")):
        (folder / name).write_text("\n".join(clips.loc[clips["split"] == split, "source"]) + "\n")
    return folder


@pytest.fixture(scope="session")
def words_run(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    """A run that has learnt two tones of four, and that there are others, with a front end of its own."""
    task = WordsTask(("start", "stop"), with_unknown=True, front_end=FrontEnd(mels=32, window_ms=32))
    config = RunConfig(
        chain="", data=str(tone_folder), task=task, recipe=Recipe(versions=1, batch_size=32), epochs=20
    )
    out = tmp_path_factory.mktemp("words")
    with pytest.MonkeyPatch.context() as patch, threads(1):
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        (record,) = run_chain(config, out)
    return out / "runs" / record.run_id
