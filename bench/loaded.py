"""A run's model for Python: it scores clips, listens to streams, and is written for other runtimes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from bench.data.audio import read_clip, stream_audio
from bench.data.corpora.base import SAMPLE_RATE_HZ
from bench.data.features import log_mel, to_float
from bench.plugins import load_plugins
from bench.quality.score import predict, probabilities
from bench.results.open import open_run
from bench.results.records import load_record
from bench.results.runs import RunFolder, load_integer
from bench.ship.export import FORMATS, export_run
from bench.stream.detection import DetectorState, detect_words
from bench.stream.run import detectors
from bench.stream.spotter import Block, StreamingSpotter, frames_back
from bench.stream.thresholds import thresholds_of
from bench.threads import threads
from models.errors import KwsError
from models.task import Task

Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32]
CHUNK_MS = 80


class Found(NamedTuple):
    """A word that was detected in a stream.

    Attributes:
        word: Which.
        time_s: End of the audio that had been heard.
        probability: Of the word at that moment.
    """

    word: str
    time_s: float
    probability: float


@dataclass(frozen=True, eq=False)
class Spotter:
    """A run's model in the form that ships; ``bench.load`` makes one.

    Attributes:
        path: The run folder, or the ``.kws`` file.
        model: Maps log-mel (B, M, T) to logits (B, K).
        task: What is asked of it: classes, clip length, front end.
        row: Its row of the table; empty for a file alone.
    """

    path: Path
    model: nn.Module
    task: Task
    row: Mapping[str, Any]

    def score(self, clips: str | Path | Samples | Iterable[str | Path]) -> pd.DataFrame:
        """The probability of each class for clips.

        Args:
            clips: Recordings, one or several, of which longer ones give their loudest stretch of a clip's
                length; or samples at 16 kHz, of a clip's length, shape (L,) or (B, L), int16 or float32
                within [-1, 1].

        Returns:
            A row a clip, a column a class; rows of recordings are named as these are.

        Raises:
            KwsError: A recording cannot be read, or samples are of another length.
        """
        names: list[str] | None = None
        if not isinstance(clips, np.ndarray):
            paths = [clips] if isinstance(clips, str | Path) else list(clips)
            names = [str(path) for path in paths]
            clips = np.stack([read_clip(Path(path), self.task.clip_samples) for path in paths])
        waves = np.atleast_2d(clips)
        if waves.shape[1:] != (self.task.clip_samples,) or waves.dtype not in (np.int16, np.float32):
            raise KwsError(
                f"samples of {clips.dtype} and shape {clips.shape}; give int16 or float32 of (B, "
                f"{self.task.clip_samples}), or the paths of recordings"
            )
        floats = to_float(waves) if waves.dtype == np.int16 else torch.from_numpy(waves)
        with threads(1):
            mel = log_mel(floats, self.task.front_end)
            # One clip a call, as a device would: scales of some forms depend on the whole call.
            found = probabilities(predict(self.model, mel, np.arange(len(mel)), 1))
        return pd.DataFrame(found, columns=list(self.task.classes), index=names)

    def stream(
        self,
        audio: str | Path | Iterable[Block],
        *,
        threshold: float | None = None,
        max_buffer_len: int | None = None,
    ) -> Iterator[Found]:
        """Detections in audio of any length, as they come, in constant memory.

        Args:
            audio: A recording of any format, rate and length; ``-``: raw PCM on standard input; or blocks of
                samples at 16 kHz, int16 or float32, of any lengths. Samples in one array are blocks too:
                ``[samples]``.
            threshold: Of each word's probability; None: those that the run chose on validation, see
                ``bench stream``.
            max_buffer_len: Model frames that attention or a mean looks back on.

        Raises:
            KwsError: The audio cannot be read.
        """
        frames = frames_back(self.model, max_buffer_len)
        run = RunFolder(self.path if self.path.is_dir() else self.path.absolute().parent)
        hows = detectors(self.task, thresholds_of(run, self.task, frames, threshold)[0])
        spotter = StreamingSpotter(self.model, frames, self.task)
        states = [DetectorState()] * len(hows)
        if isinstance(audio, str | Path):
            audio = stream_audio(audio, CHUNK_MS * SAMPLE_RATE_HZ // 1000)
        for moments in spotter.follow(audio):
            detections, states = detect_words(moments, hows, states)
            yield from (Found(self.task.needed[one.word], *one.frame) for one in detections)

    def export(self, format: str = "kws", out: str | Path | None = None) -> list[Path]:
        """Writes the model for other runtimes.

        Args:
            format: ``kws``, ``onnx`` or ``c``.
            out: Folder; None: ``export/FORMAT`` in the run folder.

        Returns:
            The files written.

        Raises:
            KwsError: It has no such form; the message says which chain would.
        """
        if format not in FORMATS:
            raise KwsError(f"no such format {format!r}; there is: {', '.join(FORMATS)}")
        return export_run(self.path, format, None if out is None else Path(out))


def load(run: str | Path) -> Spotter:
    """The model of a run, as it ships.

    Args:
        run: A folder of ``out/runs``, a file in it, or a ``.kws`` file.

    Raises:
        KwsError: There is none, or it is damaged.

    Examples:
        >>> load("nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        models.errors.ResultsError: no run at nowhere: give a folder such as out/runs/<run id>...
    """
    load_plugins()
    path = Path(run)
    if path.suffix == ".kws" and path.is_file() and not (path.absolute().parent / "config.json").exists():
        integer = load_integer(path)
        return Spotter(path, integer, integer.integer.task, {})
    folder, model = open_run(path)
    record = load_record(folder.path)
    return Spotter(folder.path, model, folder.task(), record.columns() if record else {})
