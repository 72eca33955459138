"""Weights as files, and files as weights."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from bench.files import write_atomically
from bench.reading import CHECKSUM, read_safetensors, read_tensors, tensors_hash

SAFETENSORS = ".safetensors"


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


def read_state(path: Path) -> Any:
    """The weights of a run, which earlier versions kept as torch saves them; use it inside ``reading``."""
    return read_safetensors(path) if path.suffix == SAFETENSORS else read_tensors(path)


def save_state(state: Mapping[str, Tensor], path: Path) -> None:
    """Writes weights as safetensors, as a whole or not at all; the same weights give the same bytes."""
    # Copies: the format knows no tensors that share numbers.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    data = save(tensors, {"format": "pt", CHECKSUM: tensors_hash(tensors)})
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    # The library writes what it calls metadata in any order.
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_atomically(path, len(text).to_bytes(8, "little") + text + data[8 + size :])


def save_atomically(value: Any, path: Path) -> None:
    """torch.save to a file beside it, then a rename."""
    # Through memory: given a name, torch writes that name into the file, many times over.
    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_atomically(path, buffer.getvalue())
