"""Weights that someone brings: read from a file, and fitted to a family, or what does not fit is listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from bench.reading import read_safetensors, read_tensors, reading
from bench.results.runs import refuse_strange
from models.base import KwsModel, ModelSpec
from models.budget import layers_of
from models.errors import ModelError, ResultsError
from models.registry import base_spec, build, names
from models.task import Task

State = dict[str, Tensor]
GIVE = "give a .safetensors file, or a state_dict as torch.save writes it"
# How torch's files begin, and how they did before version 1.6.
ZIP, BEFORE_ZIP = b"PK", b"\x80\x02\x8a\nl\xfc\x9cF"
# How far down sets of tensors are looked for, how many parts of names may stand in front of all, how much of
# what does not fit is told.
DEEPEST, MOST_PARTS, MOST_LINES, NAME_CHARACTERS = 2, 8, 10, 80


def read_given(path: Path) -> dict[str, State]:
    """All sets of tensors in a file of weights, by the keys that they lie under; the outermost has none.

    Raises:
        ResultsError: It is no such file, or holds no tensors.
    """
    if not path.is_file():
        raise ResultsError(f"no file {path}: {GIVE}")
    with reading(path, GIVE, cannot="be read as weights"):
        found = dict(_sets(_content(path)))
        if not found:
            raise ValueError("there are no tensors in it")
    return found


def _content(path: Path) -> Any:
    """What a file holds, told by how it begins and not by its name."""
    with path.open("rb") as file:
        start = file.read(len(BEFORE_ZIP))
    try:
        if start == BEFORE_ZIP:
            return torch.load(path, map_location="cpu", weights_only=True)
        return read_tensors(path) if start.startswith(ZIP) else read_safetensors(path, own=False)
    except UnpicklingError:
        # torch would say how to run it.
        raise ValueError("it is no state_dict: it holds more than tensors and plain values") from None


def _sets(content: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    if not isinstance(content, Mapping):
        raise ValueError("it holds no names with tensors")
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    state = {name: value.detach() for name, value in named.items() if isinstance(value, Tensor)}
    for name, tensor in state.items():
        if not _is_whole(tensor):
            raise ValueError(f"{name} is no tensor with all its numbers")
    if state:
        yield where, state
    for name, value in named.items():
        if isinstance(value, Mapping) and depth < DEEPEST:
            yield from _sets(value, f"{where}.{name}".lstrip("."), depth + 1)


def _is_whole(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are there: one may stand for a tensor beyond all memory."""
    strided = tensor.layout == torch.strided and not tensor.is_meta
    return strided and tensor.nbytes <= tensor.untyped_storage().nbytes()


def given_base(path: Path, model: str, task: Task) -> KwsModel:
    """The base of a family on a task with the weights of a file, in evaluation mode.

    Raises:
        ResultsError: The file cannot be read, or its weights do not fit; what does not is listed.
        ModelError: There is no such family, or it is none for the task.
    """
    spec = base_spec(model, task)
    with torch.random.fork_rng(devices=[]):
        made = build(spec)
    found = read_given(path)
    own = made.state_dict()
    fitting = {where: fit for where, state in found.items() if (fit := fitted(state, own)) is not None}
    if not fitting:
        others = [name for name in fits(found, task) if name != model]
        advice = f"; it fits --model {' and '.join(others)}" if others else ""
        raise ResultsError(
            f"{path} does not fit {model} on {task.text}: {listed(misfits(found, spec))}{advice}"
        )
    if len(fitting) > 1:
        several = ", ".join(map(plain_name, fitting))
        raise ResultsError(f"{path} holds several sets of weights that fit: {several}; keep one")
    with reading(path, "give weights of finite numbers", cannot="be a base"):
        (state,) = fitting.values()
        for name, tensor in state.items():
            if not tensor.isfinite().all():
                raise ValueError(f"{name} holds what is no finite number")
        made.load_state_dict(state)
        refuse_strange(made, task)
    return made.eval()


