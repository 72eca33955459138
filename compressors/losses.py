"""The loss terms of compression, as pure functions of tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional


def softened_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) between softmaxes over the last axis, the mean over all elements.

    On logits (B, K) this is dark-knowledge distillation (Hinton et al., "Distilling the Knowledge in a
    Neural Network", 2015); on attention energies (B, T') it is the transfer of attention over time. The
    mean runs over elements, not over the batch, as in the reference study.

    Args:
        student: Unnormalised scores, shape (B, n).
        teacher: Of the same shape; no gradient flows into it.
        temperature: Divides both before the softmax.

    Example:
        >>> scores = torch.tensor([[2.0, -1.0]])
        >>> softened_kl(scores, scores, temperature=2.0).item()
        0.0
    """
    log_student = functional.log_softmax(student / temperature, dim=-1)
    log_teacher = functional.log_softmax(teacher.detach() / temperature, dim=-1)
    divergence = functional.kl_div(log_student, log_teacher, reduction="none", log_target=True)
    return temperature**2 * divergence.mean()


def group_penalty(weights: Iterable[Tensor], counts: Iterable[Tensor], strength: float) -> Tensor:
    """Strength / 2 times the sum of squares: its gradient is a weight decay of that strength.

    Through Adam this is what the reference study calls pruning: an L2 weight decay of 10 on the parts to
    remove, which drives them to zero at the pace of the learning rate.

    Args:
        weights: Parameters.
        counts: Of the shapes of the weights: how many of the units to remove each entry belongs to.
        strength: Of the decay.

    Example:
        >>> weights, counts = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 0.0])
        >>> group_penalty([weights], [counts], strength=10.0).item()
        25.0
    """
    squares = [(weight.square() * count).sum() for weight, count in zip(weights, counts, strict=True)]
    return strength / 2 * torch.stack(squares).sum()
