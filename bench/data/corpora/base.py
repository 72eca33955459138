"""The one form every corpus takes: int16 clips in one memory-mapped array, and a table about them."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.format import write_array_header_1_0
from platformdirs import user_cache_path

from bench.files import replacing
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ as SAMPLE_RATE_HZ
from models.numbers import shortest
from models.task import MOST_CLIP_S, SILENCE, Task

SPLITS = ("train", "validation", "test")
# A clip of both: work without a test set reports what it chose its epoch on.
VALIDATION_AND_TEST = "validation+test"
SKIPPED_SHOWN = 5
CLIP_COLUMNS = ("word", "speaker", "split", "source")
# Recorded speech in which no word is named: it is other words, and nobody can ask for it.
SPEECH = "_speech_"
# Names of what libsndfile reads; files with another name, or none, are known by what they hold.
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf"),
    *(".w64", ".rf64", ".sph", ".nist", ".voc", ".avr", ".8svx", ".svx", ".paf", ".pvf", ".sds", ".wve"),
)

Int16Array = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Clips of one length, 16 kHz, mono, that all runs on the same data share.

    Attributes:
        name: What the user called it: ``synthetic``, ``speech-commands`` or the folder's name.
        hash: Content hash; two corpora with the same hash hold the same clips and splits.
        waveforms: Memory-mapped int16 samples, shape (N, L).
        clips: One row a clip, in the order of ``waveforms``: word, speaker, split, source. A clip that
            stands in two splits names both, as in ``validation+test``.
        noise: Background noise, int16, one long row of samples; empty where there is none.
        skipped: Files that could not be read, each with the reason.
        notes: What else is to be known about it, a line each.
        lengths_s: The median and the longest of the recordings, or of the stretches of them, that the clips
            were cut from; None where that is not known.
    """

    name: str
    hash: str
    waveforms: Int16Array
    clips: pd.DataFrame
    noise: Int16Array
    skipped: tuple[str, ...]
    notes: tuple[str, ...] = ()
    lengths_s: tuple[float, float] | None = None

    @property
    def words(self) -> list[str]:
        """The distinct words, sorted."""
        return sorted(self.clips["word"].unique())

    def about(self) -> list[str]:
        """What it holds, and which files could not be read, in a few lines."""
        words, speakers = self.clips["word"].nunique(), self.clips["speaker"].nunique()
        counts = f"{len(self.clips):,} clips, {words} words, {speakers} speakers"
        lines = [f"{self.name}: {counts}, {len(self.skipped)} files skipped"]
        lines += [f"  {note}" for note in (*self._too_long(), *self.notes)]
        lines += [f"  skipped {line}" for line in self.skipped[:SKIPPED_SHOWN]]
        hidden = len(self.skipped) - SKIPPED_SHOWN
        return [*lines, f"  and {hidden} more"] if hidden > 0 else lines

    def _too_long(self) -> list[str]:
        """What to do where most recordings are longer than a clip, one line; else nothing."""
        clip_s = self.clip_samples / SAMPLE_RATE_HZ
        median_s, _ = self.lengths_s or (0.0, 0.0)
        if median_s <= clip_s:
            return []
        longer_s = min(math.ceil(2 * median_s) / 2, MOST_CLIP_S)
        remedy = f"; --clip-s {shortest(longer_s)} takes more of them" if longer_s > clip_s else ""
        return [
            f"half of the recordings last {median_s:.2f} s or more, and of each only the loudest "
            f"{shortest(clip_s)} s is a clip{remedy}"
        ]

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
        there = [word for word in self.words if word not in (SPEECH, SILENCE)]
        for word in task.needed:
            if word not in there:
                raise CorpusError(unknown_keyword(word, there))
        return task.labels(*(self.clips[name].to_list() for name in ("word", "split", "source")))


