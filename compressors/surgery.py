"""Cutting units out of a model for good: smaller layers, no dead columns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.base import KwsModel
from models.errors import ModelError
from models.factored import built, without_useless
from models.graph.units import NOBODY, Field, Member, WidthGroup, width_groups


def unit_index(units: Tensor, member: Member) -> Tensor:
    """Where units stand along ``member.dim`` of their parameter.

    Args:
        units: Unit numbers, shape (n,).
        member: Who stands where.

    Returns:
        Indices, ascending.

    Examples:
        >>> unit_index(torch.tensor([1]), Member("weight", 0, (0, 1, 0, 1, -1))).tolist()
        [1, 3]
    """
    return torch.isin(torch.tensor(member.units), units).nonzero().flatten()


def unit_counts(model: KwsModel, group: WidthGroup, units: Tensor) -> dict[str, Tensor]:
    """How many of some units of a group each entry of a parameter belongs to, by the parameter's name."""
    counts: dict[str, Tensor] = {}
    for member, weight in _trained(model, group):
        count = counts.setdefault(member.name, torch.zeros_like(weight))
        index = unit_index(units, member)
        count.index_add_(member.dim, index, torch.ones_like(count.index_select(member.dim, index)))
    return counts


def unit_norms(model: KwsModel, group: WidthGroup) -> Tensor:
    """The L2 norm of everything trained that belongs to each unit of a group, shape (size,)."""
    total = torch.zeros(group.size)
    for member, weight in _trained(model, group):
        units = torch.tensor(member.units)
        rows = weight.movedim(member.dim, 0).flatten(1) if weight.dim() > 1 else weight.unsqueeze(1)
        total.index_add_(0, units[units != NOBODY], rows[units != NOBODY].square().sum(1))
    return total.sqrt()


def zero_units(model: KwsModel, group: WidthGroup, units: Tensor) -> None:
    """Sets all that belongs to some units to zero, in place: what pruning them amounts to.

    Buffers too: a unit whose running mean is not zero would still say something.
    """
    tensors = model.state_dict()
    for member in group.members:
        tensors[member.name].index_fill_(member.dim, unit_index(units, member), 0)


def _trained(model: KwsModel, group: WidthGroup) -> list[tuple[Member, Tensor]]:
    """The places of a group in parameters, as plain tensors; the statistics of a norm are buffers."""
    parameters = dict(model.named_parameters())
    return [(one, parameters[one.name].detach()) for one in group.members if one.name in parameters]


def narrow(model: KwsModel, keep: Mapping[str, Tensor]) -> KwsModel:
    """A new, smaller model that holds only the units to keep; the given model is left alone.

    Args:
        model: A float model with width groups.
        keep: Units to keep by group name; a group that is not named keeps all.

    Returns:
        A model of the same family with a narrower specification, in evaluation mode. It computes what
        the wide model computes once the other units are zero; factors of layers, which after the cut hold
        no fewer numbers than their product, are multiplied out.

    Raises:
        ModelError: Groups that share a width (the layers of a GRU) keep different numbers of units, or
            several fields together do not narrow the model as each alone does.
    """
    widths: dict[Field, int] = {}
    stays: dict[tuple[str, int], Tensor] = {}
    for group in width_groups(model):
        units = keep.get(group.name, torch.arange(group.size))
        if widths.setdefault(group.field, len(units)) != len(units):
            raise ModelError(f"groups that share '{group.field}' must keep equally many units")
        for member in group.members:
            own = torch.isin(torch.tensor(member.units), torch.cat([units, torch.tensor([NOBODY])]))
            place = (member.name, member.dim)
            stays[place] = stays.get(place, torch.ones_like(own)) & own
    spec = model.spec.written_out()
    for field, width in widths.items():
        spec = field.set(spec, width)
    # Building draws from the global generator; a copy of a model must not move it.
    with torch.random.fork_rng(devices=[]):
        small = built(type(model), spec, check=False)
    weights = model.state_dict()
    for (name, dim), own in stays.items():
        weights[name] = weights[name].index_select(dim, own.nonzero().flatten())
    for name, tensor in small.state_dict().items():
        if weights[name].shape != tensor.shape:
            raise ModelError(
                f"{type(model).__name__}: {name} is {tuple(weights[name].shape)} after the cut, and with "
                f"{', '.join(f'{field}={width}' for field, width in widths.items())} it is built as "
                f"{tuple(tensor.shape)}"
            )
    # What a compressor keeps in buffers of its own stays behind.
    small.load_state_dict({name: weights[name] for name in small.state_dict()})
    return without_useless(small)
