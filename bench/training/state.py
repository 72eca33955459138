"""A training under way: its history, the best weights so far, and the files that it goes on from."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from bench.config import Recipe
from bench.device import CPU, placed
from bench.quality.measures import measure_named
from bench.quality.metrics import Floats
from bench.reading import read_tensors, reading
from bench.results.weights import alike, load_state, save_atomically
from compressors.chain import Chain
from models.base import KwsModel, clone_state, device_of


@dataclass(frozen=True)
class Epoch:
    """One line of the training history.

    Attributes:
        epoch: Counted from 1.
        loss: Mean over the epoch's steps, all terms.
        validation_loss: Cross-entropy.
        headline: The measure that tells epochs apart, the task's.
        validation_headline: Its value for the model after surgery, as it would be cut now.
        seconds: Of the epoch, validation included.
    """

    epoch: int
    loss: float
    validation_loss: float
    headline: str
    validation_headline: float
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """What the best epoch is least in; the loss decides between equals, and where there is no figure."""
        undefined = math.isnan(self.validation_headline)
        return math.inf if undefined else self._lower(self.validation_headline), self.validation_loss

    def reaches(self, target: float) -> bool:
        """Whether the headline is as good as a target."""
        return self._lower(self.validation_headline) <= self._lower(target)

    def _lower(self, value: float) -> float:
        """A value of the headline so turned that less is better."""
        measure = measure_named(self.headline)
        if measure is None:
            raise ValueError(f"no measure {self.headline!r}")
        return value if measure.lower_is_better else -value


@dataclass(eq=False)
class Training:
    """A training under way, with all that is needed to go on after it was interrupted.

    Attributes:
        model: In training, on whichever device; its weights change in place.
        recipe: How it is trained.
        optimizer: Of the model's parameters.
        checkpoint: File written after every epoch; the epochs' weights lie beside it.
        history: One line an epoch.
        best: The weights of the best epoch, on the CPU.
    """

    model: KwsModel
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    checkpoint: Path
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, model: KwsModel, recipe: Recipe, checkpoint: Path) -> Self:
        """Goes on from the checkpoint, or starts anew where there is none.

        Raises:
            ResultsError: The checkpoint is damaged, or another version wrote it.
        """
        training = cls(model, recipe, _optimizer(model, recipe), checkpoint)
        if checkpoint.exists():
            with going_on(checkpoint):
                training._go_on(read_tensors(checkpoint))
        return training

    def _go_on(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``add`` wrote; raises errors of any kind where that is something else."""
        self.history = [_epoch(line, number) for number, line in enumerate(state["history"], start=1)]
        if not self.history:
            raise ValueError("it is of no epoch")
        self.best = state["best"]
        load_state(deepcopy(self.model), self.best)
        load_state(self.model, state["model"])
        # Of the optimizer only what it has learnt; how it steps is the recipe's.
        parameters = list(self.model.parameters())
        moments = {number: dict(kept) for number, kept in state["optimizer"]["state"].items()}
        for number, kept in moments.items():
            likes = {"step": torch.zeros(()), "exp_avg": parameters[number], "exp_avg_sq": parameters[number]}
            if not all(alike(kept[name], like) for name, like in likes.items()):
                raise ValueError("its optimizer is of another model")
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def add(self, epoch: Epoch, scores: Floats) -> None:
        """Takes note of an epoch and writes the checkpoint, as a whole or not at all.

        Args:
            epoch: What became of it.
            scores: Probabilities of the validation clips' classes after it, shape (n, K).
        """
        now = clone_state(self.model)
        self.history.append(epoch)
        if self.best_epoch is epoch:
            self.best = now
        kept = {"weights": now, "scores": torch.from_numpy(scores)}
        epochs_folder(self.checkpoint).mkdir(exist_ok=True)
        save_atomically(kept, self._epoch_file(epoch.epoch))
        state = {
            "model": now,
            "optimizer": self._learnt(),
            "history": [asdict(line) for line in self.history],
            "best": self.best,
        }
        save_atomically(state, self.checkpoint)

    def _learnt(self) -> dict[str, Any]:
        """The optimizer's state, on the CPU: files say nothing of devices."""
        state = self.optimizer.state_dict()
        moments = {
            number: {name: tensor.cpu() for name, tensor in kept.items()}
            for number, kept in state["state"].items()
        }
        return state | {"state": moments}

    @property
    def best_epoch(self) -> Epoch:
        """The epoch with the best validation quality; the first of equals."""
        return min(self.history, key=lambda epoch: epoch.rank)

    @property
    def best_model(self) -> KwsModel:
        """The model with the weights of the best epoch, on the CPU."""
        model = deepcopy(self.model).to(CPU)
        model.load_state_dict(self.best)
        return model.eval()

    def epochs_to(self, target: float | None) -> int | None:
        """The first epoch whose headline on validation is as good as the target."""
        if target is None:
            return None
        return next((epoch.epoch for epoch in self.history if epoch.reaches(target)), None)

    def keeps(self, epoch: int) -> bool:
        """Whether the weights and scores after an epoch are there."""
        return self._epoch_file(epoch).exists()

    def weights_of(self, epoch: int) -> dict[str, Tensor]:
        """The weights after an epoch, counted from 1.

        Raises:
            ResultsError: The file that keeps them is damaged.
        """
        with self.reading_epoch(epoch):
            weights: dict[str, Tensor] = read_tensors(self._epoch_file(epoch))["weights"]
        return weights

    def scores_of(self, epoch: int) -> Floats:
        """The probabilities of the validation clips' classes after an epoch, shape (n, K).

        Raises:
            ResultsError: The file that keeps them is damaged.
        """
        with self.reading_epoch(epoch):
            scores: Floats = read_tensors(self._epoch_file(epoch))["scores"].numpy()
        return scores

    def reading_epoch(self, epoch: int) -> AbstractContextManager[None]:
        """For what is done with the weights and scores of an epoch, which may be damaged."""
        advice = "remove it, and the choice of the epoch is left out of the row"
        return reading(self._epoch_file(epoch), advice)

    def _epoch_file(self, epoch: int) -> Path:
        return epochs_folder(self.checkpoint) / f"{epoch:04}.pt"


def cut(model: KwsModel, chain: Chain) -> KwsModel:
    """A model in training as a chain cuts it, on the same device: compressors work on the CPU."""
    return chain.surgery(placed(model, CPU)).to(device_of(model))


def epochs_folder(checkpoint: Path) -> Path:
    """Where the weights and validation scores of every epoch lie until the training is done."""
    return checkpoint.with_name("epochs")


def forget(checkpoint: Path) -> None:
    """Removes what a training that is done leaves: the checkpoint, and the epochs' weights."""
    checkpoint.unlink(missing_ok=True)
    shutil.rmtree(epochs_folder(checkpoint), ignore_errors=True)


def _epoch(values: Mapping[str, Any], number: int) -> Epoch:
    """A line of the history as a checkpoint keeps it."""
    line = Epoch(**values)
    kinds = [type(value) for value in (line.epoch, line.loss, line.seconds, *line.rank)]
    if line.epoch != number or kinds != [int] + [float] * 4:
        raise ValueError(f"line {number} of its history is none")
    return line


def going_on(checkpoint: Path) -> AbstractContextManager[None]:
    """For what is done with a checkpoint, which may be damaged."""
    return reading(checkpoint, "remove it to train anew", cannot="be gone on from")


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if recipe.decoupled else torch.optim.Adam
    return kind(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
