"""Devices: where features are made, models trained and clips scored in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from models.base import device_of
from models.errors import KwsError

CPU = torch.device("cpu")
KINDS = ("cuda", "mps", "cpu")

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def devices_here() -> tuple[str, ...]:
    """The kinds of devices that there are, in the order in which ``auto`` prefers them."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(kind for kind in KINDS if there[kind])


def device_named(name: str) -> str:
    """The kind of device that a name means: ``auto`` is the first of ``devices_here``.

    ``auto`` is not what a run without a name gets. The same model trained elsewhere has other figures, so
    nobody's results shall depend on which card their machine happens to have.

    Raises:
        KwsError: There is none of that kind here.

    Examples:
        >>> device_named("cpu")
        'cpu'
    """
    if name == "cpu":
        return name  # no driver is asked
    here = devices_here()
    if name == "auto":
        return here[0]
    if name not in here:
        raise KwsError(
            f"no device {name!r} here: torch {torch.__version__} finds {', '.join(here)}; give one of these, "
            "or auto for the first"
        )
    return name


def torch_device(kind: str) -> torch.device:
    """The device of a kind; of several cards the first that is visible."""
    return CPU if kind == "cpu" else torch.device(kind, 0)


def placed(model: ModuleT, device: torch.device) -> ModuleT:
    """A model on a device: itself where it is there already, else a copy."""
    return model if device_of(model) == device else deepcopy(model).to(device)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a CUDA card, the same kernels every time and single precision throughout; elsewhere nothing.

    Else cuDNN chooses by trial, sums are added up in the order in which threads end, and convolutions are
    rounded to 10 bits. Where torch has no such kernel it says so, and goes on with the one that it has.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the card is first used
    strict, lenient = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=lenient)
