"""Hearing what layers give while a model runs, for losses that read more than its output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from models.base import KwsModel
from models.errors import ChainError


class Tap(NamedTuple):
    """Something to hear of a layer.

    Attributes:
        path: The layer's, as in the state_dict.
        read: What to make of its output, the first one where it has several: a tensor (B, ...).
    """

    path: str
    read: Callable[[Tensor], Tensor]


@contextmanager
def listening(model: KwsModel, taps: Mapping[str, Tap]) -> Iterator[dict[str, Tensor]]:
    """Fills a dictionary, by the names of the taps, whenever the model runs; the last call of a layer counts.

    Raises:
        ChainError: The model in this form has no such layer, or ran without calling it.
    """
    heard: dict[str, Tensor] = {}
    hooks = []
    layers = dict(model.running().named_modules()) if taps else {}
    try:
        for name, tap in taps.items():
            if tap.path in layers:
                hooks.append(layers[tap.path].register_forward_hook(partial(_hear, heard, name, tap)))
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
    if missing := [tap.path for name, tap in taps.items() if name not in heard]:
        raise ChainError(f"{type(model).__name__} runs no layer {missing[0]!r} that could be listened to")


def _hear(
    heard: dict[str, Tensor], name: str, tap: Tap, _layer: nn.Module, _inputs: Any, output: Any
) -> None:
    first: Tensor = output[0] if isinstance(output, tuple) else output
    # A copy: what follows the layer may write into its output, as an activation in place does.
    heard[name] = tap.read(first.clone())
