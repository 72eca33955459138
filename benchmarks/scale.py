"""A corpus of noise as large as Speech Commands v0.02: bytes on disk, resident memory."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.config import RunConfig
from bench.data.corpora import register
from bench.data.corpora.base import Corpus, Int16Array, load_corpus, write_corpus
from bench.data.features import to_float
from bench.running.pipeline import run_chain
from benchmarks.epochs import TurnUi
from benchmarks.plain import SEED
from benchmarks.rows import Row
from benchmarks.setting import Setting
from benchmarks.turns import Side, Turns, alternate, peak_mb, private_mb
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ
from models.task import KeywordTask, Task

WORDS, SPEAKERS, BLOCK_CLIPS, BATCH = 35, 2000, 512, 256
SPLIT_OF_TEN = ("train",) * 8 + ("validation", "test")
NOISE = "noise"
KEYWORD = "word00"
WATCH_S = 0.05
# int16 clips, float32 features of all, float16 features of eight versions of the training clips.
DISK_BYTES_A_CLIP = 2 * SAMPLE_RATE_HZ + 4 * 4040 + 8 * 2 * 4040


def measure_scale(setting: Setting) -> list[Row]:
    """Build, load, draw, and train for an epoch, each in a process of its own.

    Raises:
        CorpusError: The disk is too full.
    """
    count = setting.size.scale_clips
    free = shutil.disk_usage(setting.scratch).free
    if free < 1.1 * count * DISK_BYTES_A_CLIP:
        raise CorpusError(f"{count:,} clips need {1.1 * count * DISK_BYTES_A_CLIP / 1e9:.0f} GB of free disk")
    folder = setting.scratch / "scale"
    sides: dict[str, Side] = {
        "built": partial(build, folder, count),
        "loaded": partial(load, folder),
        "its waveforms drawn once, in batches": partial(draw, folder),
        "trained on for an epoch of the base, bank made": partial(train, folder, setting.scratch),
    }
    samples = count * SAMPLE_RATE_HZ * 2
    rows = []
    for name, side in sides.items():
        laps = alternate({name: side})[name]
        if name == "built":
            size = sum(path.stat().st_size for path in folder.iterdir())
            note = f"{samples / 2**20:,.0f} MB of int16 samples"
            rows.append(
                Row(f"{count:,} clips on disk, bytes to a byte of samples", [size / samples], note=note)
            )
        what = f"{count:,} clips {name}: peak resident memory, MB"
        own = f"{laps.notes['private_mb']:,.0f} MB without mapped files, which the system may take back"
        rows.append(Row(what, [laps.notes["peak_mb"]], note=own))
    return rows


@contextmanager
def watched(turns: Turns) -> Iterator[None]:
    """Notes the most memory that is not a mapped file while something runs."""
    done, most = threading.Event(), [private_mb()]

    def watch() -> None:
        while not done.wait(WATCH_S):
            most.append(max(most.pop(), private_mb()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        turns.note("private_mb", max(most[0], private_mb()))
        turns.note("peak_mb", peak_mb())


def noise_clips(count: int) -> pd.DataFrame:
    """A table like that of Speech Commands: each speaker in one split."""
    rng = np.random.default_rng(SEED)
    speaker, word = rng.integers(SPEAKERS, size=count), rng.integers(WORDS, size=count)
    return pd.DataFrame(
        {
            "word": [f"word{number:02}" for number in word],
            "speaker": [f"{number:08x}" for number in speaker],
            "split": [SPLIT_OF_TEN[number % 10] for number in speaker],
            "source": [
                f"word{w:02}/{s:08x}_nohash_{row}.wav"
                for row, (w, s) in enumerate(zip(word, speaker, strict=True))
            ],
        }
    )


def noise_blocks(count: int) -> Iterator[Int16Array]:
    """White noise, a block at a time."""
    rng = np.random.default_rng(SEED)
    for start in range(0, count, BLOCK_CLIPS):
        rows = min(BLOCK_CLIPS, count - start)
        yield rng.integers(-3000, 3000, size=(rows, SAMPLE_RATE_HZ), dtype=np.int16)


def build(folder: Path, count: int, turns: Turns) -> None:
    """Writes the corpus."""
    noise = next(noise_blocks(1)).ravel()
    with watched(turns):
        write_corpus(
            folder,
            name=NOISE,
            content_hash=f"{NOISE}{count}",
            clips=noise_clips(count),
            waveforms=noise_blocks(count),
            noise=noise,
        )


def load(folder: Path, turns: Turns) -> None:
    """Opens it and looks at labels and splits."""
    with watched(turns):
        corpus = load_corpus(folder)
        corpus.labels(KeywordTask(KEYWORD))
        corpus.indices("train")


def draw(folder: Path, turns: Turns) -> None:
    """Every training clip once, in random order."""
    with watched(turns):
        corpus = load_corpus(folder)
        rows = np.random.default_rng(SEED).permutation(corpus.indices("train"))
        for start in range(0, len(rows), BATCH):
            to_float(corpus.waveforms[rows[start : start + BATCH]]).square().mean()


def train(folder: Path, scratch: Path, turns: Turns) -> None:
    """A whole run of the base with one epoch: features, training, measuring."""

    @register(NOISE)
    def _open(task: Task | None, progress: bool) -> Corpus:
        return load_corpus(folder)

    torch.manual_seed(SEED)
    config = RunConfig(chain="", data=NOISE, task=KeywordTask(KEYWORD), epochs=1)
    with watched(turns):
        run_chain(config, scratch / "scale-run", TurnUi(turns), progress=False)
