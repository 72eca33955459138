"""The clips of a run: its corpus, ready to train on and to score."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.config import RunConfig
from bench.data.corpora import open_corpus
from bench.data.corpora.base import SPLITS, Corpus
from bench.data.features import Features, features_of, to_float
from bench.reading import is_text, reading
from bench.results.records import load_record
from bench.results.runs import RunFolder
from models.errors import ResultsError
from models.task import LEFT_OUT, KeywordTask, Task

CALIBRATION_CLIPS = 512


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of a run, ready to train on.

    Attributes:
        features: Log-mel of all clips, and the bank of augmented training clips.
        waveforms: int16, shape (N, L); read only where a recipe augments in every step.
        noise: Background noise, shape (S,).
        labels: Their classes, shape (N,).
        train: Rows of the training clips.
        validation: Rows of the validation clips.
        test: Rows of the test clips.
        task: What is asked of them; clips that it has no use for are in none of the splits.
    """

    features: Features
    waveforms: npt.NDArray[np.int16]
    noise: Tensor
    labels: npt.NDArray[np.int64]
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    task: Task = field(default_factory=KeywordTask)


class Data:
    """A corpus with one task; features are made when the first training asks for them."""

    def __init__(self, corpus: Corpus, config: RunConfig) -> None:
        self.corpus = corpus
        self._config = config

    @cached_property
    def clips(self) -> Clips:
        """All that training and scoring read."""
        corpus, config = self.corpus, self._config
        labels = corpus.labels(config.task)
        rows = {split: corpus.indices(split) for split in SPLITS}
        return Clips(
            features=features_of(corpus, config.recipe, config.seed, config.task.front_end),
            waveforms=corpus.waveforms,
            noise=to_float(corpus.noise),
            labels=labels,
            **{split: found[labels[found] != LEFT_OUT] for split, found in rows.items()},
            task=config.task,
        )

    @cached_property
    def speakers(self) -> npt.NDArray[np.str_]:
        """Who speaks, shape (N,), of all clips."""
        return self.corpus.clips["speaker"].to_numpy().astype(str)

    def calibration(self) -> Tensor:
        """Log-mel (N, M, T) of training clips, spread over all of them."""
        clips = self.clips
        return clips.features.clean[clips.train[:: max(1, len(clips.train) // CALIBRATION_CLIPS)]]


def corpus_of(run: RunFolder, data: str | None) -> tuple[Corpus, Task]:
    """The corpus and the task that a run was trained on.

    Args:
        run: Its folder.
        data: Where the corpus lies now; None for where it lay.

    Raises:
        ResultsError: The corpus there now holds other clips, so its test speakers may have been trained on.
    """
    with reading(run.config_file):
        about = run.config()["run"]
        where, split = about["data"], about.get("split", "speaker")
        if not (is_text(where, "surrogateescape") and is_text(split)):
            raise ValueError("data or split of its run is no text")
    task = run.task()
    corpus = open_corpus(data or where, task, split=split)
    record = load_record(run.path)
    if record is not None and record.corpus_hash != corpus.hash:
        raise ResultsError(
            f"{data or where} does not hold the clips and splits that {run.run_id} was trained on; "
            "give the same corpus with --data"
        )
    return corpus, task
