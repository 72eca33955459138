"""The one form every corpus takes: int16 clips in one memory-mapped array, and a table about them."""

from __future__ import annotations

import difflib
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.format import write_array_header_1_0
from platformdirs import user_cache_path

from bench.files import replacing
from models.errors import CorpusError
from models.task import Task

SAMPLE_RATE_HZ = 16_000
CLIP_SAMPLES = 16_000
SPLITS = ("train", "validation", "test")
# A clip of both: work without a test set reports what it chose its epoch on.
VALIDATION_AND_TEST = "validation+test"
SKIPPED_SHOWN = 5
CLIP_COLUMNS = ("word", "speaker", "split", "source")
# What libsndfile reads; files with another name, or none, are known by how they begin (``bench.data.audio``).
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf"),
    *(".w64", ".rf64"),
)

Int16Array = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Clips of one second, 16 kHz, mono, that all runs on the same data share.

    Attributes:
        name: What the user called it: ``synthetic``, ``speech-commands`` or the folder's name.
        hash: Content hash; two corpora with the same hash hold the same clips and splits.
        waveforms: Memory-mapped int16 samples, shape (N, L).
        clips: One row a clip, in the order of ``waveforms``: word, speaker, split, source. A clip that
            stands in two splits names both, as in ``validation+test``.
        noise: Background noise, int16, one long row of samples; empty where there is none.
        skipped: Files that could not be read, each with the reason.
    """

    name: str
    hash: str
    waveforms: Int16Array
    clips: pd.DataFrame
    noise: Int16Array
    skipped: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The distinct words, sorted."""
        return sorted(self.clips["word"].unique())

    def about(self) -> list[str]:
        """What it holds, and which files could not be read, in a few lines."""
        words, speakers = self.clips["word"].nunique(), self.clips["speaker"].nunique()
        counts = f"{len(self.clips):,} clips, {words} words, {speakers} speakers"
        lines = [f"{self.name}: {counts}, {len(self.skipped)} files skipped"]
        lines += [f"  skipped {line}" for line in self.skipped[:SKIPPED_SHOWN]]
        hidden = len(self.skipped) - SKIPPED_SHOWN
        return [*lines, f"  and {hidden} more"] if hidden > 0 else lines

    def indices(self, split: str) -> npt.NDArray[np.int64]:
        """Row numbers of the clips of one split, ascending."""
        return np.flatnonzero(stands_in(self.clips, split))

    @property
    def clip_samples(self) -> int:
        """Samples L of a clip."""
        return int(self.waveforms.shape[1])

    def labels(self, task: Task) -> npt.NDArray[np.int64]:
        """The class of each clip, ``LEFT_OUT`` for those that the task has no use for, shape (N,).

        Raises:
            CorpusError: A word of the task is not in the corpus; the message names the nearest words.
        """
        there = set(self.words)
        for word in task.needed:
            if word not in there:
                raise CorpusError(unknown_keyword(word, self.words))
        return task.labels(*(self.clips[name].to_list() for name in ("word", "split", "source")))


def stands_in(clips: pd.DataFrame, split: str) -> npt.NDArray[np.bool_]:
    """Which rows of a table of clips stand in a split, shape (N,).

    Examples:
        >>> stands_in(pd.DataFrame({"split": ["train", "validation+test"]}), "test").tolist()
        [False, True]
    """
    names = [name for name in clips["split"].unique() if split in str(name).split("+")]
    return clips["split"].isin(names).to_numpy()


def unknown_keyword(keyword: str, words: Sequence[str]) -> str:
    """One line that names the nearest words that do exist."""
    near = difflib.get_close_matches(keyword, words, n=3, cutoff=0.4)
    shown = near or list(words)[:8]
    more = "" if near or len(words) <= 8 else f", ... ({len(words)} words)"
    return f"no clips of the keyword {keyword!r}; did you mean: {', '.join(shown)}{more}"


def cache_dir() -> Path:
    """Where corpora are built, ``$KWS_BENCH_CACHE`` or the platform's cache folder."""
    given = os.environ.get("KWS_BENCH_CACHE")
    return Path(given) if given else user_cache_path("kws-bench")


def write_corpus(
    folder: Path,
    *,
    name: str,
    content_hash: str,
    clips: pd.DataFrame,
    waveforms: Iterable[Int16Array],
    noise: Int16Array,
    skipped: Sequence[str] = (),
) -> Corpus:
    """Writes a corpus folder as a whole or not at all, and opens it.

    Args:
        folder: Where it will stand; its parent is made. A folder already there is replaced.
        name: The corpus's name.
        content_hash: Hash of all that determines the clips and their splits.
        clips: One row a clip, with the columns of ``CLIP_COLUMNS``.
        waveforms: Blocks of shape (n, L), in the order of ``clips``; only one is in memory at once.
        noise: Background noise samples, shape (S,), possibly empty.
        skipped: Files left out, each with the reason.

    Raises:
        CorpusError: The blocks hold another number of clips than the table.
        NoRoomError: The disk has no room for it.
    """
    with replacing(folder, len(clips) * CLIP_SAMPLES * 2 + noise.nbytes, folder=True) as scratch:
        filled = _write_waveforms(scratch / "waveforms.npy", waveforms, len(clips))
        if filled != len(clips):
            raise CorpusError(f"corpus {name!r}: {len(clips)} clips listed but {filled} written")
        # Through memory: numpy's own way to a file does not say what went wrong.
        buffer = io.BytesIO()
        np.save(buffer, noise)
        (scratch / "noise.npy").write_bytes(buffer.getvalue())
        clips.loc[:, list(CLIP_COLUMNS)].to_csv(scratch / "clips.csv", index=False)
        about = {"name": name, "hash": content_hash, "skipped": list(skipped)}
        (scratch / "corpus.json").write_text(json.dumps(about, indent=1))
    return load_corpus(folder)


def _write_waveforms(path: Path, waveforms: Iterable[Int16Array], count: int) -> int:
    """Writes a ``.npy`` file of shape (count, L) block by block; gives the number of rows written.

    Written, not memory-mapped: pages of a map that is being filled count as this process's memory.
    """
    header = {"descr": "<i2", "fortran_order": False, "shape": (count, CLIP_SAMPLES)}
    filled = 0
    with path.open("wb") as file:
        write_array_header_1_0(file, header)
        for block in waveforms:
            if block.shape[1:] != (CLIP_SAMPLES,):
                raise ValueError(f"clips of shape {block.shape[1:]}, expected ({CLIP_SAMPLES},)")
            file.write(np.ascontiguousarray(block, dtype="<i2").data)
            filled += len(block)
    return filled


def load_corpus(folder: Path) -> Corpus:
    """Opens a folder that ``write_corpus`` made; the waveforms stay on disk."""
    about = json.loads((folder / "corpus.json").read_text())
    return Corpus(
        name=about["name"],
        hash=about["hash"],
        waveforms=np.load(folder / "waveforms.npy", mmap_mode="r"),
        clips=pd.read_csv(folder / "clips.csv", dtype=str, keep_default_na=False),
        noise=np.load(folder / "noise.npy", mmap_mode="r"),
        skipped=tuple(about["skipped"]),
    )