def stands_in(clips: pd.DataFrame, split: str) -> npt.NDArray[np.bool_]:
    """Which rows of a table of clips stand in a split, shape (N,).

    Examples:
        >>> stands_in(pd.DataFrame({"split": ["train", "validation+test"]}), "test").tolist()
        [False, True]
    """
    names = [name for name in clips["split"].unique() if split in str(name).split("+")]
    return clips["split"].isin(names).to_numpy()


def derived_hash(content_hash: str, what: str) -> str:
    """The hash of a corpus that is made out of another, as ``what`` says."""
    return hashlib.sha256(f"{content_hash} {what}".encode()).hexdigest()


def of_length(content_hash: str, clip_samples: int) -> str:
    """The hash of the same recordings cut to a length: as it is for one second, which all once were."""
    if clip_samples == SAMPLE_RATE_HZ:
        return content_hash
    return derived_hash(content_hash, f"clips of {clip_samples} samples")


def unknown_keyword(keyword: str, words: Sequence[str]) -> str:
    """One line that names the nearest words that do exist."""
    if not words:
        return f"no clips of the keyword {keyword!r}, nor of any other word; only speech without one"
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
    notes: Sequence[str] = (),
    lengths_s: Sequence[float] = (),
    clip_samples: int = SAMPLE_RATE_HZ,
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
        notes: What else is to be known about it, a line each.
        lengths_s: Of the recordings that the clips were cut from, where that is known; read once the
            waveforms are written.
        clip_samples: Samples L of a clip.

    Raises:
        CorpusError: The blocks hold another number of clips than the table.
        NoRoomError: The disk has no room for it.
    """
    with replacing(folder, len(clips) * clip_samples * 2 + noise.nbytes, folder=True) as scratch:
        filled = _write_waveforms(scratch / "waveforms.npy", waveforms, (len(clips), clip_samples))
        if filled != len(clips):
            raise CorpusError(f"corpus {name!r}: {len(clips)} clips listed but {filled} written")
        # Through memory: numpy's own way to a file does not say what went wrong.
        buffer = io.BytesIO()
        np.save(buffer, noise)
        (scratch / "noise.npy").write_bytes(buffer.getvalue())
        clips.loc[:, list(CLIP_COLUMNS)].to_csv(scratch / "clips.csv", index=False)
        about: dict[str, Any] = {"name": name, "hash": content_hash, "skipped": list(skipped)}
        about |= {"notes": list(notes)} if notes else {}
        about |= {"lengths_s": [float(np.median(lengths_s)), max(lengths_s)]} if lengths_s else {}
        (scratch / "corpus.json").write_text(json.dumps(about, indent=1))
    return load_corpus(folder)


def _write_waveforms(path: Path, waveforms: Iterable[Int16Array], shape: tuple[int, int]) -> int:
    """Writes a ``.npy`` file of shape (N, L) block by block; gives the number of rows written.

    Written, not memory-mapped: pages of a map that is being filled count as this process's memory.
    """
    header = {"descr": "<i2", "fortran_order": False, "shape": shape}
    filled = 0
    with path.open("wb") as file:
        write_array_header_1_0(file, header)
        for block in waveforms:
            if block.shape[1:] != shape[1:]:
                raise ValueError(f"clips of shape {block.shape[1:]}, expected {shape[1:]}")
            file.write(np.ascontiguousarray(block, dtype="<i2").data)
            filled += len(block)
    return filled


def append_samples(path: Path, blocks: Iterable[Int16Array]) -> int:
    """Adds blocks of samples to a raw file; where they fail half-way, it stays as it was.

    Written, not memory-mapped, for the same reason.

    Returns:
        The number of samples added.
    """
    with path.open("ab") as file:
        before = file.tell()
        try:
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype="<i2").data)
        except BaseException:
            file.truncate(before)
            raise
        return (file.tell() - before) // 2


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
        notes=tuple(about.get("notes", ())),
        lengths_s=tuple(about["lengths_s"]) if "lengths_s" in about else None,
    )
