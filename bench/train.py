"""One flat training loop for base and students alike."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.config import Recipe, seed_from
from bench.features import Features, augment, log_mel, mask, to_float
from bench.metrics import au_fa_fr
from bench.score import keyword_probability, predict
from bench.teacher import Teacher
from compressors.base import TrainStep
from compressors.chain import Chain
from models.base import KwsModel, ModelOutput, clone_state


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of a run, ready to train on.

    Attributes:
        features: Log-mel of all clips, and the bank of augmented training clips.
        waveforms: int16, shape (N, L); read only where a recipe augments in every step.
        noise: Background noise, shape (S,).
        labels: 1 for the keyword, shape (N,).
        train: Rows of the training clips.
        validation: Rows of the validation clips.
        test: Rows of the test clips.
    """

    features: Features
    waveforms: npt.NDArray[np.int16]
    noise: Tensor
    labels: npt.NDArray[np.int64]
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """One line of the training history.

    Attributes:
        epoch: Counted from 1.
        loss: Mean over the epoch's steps, all terms.
        validation_loss: Cross-entropy.
        validation_au_fa_fr: Of the model after surgery, as it would be cut now.
        seconds: Of the epoch, validation included.
    """

    epoch: int
    loss: float
    validation_loss: float
    validation_au_fa_fr: float
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """What the best epoch is least in; the loss decides between equal areas."""
        return self.validation_au_fa_fr, self.validation_loss


class DivergedError(ArithmeticError):
    """A loss that is no longer a number."""


@dataclass(eq=False)
class Training:
    """A training under way, with all that is needed to go on after it was interrupted.

    Attributes:
        model: In training; its weights change in place.
        recipe: How it is trained.
        optimizer: Of the model's parameters.
        checkpoint: File written after every epoch.
        history: One line an epoch.
        best: The weights of the best epoch.
    """

    model: KwsModel
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    checkpoint: Path
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, model: KwsModel, recipe: Recipe, checkpoint: Path) -> Self:
        """Goes on from the checkpoint, or starts anew where there is none."""
        training = cls(model, recipe, _optimizer(model, recipe), checkpoint)
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            model.load_state_dict(state["model"])
            training.optimizer.load_state_dict(state["optimizer"])
            training.history = [Epoch(**epoch) for epoch in state["history"]]
            training.best = state["best"]
        return training

    def add(self, epoch: Epoch) -> None:
        """Takes note of an epoch and writes the checkpoint, as a whole or not at all."""
        self.history.append(epoch)
        if self.best_epoch is epoch:
            self.best = clone_state(self.model)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(line) for line in self.history],
            "best": self.best,
        }
        save_atomically(state, self.checkpoint)

    @property
    def best_epoch(self) -> Epoch:
        """The epoch with the best validation quality; the first of equals."""
        return min(self.history, key=lambda epoch: epoch.rank)

    @property
    def best_model(self) -> KwsModel:
        """The model with the weights of the best epoch."""
        model = deepcopy(self.model)
        model.load_state_dict(self.best)
        return model.eval()

    def epochs_to(self, target: float | None) -> int | None:
        """The first epoch whose au_fa_fr on validation is at most the target."""
        if target is None:
            return None
        return next((e.epoch for e in self.history if e.validation_au_fa_fr <= target), None)


def save_atomically(value: Any, path: Path) -> None:
    """torch.save to a file beside it, then a rename."""
    handle, scratch = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    # Through a file object: given a name, torch writes that name into the file, many times over.
    with os.fdopen(handle, "wb") as file:
        torch.save(value, file)
    os.replace(scratch, path)


Report = Callable[[Epoch], None]


