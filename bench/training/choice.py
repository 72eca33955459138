"""What the choice of an epoch is worth: checkpoints that validation cannot tell apart, seen on test."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.data.clips import Clips
from bench.quality.measures import Scored, measure_of
from bench.quality.metrics import Floats
from bench.quality.paired import paired_difference
from bench.quality.score import predict, probabilities
from bench.results.weights import load_state
from bench.training.state import Training, cut
from compressors.chain import Chain

MOST_CHECKPOINTS = 10
# A verdict for every epoch: fewer resamples than for a table.
AUDIT_DRAWS = 200


class Choice(NamedTuple):
    """How far the chosen epoch's equals lie apart, under the names of the row.

    Attributes:
        choice_spread: Greatest less least figure on test, of the measure that rows are tested by.
        choice_checkpoints: How many were looked at, the chosen one included.

    Both are empty (NaN and None) where the weights of an epoch are no longer there.
    """

    choice_spread: float
    choice_checkpoints: int | None


def audit_choice(training: Training, chain: Chain, clips: Clips, speakers: npt.NDArray[np.str_]) -> Choice:
    """Holds the checkpoints that are not shown to be worse on validation against each other on test.

    A checkpoint is not shown to be worse where the 95 % interval of its paired difference to the chosen one
    in what rows are tested by, over the same clips, holds 0, or where there is no interval (clips of one
    speaker only). The best ten of them on validation are looked at.

    Args:
        training: Done. Where the file of an epoch is lacking (an older version began the training and kept
            none, or someone removed it) nothing can be said.
        chain: Gives the surgery after which a checkpoint is scored.
        clips: Validation and test clips.
        speakers: Who speaks, shape (N,), of all clips.

    Raises:
        ResultsError: The file of an epoch is damaged.
    """
    if not all(training.keeps(line.epoch) for line in training.history):
        return Choice(math.nan, None)
    task, labels, by = clips.task, clips.labels[clips.validation], speakers[clips.validation]
    shape = (len(labels), len(task.classes))
    chosen = _scores_of(training, training.best_epoch.epoch, shape)
    found = []
    for line in sorted(training.history, key=lambda epoch: epoch.rank):
        scores = _scores_of(training, line.epoch, shape)
        difference = paired_difference(labels, chosen, scores, by, task.tested, task=task, draws=AUDIT_DRAWS)
        # An interval of NaN shows nothing, so this is not the same as low <= 0 <= high.
        shown = difference.low > 0 or difference.high < 0
        if line is training.best_epoch or not shown:
            found.append(_on_test(training, line.epoch, chain, clips, speakers))
        if len(found) == MOST_CHECKPOINTS:
            break
    return Choice(max(found) - min(found), len(found))


def _scores_of(training: Training, epoch: int, shape: tuple[int, int]) -> Floats:
    """The probabilities of the validation clips after an epoch, clips by classes."""
    scores = training.scores_of(epoch)
    with training.reading_epoch(epoch):
        if scores.shape != shape or not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError("its scores are not those of the validation clips")
    return scores


def _on_test(
    training: Training, epoch: int, chain: Chain, clips: Clips, speakers: npt.NDArray[np.str_]
) -> float:
    """What rows are tested by, on test, of the model as it was cut after an epoch."""
    model = deepcopy(training.model)
    with training.reading_epoch(epoch):
        load_state(model, training.weights_of(epoch))
        smaller = cut(model, chain)
    scores = probabilities(predict(smaller, clips.features.clean, clips.test))
    scored = Scored(clips.task, clips.labels[clips.test], scores, speakers[clips.test])
    return measure_of(clips.task, clips.task.tested).value(scored)