def fits(found: Mapping[str, State], task: Task) -> dict[str, State]:
    """The registered families whose base on a task one of several sets fits, each with its weights."""
    fitting: dict[str, State] = {}
    for name in names():
        try:
            own = layers_of(base_spec(name, task)).state_dict()
        except ModelError:  # the task is none for it
            continue
        for state in found.values():
            if (fit := fitted(state, own)) is not None:
                fitting[name] = fit
    return fitting


def misfits(found: Mapping[str, State], spec: ModelSpec) -> list[str]:
    """What of the closest of several sets does not fit a specification, a text each."""
    own = layers_of(spec).state_dict()
    return min((_unlike(_closest(state, own), own) for state in found.values()), key=len)


def listed(lines: Sequence[str]) -> str:
    """The first of many texts, and how many more there are, in one line.

    Examples:
        >>> listed([str(number) for number in range(12)])
        '0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 2 more'
    """
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return "; ".join([*lines[:MOST_LINES], *more])


def fitted(state: State, own: Mapping[str, Tensor]) -> State | None:
    """Weights under a model's own names and of its kinds of numbers; None where they do not fit."""
    closest = _closest(state, own)
    if _unlike(closest, own):
        return None
    return {name: closest[name].to(tensor.dtype) for name, tensor in own.items()}


def _closest(state: State, own: Mapping[str, Tensor]) -> State:
    """Weights, with in front of all names what a model has: ``module.gru.bias`` may be ``gru.bias``."""
    ways = [
        {front + name.removeprefix(prefix): tensor for name, tensor in state.items()}
        for prefix in _prefixes(state)
        for front in _prefixes(own)
    ]
    return min(ways, key=lambda way: len(_unlike(way, own)))


def _prefixes(names: Mapping[str, Tensor]) -> list[str]:
    """What all names begin with, up to a dot, from nothing to the longest.

    Examples:
        >>> _prefixes({"module.net.a.weight": torch.zeros(1), "module.net.b": torch.zeros(1)})
        ['', 'module.', 'module.net.']
    """
    found, first = [""], min(names, default="")
    for part in first.split(".", MOST_PARTS)[:-1]:
        prefix = f"{found[-1]}{part}."
        if not all(name.startswith(prefix) for name in names):
            break
        found.append(prefix)
    return found


def _unlike(state: State, own: Mapping[str, Tensor]) -> list[str]:
    """What does not fit: wrong shapes first, then what is lacking, then what is there beyond it."""
    wrong = [
        f"{name} is {_shown(state[name])}, expected {_shown(tensor)}"
        for name, tensor in own.items()
        if name in state and not (state[name].shape == tensor.shape and _of_kind(state[name], tensor))
    ]
    lacking = [f"no {name}, expected {_shown(tensor)}" for name, tensor in own.items() if name not in state]
    beyond = [
        f"unexpected {plain_name(name)}, {_shown(tensor)}"
        for name, tensor in state.items()
        if name not in own
    ]
    return wrong + lacking + beyond


def plain_name(name: str) -> str:
    """A name from a file, which may hold anything, as a terminal may show it."""
    return name[:NAME_CHARACTERS] if name.isprintable() else repr(name[:NAME_CHARACTERS])


def _of_kind(found: Tensor, own: Tensor) -> bool:
    """Whether numbers can be made those of another tensor: of any width, but fractions stay fractions."""
    return found.dtype == own.dtype or all(
        tensor.is_floating_point() and not tensor.is_quantized for tensor in (found, own)
    )


def _shown(tensor: Tensor) -> str:
    """Shape and kind in few words.

    Examples:
        >>> _shown(torch.zeros(8, 1, 20)), _shown(torch.tensor(3))
        ('8x1x20', 'one int64')
    """
    shape = "x".join(map(str, tensor.shape)) or "one"
    return shape if tensor.is_floating_point() else f"{shape} {str(tensor.dtype).removeprefix('torch.')}"
