"""The form that leaves: what a converter makes, seen alike by all that weigh, keep and score it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from models.base import KwsModel
from models.task import Task

# What a converted model without a file of its own is kept in, for its bytes alone.
STATE_FILE = "shipped.pt"
# Readers of files that hold a model as a whole, by the name that they have in a run folder.
FORMS: dict[str, Callable[[Path], KwsModel]] = {}


@dataclass(frozen=True)
class ArtifactBytes:
    """Where the bytes of a file are.

    Attributes:
        artifact_bytes: All of them.
        payload_bytes: Packed weights.
        scale_bytes: Scales and biases.
        container_bytes: The rest: header, names, operations, checksum.
    """

    artifact_bytes: int
    payload_bytes: int
    scale_bytes: int
    container_bytes: int


@dataclass(frozen=True)
class Shipped:
    """How a model leaves.

    Attributes:
        file: Its name in a run folder; empty for a float model, whose weights are kept there anyway.
        content: What is in the file.
        sizes: Where the bytes of what ships are.
        alone: Whether it is scored one clip a call, for its result depends on what else is in the call.
        timed: Whether its time on this machine says anything of the time of what ships.
    """

    file: str
    content: Callable[[], bytes]
    sizes: ArtifactBytes
    alone: bool
    timed: bool


@runtime_checkable
class Ships(Protocol):
    """A model with a form of its own."""

    def shipped(self, task: Task) -> Shipped:
        """How it leaves, for what is asked of it."""


def shipped(model: nn.Module, *, converted: bool, task: Task) -> Shipped:
    """How a model leaves: in its own way, else as a saved state_dict.

    Args:
        model: As it ships.
        converted: Whether a converter made it.
        task: What is asked of it; a file that holds all of a model says so.
    """
    if isinstance(model, Ships):
        return model.shipped(task)

    def content() -> bytes:
        return saved(model)

    return Shipped(STATE_FILE if converted else "", content, state_sizes(model), converted, True)


def saved(model: nn.Module) -> bytes:
    """A state_dict as torch saves it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Saving a quantized tensor touches torch's deprecated typed storage.
        warnings.filterwarnings("ignore", message="TypedStorage is deprecated", category=UserWarning)
        torch.save(model.state_dict(), buffer)
    return buffer.getvalue()


def state_sizes(model: nn.Module) -> ArtifactBytes:
    """Where the bytes of a saved state_dict are.

    Matrices are payload, vectors and single numbers scales and biases; scales that torch writes into the
    pickle count as container.
    """
    whole = len(saved(model))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TypedStorage is deprecated", category=UserWarning)
        stored = {
            (tensor.data_ptr(), tensor.shape): tensor
            for tensor in _tensors(list(model.state_dict().values()))
        }
    payload = sum(tensor.nbytes for tensor in stored.values() if tensor.dim() > 1)
    scales = sum(tensor.nbytes for tensor in stored.values() if tensor.dim() < 2)
    return ArtifactBytes(whole, payload, scales, whole - payload - scales)


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors inside what a state_dict holds; torch packs quantized ones into objects of its own."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, torch.ScriptObject):
        yield from _tensors(value.__getstate__())
