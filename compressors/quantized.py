"""Quantization to integers throughout: static (``sq``) and with training (``qat``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressors.base import Compressor, Phase
from compressors.fake_quant import QuantCrnn
from compressors.quantize import best_step, integer_spec, quantize
from compressors.registry import register
from compressors.weight_only import RoundedWeights, refuse_layers
from models.base import KwsModel, ModelSpec
from models.crnn import Crnn, CrnnSpec
from models.errors import ChainError
from models.integer import LIMIT, IntegerSpec
from models.integer_kws import IntegerKws
from models.registry import build

BITS = range(2, 9)


@dataclass(frozen=True)
class Quantization(Compressor):
    """What both kinds share: widths, the calibrated range, and the integer model that ships.

    Weights have a scale for each output channel. The input, states and gates have fixed formats
    (``docs/integer-model.md``); only the range of the convolution's output is calibrated.

    Attributes:
        bits: Width of weights, 2 to 8: one number for all, or ``matrix=number`` joined by ``/``, such as
            ``8/gru.hh=4``; a matrix is named by any of its parts: conv, gru, 0, ih, hh, r, z, n,
            attention, inner, energy, classifier.
        activations: Bits of what layers read, 8 or 16.
        fallback: For a model with no integer form: keep its activations, and layers without weights that
            can be rounded, in float, instead of refusing it.
    """

    phase: ClassVar[Phase] = Phase.CONVERT

    bits: str = "8"
    activations: int = 8
    fallback: bool = False

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses widths out of range, and what has no integer form."""
        if self.activations not in (8, 16):
            raise ChainError(f"{self.token}: activations={self.activations} must be 8 or 16")
        if isinstance(student, CrnnSpec):
            _check_sums(self.token, integer_spec(student, self.activations), self.widths(student))
            return
        width_of(self.token, self.bits, "")
        with torch.random.fork_rng(devices=[]):
            refuse_layers(self.token, build(student), self.fallback)

    def widths(self, spec: CrnnSpec) -> dict[str, int]:
        """Bits of each matrix.

        Raises:
            ChainError: A width out of range, or one for a matrix that the model does not have.
        """
        names = list(integer_spec(spec).shapes())
        for selector, _ in _assignments(self.token, self.bits):
            if not any(_selects(selector, name) for name in names):
                raise ChainError(
                    f"{self.token}: bits of {selector!r}: no such matrix; there is: {', '.join(names)}"
                )
        return {name: width_of(self.token, self.bits, name) for name in names}

    def calibrate(self, model: KwsModel, log_mel: Tensor) -> KwsModel:
        """The model with rounding put in, its ranges observed on clips (N, M, T)."""
        if not isinstance(model, Crnn):
            return model
        with torch.no_grad():
            frames = model.conv(log_mel.unsqueeze(1))
        step = best_step(frames.numpy(), self.activations)
        with torch.random.fork_rng(devices=[]):
            rounded = QuantCrnn(model.spec, self.widths(model.spec), self.activations, step)
        weights = model.state_dict() | {"conv_step": rounded.conv_step}
        rounded.load_state_dict(weights)
        return rounded.eval()

    def convert(self, model: KwsModel) -> nn.Module:
        """The integer model.

        Raises:
            ChainError: The model's ranges were not calibrated.
        """
        if not isinstance(model, Crnn):
            return RoundedWeights(model, width_of(self.token, self.bits, "")).eval()
        if not isinstance(model, QuantCrnn):
            raise ChainError(f"{self.token}: ranges are calibrated on clips before a model is converted")
        weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        step = float(weights.pop("conv_step"))
        integer = quantize(
            weights, model.spec, widths=model.widths, conv_step=step, activations=self.activations
        )
        return IntegerKws(integer).eval()


@register
@dataclass(frozen=True)
class StaticQuant(Quantization):
    """Static quantization: ranges observed on training clips, no training."""

    token: ClassVar[str] = "sq"
    summary: ClassVar[str] = "static quantization of all layers to integers, calibrated, no training"


@register
@dataclass(frozen=True)
class QuantAware(Quantization):
    """Quantization-aware training: the trained model goes on, rounded as its integer form will be.

    It learns through the same loss terms as before, over another run of the recipe's epochs.
    """

    token: ClassVar[str] = "qat"
    summary: ClassVar[str] = "quantization-aware training, then all layers in integers"
    tunes: ClassVar[bool] = True


def width_of(token: str, bits: str, name: str) -> int:
    """The width that ``bits`` gives a matrix: the assignment with most parts counts, of equals the last.

    Raises:
        ChainError: It cannot be read, or is out of range.

    Example:
        >>> width_of("qat", "8/gru.hh=4", "gru.0.hh.n"), width_of("qat", "8/gru.hh=4", "conv")
        (4, 8)
    """
    width, depth = 8, -1
    for selector, value in _assignments(token, bits):
        parts = len(selector.split(".")) if selector else 0
        if parts >= depth and _selects(selector, name):
            width, depth = value, parts
    return width


def _assignments(token: str, bits: str) -> list[tuple[str, int]]:
    found = []
    for piece in bits.split("/"):
        read = re.fullmatch(r"(?:([a-z0-9.]+)=)?([0-9])", piece)
        if not read or int(read[2]) not in BITS:
            raise ChainError(
                f"{token}: bits={piece} must be a width from {BITS[0]} to {BITS[-1]}, for all or for some, "
                "such as 4 or 8/gru.hh=4"
            )
        found.append((read[1] or "", int(read[2])))
    return found


def _selects(selector: str, name: str) -> bool:
    """Whether the parts of a selector stand among the parts of a name, in that order."""
    parts = iter(name.split("."))
    return not selector or all(part in parts for part in selector.split("."))


def _check_sums(token: str, spec: IntegerSpec, widths: Mapping[str, int]) -> None:
    """Refuses what could leave 32 bits with the largest weights; a bias takes 2^29 at most."""
    for name, (_, width) in spec.shapes().items():
        reads = 15 if name == "classifier" else spec.activations - 1
        if ((width * 2 ** (widths[name] - 1)) << reads) + 2**30 > LIMIT:
            # The classifier reads 16 bits either way.
            narrower = "activations=8, " if reads == 15 and name != "classifier" else ""
            raise ChainError(
                f"{token}: {name} sums up {width} products, too many for 32 bits; use {narrower}fewer bits "
                "or a smaller student"
            )
