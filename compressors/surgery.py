"""Cutting units out of a model for good: smaller layers, no dead columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from models.base import KwsModel, Member, WidthGroup, clone_state
from models.errors import ModelError
from models.registry import build


def unit_index(units: Tensor, size: int, member: Member) -> Tensor:
    """Where units stand along ``member.dim`` of their parameter.

    Args:
        units: Unit numbers, ascending, shape (n,).
        size: Units in the group.
        member: The layout, (repeats, size, block).

    Returns:
        Indices, ascending, shape (repeats * n * block,).

    Example:
        >>> unit_index(torch.tensor([1]), 2, Member("weight", 0, repeats=3)).tolist()
        [1, 3, 5]
        >>> unit_index(torch.tensor([1]), 2, Member("weight", 0, block=3)).tolist()
        [3, 4, 5]
    """
    grid = torch.arange(member.repeats * size * member.block).view(member.repeats, size, member.block)
    return grid[:, units].flatten()


def unit_counts(model: KwsModel, group: WidthGroup, units: Tensor) -> dict[str, Tensor]:
    """How many of some units of a group each entry of a parameter belongs to, by the parameter's name."""
    counts: dict[str, Tensor] = {}
    for member, weight in _trained(model, group):
        count = counts.setdefault(member.parameter, torch.zeros_like(weight))
        index = unit_index(units, group.size, member)
        count.index_add_(member.dim, index, torch.ones_like(count.index_select(member.dim, index)))
    return counts


def unit_norms(model: KwsModel, group: WidthGroup) -> Tensor:
    """The L2 norm of all parameters that belong to each unit of a group, shape (size,)."""
    total = torch.zeros(group.size)
    for member, weight in _trained(model, group):
        rows = weight.movedim(member.dim, 0)
        total += rows.reshape(member.repeats, group.size, -1).square().sum((0, 2))
    return total.sqrt()


def zero_units(model: KwsModel, group: WidthGroup, units: Tensor) -> None:
    """Sets all that belongs to some units to zero, in place: what pruning them amounts to.

    Buffers too: a unit whose running mean is not zero would still say something.
    """
    tensors = model.state_dict()
    with torch.no_grad():
        for member in group.members:
            tensors[member.parameter].index_fill_(member.dim, unit_index(units, group.size, member), 0)


def _trained(model: KwsModel, group: WidthGroup) -> list[tuple[Member, Tensor]]:
    """The members of a group that are parameters, without gradients: statistics have no weight to fade."""
    tensors, buffers = model.state_dict(), dict(model.named_buffers())
    return [
        (member, tensors[member.parameter]) for member in group.members if member.parameter not in buffers
    ]


def narrow(model: KwsModel, keep: Mapping[str, Tensor]) -> KwsModel:
    """A new, smaller model that holds only the units to keep; the given model is left alone.

    Args:
        model: A float model with width groups.
        keep: Units to keep by group name, ascending; a group that is not named keeps all.

    Returns:
        A model of the same family with a narrower specification, in evaluation mode. It computes what
        the wide model computes once the other units are zero.

    Raises:
        ModelError: Groups that share a width (the layers of a GRU) keep different numbers of units, or
            the groups leave out something that the units stand in.
    """
    weights = clone_state(model)
    fields: dict[str, Any] = {}
    for group in model.width_groups():
        units = keep.get(group.name, torch.arange(group.size))
        if fields.setdefault(group.field, len(units)) != len(units):
            raise ModelError(f"groups that share {group.field!r} must keep equally many units")
        for member in group.members:
            index = unit_index(units, group.size, member)
            weights[member.parameter] = weights[member.parameter].index_select(member.dim, index)
    # Building draws from the global generator; a copy of a model must not move it.
    with torch.random.fork_rng(devices=[]):
        small = build(replace(model.spec, **fields))
    for name, tensor in small.state_dict().items():
        if weights[name].shape != tensor.shape:
            raise ModelError(
                f"{type(model).__name__}: {name} is {tuple(weights[name].shape)} after the cut and must be "
                f"{tuple(tensor.shape)}; its width groups must name it, as they name all that units stand in"
            )
    # What a compressor keeps in buffers of its own stays behind.
    small.load_state_dict({name: weights[name] for name in small.state_dict()})
    return small.eval()
