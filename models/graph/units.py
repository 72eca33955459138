"""Width groups: what can be removed from a model together, and which field of its specification says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn

from models.base import KwsModel, ModelSpec
from models.factored import built
from models.graph.axes import Couplings
from models.graph.trace import graph_of
from models.registry import build

NOBODY = -1
Shapes = Mapping[str, tuple[int, ...]]


class Field(NamedTuple):
    """A width in a specification: a field, or an entry of one that is a tuple."""

    name: str
    at: int | None = None

    def set(self, spec: ModelSpec, width: int) -> ModelSpec:
        """The specification with that width."""
        value: Any = width
        if self.at is not None:
            value = list(getattr(spec, self.name))
            value[self.at] = width
            value = tuple(value)
        return replace(spec, **{self.name: value})

    def __str__(self) -> str:
        return self.name if self.at is None else f"{self.name}[{self.at}]"


@dataclass(frozen=True)
class Member:
    """Where the units of a group stand along one dimension of a parameter or buffer.

    Attributes:
        name: As in the state_dict.
        dim: The dimension.
        units: For each position the unit that it belongs to; -1 for none of the group.
    """

    name: str
    dim: int
    units: tuple[int, ...]


@dataclass(frozen=True)
class WidthGroup:
    """Units that can be removed together with everything that reads or writes them.

    Attributes:
        name: The layer that makes them, e.g. ``conv``; of a GRU with the layer's number, ``gru.0``.
        field: What the specification calls the group's width.
        size: Number of units now.
        members: All places that the units stand in.
    """

    name: str
    field: Field
    size: int
    members: tuple[Member, ...]


def width_groups(model: KwsModel) -> tuple[WidthGroup, ...]:
    """What can be cut out of a model: the widths that its specification names.

    Which field names which width is not declared but found out: with a field one smaller, a model is built
    whose shapes show what became narrower.

    Raises:
        ModelError: The forward cannot be read.
    """
    found = _groups(model)
    named = _fields(type(model), model.spec.written_out())
    return tuple(
        WidthGroup(name, named[name], size, members)
        for name, (size, members) in found.items()
        if name in named
    )


@lru_cache(maxsize=64)
def widths_of(spec: ModelSpec) -> tuple[Field, ...]:
    """The widths in a specification that can be cut, as ``width_groups`` finds them.

    Raises:
        ModelError: The forward cannot be read.
    """
    with torch.random.fork_rng(devices=[]):
        model = build(spec)
    return tuple(dict.fromkeys(group.field for group in width_groups(model)))


_Groups = dict[str, tuple[int, tuple[Member, ...]]]


def _groups(model: nn.Module) -> _Groups:
    """Size and places of each group that can shrink, by the name of the first layer that makes it."""
    book, shapes = graph_of(model).couplings, _shapes(model)
    found: _Groups = {}
    for name, units in _alike(book).items():
        number = {unit: at for at, unit in enumerate(units)}
        places = {
            place: [
                {number[book.find(unit)] for unit in own if book.find(unit) in number} for own in positions
            ]
            for place, positions in book.places.items()
            if place[0] in shapes
        }
        alone = all(len(own) < 2 for positions in places.values() for own in positions)
        if len(units) > 1 and alone and not book.pinned & set(units):
            members = tuple(
                Member(*place, tuple(min(own, default=NOBODY) for own in positions))
                for place, positions in places.items()
                if any(positions)
            )
            found[name] = (len(units), members)
    return found


def _alike(book: Couplings) -> dict[str, list[int]]:
    """Those units that stand for all that they are coupled with, by the layers that make the whole."""
    layers: dict[int, dict[str, None]] = {}
    for unit, owner in enumerate(book.owners):
        layers.setdefault(book.find(unit), {})[owner] = None
    groups: dict[tuple[str, ...], list[int]] = {}
    for unit, owners in layers.items():
        groups.setdefault(tuple(owners), []).append(unit)
    firsts = [owners[0] for owners in groups]
    return {
        owners[0] if firsts.count(owners[0]) == 1 else "+".join(owners): units
        for owners, units in groups.items()
    }


@lru_cache(maxsize=64)
def _fields(kind: Callable[[Any], KwsModel], spec: ModelSpec) -> Mapping[str, Field]:
    """For each group the field that says its width: the one that narrows fewest other groups.

    The model of every field one smaller than a group is held against what the cut of one unit would leave.
    """
    with torch.random.fork_rng(devices=[]):
        model = built(kind, spec)
    shapes, groups = _shapes(model), _groups(model)
    best: dict[str, tuple[int, Field]] = {}
    for size in sorted({size for size, _ in groups.values()}):
        for field in _widths(spec):
            smaller = _shapes_with(kind, spec, field, size - 1)
            if smaller is None or smaller.keys() != shapes.keys():
                continue
            changed = {name: own for name, own in groups.items() if _is_smaller(own, shapes, smaller)}
            if any(own[0] != size for own in changed.values()) or smaller != _without(shapes, changed):
                continue
            for name in changed:
                if name not in best or len(changed) < best[name][0]:
                    best[name] = (len(changed), field)
    return {name: field for name, (_, field) in best.items()}


def _widths(spec: ModelSpec) -> Iterator[Field]:
    """All whole numbers in a specification but the ranks of factors, which are nobody's width."""
    ranks = {field.name for field in fields(ModelSpec)}
    for field in fields(spec):
        value = None if field.name in ranks else getattr(spec, field.name)
        if type(value) is int:
            yield Field(field.name)
        elif isinstance(value, tuple):
            yield from (Field(field.name, at) for at, entry in enumerate(value) if type(entry) is int)


def _shapes_with(kind: Callable[[Any], KwsModel], spec: ModelSpec, field: Field, width: int) -> Shapes | None:
    """The shapes of the model with another width; None where there is no such model."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return _shapes(built(kind, field.set(spec, width), check=False))
    except Exception:  # what cannot be built says nothing of widths, whoever refuses it and how
        return None


def _shapes(model: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _is_smaller(group: tuple[int, tuple[Member, ...]], before: Shapes, after: Shapes) -> bool:
    return all(after[one.name][one.dim] < before[one.name][one.dim] for one in group[1])


def _without(shapes: Shapes, groups: _Groups) -> Shapes:
    """The shapes left once each group has lost its last unit."""
    gone: dict[tuple[str, int], set[int]] = {}
    for size, members in groups.values():
        for one in members:
            at = {position for position, unit in enumerate(one.units) if unit == size - 1}
            gone[one.name, one.dim] = gone.get((one.name, one.dim), set()) | at
    return {
        name: tuple(length - len(gone.get((name, dim), ())) for dim, length in enumerate(shape))
        for name, shape in shapes.items()
    }
