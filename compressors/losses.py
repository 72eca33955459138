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

    Examples:
        >>> scores = torch.tensor([[2.0, -1.0]])
        >>> softened_kl(scores, scores, temperature=2.0).item()
        0.0
    """
    log_student = functional.log_softmax(student / temperature, dim=-1)
    log_teacher = functional.log_softmax(teacher.detach() / temperature, dim=-1)
    divergence = functional.kl_div(log_student, log_teacher, reduction="none", log_target=True)
    return temperature**2 * divergence.mean()


# Of the longest row of a clip: what is shorter stays as short in proportion, for a frame that is next to
# nothing has no direction to learn, but a gradient without bounds.
SHORTEST = 1e-3


def frame_similarity(frames: Tensor) -> Tensor:
    """How alike the frames of each clip are: inner products of all pairs, rows of unit length.

    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", 2019, which compares the clips of a
    batch in this way. Here it is the frames of a clip, so that the batch does not matter; the diagonal holds
    what Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017, transfer: each frame's energy.

    Args:
        frames: Shape (B, T', W).

    Returns:
        Shape (B, T', T'), each row of length 1, or less where a frame is next to zero.

    Examples:
        >>> frame_similarity(torch.tensor([[[3.0, 0.0], [4.0, 0.0]]]))
        tensor([[[0.6000, 0.8000],
                 [0.6000, 0.8000]]])
    """
    products = torch.bmm(frames, frames.transpose(1, 2))
    lengths = products.norm(dim=2, keepdim=True)
    least = (SHORTEST * lengths.detach().amax(1, keepdim=True)).clamp_min(1e-12)
    return products / torch.maximum(lengths, least)


def similarity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distances between rows of similarities, the mean over all frames: 0 to 4.

    Tung and Mori's mean runs over the entries of a row too. Over rows alone the term is of the size of a
    cross-entropy, whatever the number of frames.

    Args:
        student: Shape (B, T', T').
        teacher: Of the same shape; no gradient flows into it.
    """
    return (student - teacher.detach()).square().sum(2).mean()


def group_penalty(weights: Iterable[Tensor], counts: Iterable[Tensor], strength: float) -> Tensor:
    """Strength / 2 times the sum of squares: its gradient is a weight decay of that strength.

    Through Adam this is what the reference study calls pruning: an L2 weight decay of 10 on the parts to
    remove, which drives them to zero at the pace of the learning rate.

    Args:
        weights: Parameters.
        counts: Of the shapes of the weights: how many of the units to remove each entry belongs to.
        strength: Of the decay.

    Examples:
        >>> weights, counts = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 0.0])
        >>> group_penalty([weights], [counts], strength=10.0).item()
        25.0
    """
    squares = [(weight.square() * count).sum() for weight, count in zip(weights, counts, strict=True)]
    return strength / 2 * torch.stack(squares).sum()
