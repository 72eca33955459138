"""Dynamic quantization (``dq``): int8 weights of GRU and linear layers, no training.

The only file that imports ``torch.ao.quantization``, which torch means to drop.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from compressors.base import Compressor, Phase
from compressors.registry import register
from models.base import KwsModel, ModelSpec
from models.budget import layers_of
from models.errors import ChainError
from models.graph.layers import Gru, Linear
from models.graph.ops import operation

LAYERS = (nn.GRU, nn.Linear)


class DynamicGru(Gru):
    """A GRU with a scale for each call."""

    def mixes(self, target: Any) -> bool:
        """See the base class."""
        return True


class DynamicLinear(Linear):
    """A linear layer with a scale for each call."""

    def mixes(self, target: Any) -> bool:
        """See the base class."""
        return True


@register
@dataclass(frozen=True)
class DynamicQuant(Compressor):
    """Stores the weights of GRU and linear layers in int8; the convolution stays in float.

    Activations are quantized at run time with one scale for each call, so the result of a clip depends
    on what else is in the call: converted models are measured one clip at a time, as they run on a device.
    """

    token: ClassVar[str] = "dq"
    summary: ClassVar[str] = "dynamic quantization of GRU and linear layers to int8"
    phase: ClassVar[Phase] = Phase.CONVERT

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses a model without a layer to quantize."""
        model = layers_of(student)
        if not any(isinstance(module, LAYERS) for module in model.modules()):
            kind = type(model).__name__
            raise ChainError(f"dq: {kind} has no GRU or linear layer to quantize; sq knows convolutions")

    def convert(self, model: KwsModel) -> nn.Module:
        """A quantized copy, for the CPU."""
        from torch.ao.nn.quantized import dynamic
        from torch.ao.quantization import quantize_dynamic

        operation(dynamic.GRU)(DynamicGru)
        operation(dynamic.Linear)(DynamicLinear)
        with warnings.catch_warnings():
            # Deprecated since torch 2.10, and the C++ side warns that qint8 weights may saturate.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", UserWarning)
            quantize: Callable[..., nn.Module] = quantize_dynamic
            converted = quantize(model, set(LAYERS), dtype=torch.qint8)
        return converted.eval()
