"""Weights as files, and files as weights."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.files import write_atomically


def load_state(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Takes over weights that were read from a file.

    Raises:
        ValueError: They are not finite numbers of the shapes and kinds of the model's; errors of other kinds
            where they are no weights at all.
    """
    for name, own in model.state_dict().items():
        if name not in weights or not alike(weights[name], own):
            raise ValueError(f"it holds no {name} of this model, or one with what is no number")
    model.load_state_dict(weights)


def alike(found: Tensor, own: Tensor) -> bool:
    """Whether a tensor from a file can stand in the place of another."""
    return found.shape == own.shape and found.dtype == own.dtype and bool(found.isfinite().all())


def save_atomically(value: Any, path: Path) -> None:
    """torch.save to a file beside it, then a rename."""
    # Through memory: given a name, torch writes that name into the file, many times over.
    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_atomically(path, buffer.getvalue())
