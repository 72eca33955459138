"""What is measured on, and how much of it; the folder of audio files that both ways read."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import soundfile

from bench.data.corpora import open_corpus
from bench.data.corpora.base import SAMPLE_RATE_HZ, SPLITS, Corpus, cache_dir
from bench.data.corpora.splits import LIST_FILES
from bench.files import replacing
from models.task import KeywordTask

TOY = "synthetic"
SMALL_CLIPS = 480


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: Laps of each side after the first, which warms up and is not counted.
        scores: Length of the metric's input.
        sweep_scores: The same, for the sweep over thresholds.
        batches: Batch sizes of the training step.
        step_clips: Clips of a lap of the training step.
        matrix: Rows of the square matrices that are multiplied.
        commands: Runs of each command.
        scale_clips: Clips of the large corpus; as many as Speech Commands v0.02 has.
        preset_epochs: Epochs of each training of the preset; None: the recipe's.
        heard_s: Audio that is heard at once.
        stepped_s: Audio that is heard frame after frame.
    """

    rounds: int = 5
    scores: int = 1_000_000
    sweep_scores: int = 20_000
    batches: tuple[int, ...] = (128, 256, 1024)
    step_clips: int = 4096
    matrix: int = 2048
    commands: int = 7
    scale_clips: int = 105_829
    preset_epochs: int | None = None
    heard_s: int = 3600
    stepped_s: int = 60


SMALL = Size(
    rounds=1,
    scores=20_000,
    sweep_scores=500,
    batches=(32,),
    step_clips=64,
    matrix=256,
    commands=1,
    scale_clips=1000,
    preset_epochs=1,
    heard_s=120,
    stepped_s=5,
)


@dataclass(frozen=True)
class Setting:
    """What every part is given.

    Attributes:
        folder: Audio files, one folder a word.
        keyword: The word to spot.
        size: How much is measured.
        scratch: An empty folder that may be filled, on the disk where features are kept.
        device: The kind of device that both ways train on.
    """

    folder: Path
    keyword: str
    size: Size
    scratch: Path
    device: str = "cpu"

    @property
    def cache(self) -> Path:
        """The cache of the measured runs: nothing is found there that was not made in this run."""
        return self.scratch / "cache"

    def corpus(self) -> Corpus:
        """The folder as the toolkit reads it; decoded when it is first asked for."""
        return open_corpus(str(self.folder), KeywordTask(self.keyword), progress=False)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in the user's cache that is removed in the end; its ``cache`` is the cache until then."""
    parent, before = cache_dir() / "benchmarks", os.environ.get("KWS_BENCH_CACHE")
    parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    os.environ["KWS_BENCH_CACHE"] = str(scratch / "cache")
    try:
        yield scratch
    finally:
        if before is None:
            del os.environ["KWS_BENCH_CACHE"]
        else:
            os.environ["KWS_BENCH_CACHE"] = before
        shutil.rmtree(scratch, ignore_errors=True)


def toy_folder(keyword: str, small: bool) -> Path:
    """The toy corpus as a folder of WAV files with lists, kept in the cache; made where it is missing."""
    corpus = open_corpus(TOY, KeywordTask(keyword), progress=False)
    kept = corpus.clips.groupby(["split", "word"]).head(5) if small else corpus.clips
    kept = kept.head(SMALL_CLIPS) if len(kept) > SMALL_CLIPS and small else kept
    folder = cache_dir() / "benchmarks" / f"toy-{corpus.hash}-{len(kept)}"
    if not folder.is_dir():
        with replacing(folder, corpus.waveforms[:1].nbytes * len(kept), folder=True) as scratch:
            _write(scratch, corpus, kept.index.to_list())
    return folder


def _write(folder: Path, corpus: Corpus, rows: list[int]) -> None:
    """Audio files named ``<speaker>_nohash_<row>.wav``, noise, and the lists of the splits."""
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    for row in rows:
        word, speaker, split = (str(corpus.clips.at[row, name]) for name in ("word", "speaker", "split"))
        source = f"{word}/{speaker}_nohash_{row}.wav"
        (folder / word).mkdir(exist_ok=True)
        soundfile.write(folder / source, corpus.waveforms[row], SAMPLE_RATE_HZ)
        lists[split].append(source)
    for split, name in LIST_FILES.items():
        (folder / name).write_text("\n".join(lists[split]) + "\n")
    (folder / "_background_noise_").mkdir()
    soundfile.write(folder / "_background_noise_" / "noise.wav", corpus.noise, SAMPLE_RATE_HZ)
