"""One flat training loop for base and students alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.config import Recipe, seed_from
from bench.data.clips import Clips
from bench.data.features import augment, log_mel, mask_, to_float
from bench.device import CPU
from bench.quality.measures import Scored, measure_of
from bench.quality.score import predict, probabilities
from bench.training.state import Epoch, Training, cut
from bench.training.teacher import Answer, Teacher
from compressors.base import TrainStep
from compressors.chain import Chain
from compressors.taps import listening
from models.base import KwsModel, ModelOutput, device_of


class DivergedError(ArithmeticError):
    """A loss that is no longer a number."""


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
        target: Ends as soon as the headline on validation is as good as this.
        seed: Of all draws.
        report: Called after every epoch.

    Raises:
        DivergedError: The loss is not finite.
    """
    headline = measure_of(clips.task, clips.task.headline)
    for epoch in range(len(training.history) + 1, epochs + 1):
        if training.epochs_to(target) is not None:
            break
        started = time.perf_counter()
        torch.manual_seed(seed_from("epoch", seed, epoch))
        loss = _train_epoch(training, chain, teacher, clips, epoch - 1, epochs)
        if not math.isfinite(loss):
            raise DivergedError(f"the loss was {loss} in epoch {epoch}; a lower learning rate may help")
        logits = predict(cut(training.model, chain), clips.features.clean, clips.validation)
        if not logits.isfinite().all():
            raise DivergedError(
                f"the outputs were no numbers in epoch {epoch}; a lower learning rate may help"
            )
        labels, scores = clips.labels[clips.validation], probabilities(logits)
        line = Epoch(
            epoch=epoch,
            loss=loss,
            validation_loss=functional.cross_entropy(logits, torch.from_numpy(labels)).item(),
            headline=headline.name,
            validation_headline=headline.value(Scored(clips.task, labels, scores, clips.validation)),
            seconds=time.perf_counter() - started,
        )
        training.add(line, scores)
        report(line)


def _train_epoch(
    training: Training, chain: Chain, teacher: Teacher | None, clips: Clips, epochs_done: int, epochs: int
) -> float:
    """One pass; returns the mean loss of its steps."""
    model, recipe, optimizer = training.model, training.recipe, training.optimizer
    model.train()
    steps = math.ceil(len(clips.train) / recipe.batch_size)
    total = 0.0
    for step, batch in enumerate(_batches(clips, recipe, device_of(model))):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(recipe, epochs_done * steps + step, epochs * steps)
        features = mask_(batch.features, recipe, clips.task.front_end)
        taught = teacher.answer(features, batch.rows) if teacher else None
        loss = _loss(model, chain, taught, features, batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        total += loss.item()
    return total / steps


def _loss(model: KwsModel, chain: Chain, taught: Answer | None, features: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, at the weight that the chain leaves it, plus the chain's own terms."""
    with listening(model, chain.student_taps(model.spec)) as heard:
        student: ModelOutput = model(features)
    loss = (1 - chain.task_share()) * functional.cross_entropy(student.logits, labels)
    output, base_heard = taught or (None, {})
    for term in chain.loss_terms(TrainStep(model, student, output, labels, heard, base_heard)).values():
        loss = loss + term
    return loss


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
        rows: Which entries of the flat bank they are, on the CPU, shape (B,); None where they were made for
            this step.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor | None


def _batches(clips: Clips, recipe: Recipe, device: torch.device = CPU) -> Iterator[Batch]:
    """An epoch of batches on a device: all classes equally often, with replacement; drawn on the CPU."""
    labels = torch.from_numpy(clips.labels[clips.train])
    order = _balanced(labels, len(clips.task.classes))
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    bank, noise = clips.features.bank.flatten(0, 1), clips.noise.to(device)
    for drawn in torch.split(order, recipe.batch_size):
        rows = None
        if recipe.versions:
            rows = torch.randint(recipe.versions, (len(drawn),)) * len(labels) + drawn
            features = bank.index_select(0, rows).to(device).float()
        else:
            waves = to_float(clips.waveforms[clips.train[drawn.numpy()]]).to(device)
            augmented = augment(waves, recipe.augmentation, noise, generator)
            features = log_mel(augmented, clips.task.front_end)
        yield Batch(features, labels[drawn].to(device), rows)


def _balanced(labels: Tensor, classes: int) -> Tensor:
    """As many rows as there are labels, drawn with replacement, each class with equal chance."""
    draws = len(labels)
    # From the last class to the first, as a keyword and all else were always drawn.
    of_class = [(labels == number).nonzero().flatten() for number in reversed(range(classes))]
    picked = torch.stack([rows[torch.randint(len(rows), (draws,))] for rows in of_class])
    return picked.gather(0, (torch.rand(draws) * classes).long()[None])[0]