def train(
    training: Training,
    chain: Chain,
    teacher: Teacher | None,
    clips: Clips,
    *,
    epochs: int,
    target: float | None,
    seed: int,
    report: Report,
) -> None:
    """Trains, up to so many epochs in all, and keeps the weights of the best.

    Every draw of an epoch depends on the seed and the epoch's number alone, so a training that goes on
    from its checkpoint ends as one that was never interrupted.

    Args:
        training: New or resumed.
        chain: Gives the loss terms, and the surgery after which quality is measured.
        teacher: Answers for the trained base, or None where the chain needs none.
        clips: Training and validation clips.
        epochs: At most so many.
        target: Ends as soon as au_fa_fr on validation is at most this.
        seed: Of all draws.
        report: Called after every epoch.

    Raises:
        DivergedError: The loss is not finite.
    """
    for epoch in range(len(training.history) + 1, epochs + 1):
        if training.epochs_to(target) is not None:
            break
        started = time.perf_counter()
        torch.manual_seed(seed_from("epoch", seed, epoch))
        loss = _train_epoch(training, chain, teacher, clips, epoch - 1, epochs)
        if not math.isfinite(loss):
            raise DivergedError(f"the loss was {loss} in epoch {epoch}; a lower learning rate may help")
        logits = predict(chain.surgery(training.model), clips.features.clean, clips.validation)
        labels = clips.labels[clips.validation]
        line = Epoch(
            epoch=epoch,
            loss=loss,
            validation_loss=functional.cross_entropy(logits, torch.from_numpy(labels)).item(),
            validation_au_fa_fr=au_fa_fr(labels, keyword_probability(logits)),
            seconds=time.perf_counter() - started,
        )
        training.add(line)
        report(line)


def _train_epoch(
    training: Training, chain: Chain, teacher: Teacher | None, clips: Clips, epochs_done: int, epochs: int
) -> float:
    """One pass; returns the mean loss of its steps."""
    model, recipe, optimizer = training.model, training.recipe, training.optimizer
    model.train()
    steps = math.ceil(len(clips.train) / recipe.batch_size)
    total = 0.0
    for step, batch in enumerate(_batches(clips, recipe)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(recipe, epochs_done * steps + step, epochs * steps)
        features = mask(batch.features, recipe)
        taught = teacher.answer(features, batch.rows) if teacher else None
        loss = _loss(model, chain, taught, features, batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        total += loss.item()
    return total / steps


def _loss(
    model: KwsModel, chain: Chain, taught: ModelOutput | None, features: Tensor, labels: Tensor
) -> Tensor:
    """Cross-entropy, at the weight that the chain leaves it, plus the chain's own terms."""
    student: ModelOutput = model(features)
    loss = (1 - chain.task_share()) * functional.cross_entropy(student.logits, labels)
    for term in chain.loss_terms(TrainStep(model, student, taught, labels)).values():
        loss = loss + term
    return loss


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if recipe.decoupled else torch.optim.Adam
    return kind(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def _schedule(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate's factor: a linear warm-up over a tenth, then a cosine down to zero."""
    if not recipe.cosine:
        return 1.0
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Batch(NamedTuple):
    """What one step draws.

    Attributes:
        features: Log-mel without masks, shape (B, M, T).
        labels: Shape (B,).
        rows: Which entries of the flat bank they are, shape (B,); None where they were made for this step.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor | None


def _batches(clips: Clips, recipe: Recipe) -> Iterator[Batch]:
    """An epoch of batches: both classes equally often, with replacement."""
    labels = torch.from_numpy(clips.labels[clips.train])
    order = _balanced(labels)
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    bank = clips.features.bank.flatten(0, 1)
    for drawn in torch.split(order, recipe.batch_size):
        rows = None
        if recipe.versions:
            rows = torch.randint(recipe.versions, (len(drawn),)) * len(labels) + drawn
            features = bank.index_select(0, rows).float()
        else:
            waves = to_float(clips.waveforms[clips.train[drawn.numpy()]])
            features = log_mel(augment(waves, recipe.augmentation, clips.noise, generator))
        yield Batch(features, labels[drawn], rows)


def _balanced(labels: Tensor) -> Tensor:
    """As many rows as there are labels, drawn with replacement, each class with equal chance."""
    positive, negative = labels.nonzero().flatten(), (labels == 0).nonzero().flatten()
    draws = len(labels)
    pick_positive = positive[torch.randint(len(positive), (draws,))]
    pick_negative = negative[torch.randint(len(negative), (draws,))]
    return torch.where(torch.rand(draws) < 0.5, pick_positive, pick_negative)
