"""What the choice of an epoch is worth: checkpoints that validation cannot tell apart, seen on test."""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.metrics import Floats, auc
from bench.score import keyword_probability, predict
from bench.statistics.paired import paired_difference
from bench.train import Clips
from bench.training import Training
from compressors.chain import Chain

MOST_CHECKPOINTS = 10


class Choice(NamedTuple):
    """How far the chosen epoch's equals lie apart, under the names of the row.

    Attributes:
        choice_spread: Greatest less least 1 - AUC on test.
        choice_checkpoints: How many were looked at, the chosen one included.
    """

    choice_spread: float
    choice_checkpoints: int


def audit_choice(training: Training, chain: Chain, clips: Clips, speakers: npt.NDArray[np.str_]) -> Choice:
    """Holds the checkpoints that are not shown to be worse on validation against each other on test.

    A checkpoint is not shown to be worse where the 95 % interval of its paired difference in 1 - AUC to the
    chosen one, over the same clips, holds 0. The best ten of them on validation are looked at.

    Args:
        training: Done; its epochs' weights and validation scores are still there.
        chain: Gives the surgery after which a checkpoint is scored.
        clips: Validation and test clips.
        speakers: Who speaks, shape (N,), of all clips.
    """
    labels, by = clips.labels[clips.validation], speakers[clips.validation]
    chosen = training.scores_of(training.best_epoch.epoch)
    found = []
    for line in sorted(training.history, key=lambda epoch: epoch.rank):
        scores = training.scores_of(line.epoch)
        difference = paired_difference(labels, chosen, scores, by, "one_minus_auc")
        if line is training.best_epoch or difference.low <= 0 <= difference.high:
            found.append(_on_test(training, line.epoch, chain, clips))
        if len(found) == MOST_CHECKPOINTS:
            break
    return Choice(max(found) - min(found), len(found))


def _on_test(training: Training, epoch: int, chain: Chain, clips: Clips) -> float:
    """1 - AUC on test of the model as it was cut after an epoch."""
    model = deepcopy(training.model)
    model.load_state_dict(training.weights_of(epoch))
    scores: Floats = keyword_probability(predict(chain.surgery(model), clips.features.clean, clips.test))
    return 1 - auc(clips.labels[clips.test], scores)
