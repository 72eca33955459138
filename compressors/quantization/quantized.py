"""Quantization to integers throughout: static (``sq``) and with training (``qat``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from compressors.base import Compressor, Phase
from compressors.quantization.fake_quant import RoundingModel, Widths
from compressors.quantization.quantize import best_step, quantize
from compressors.quantization.weight_only import RoundedWeights, refuse_layers
from compressors.registry import register
from models.base import KwsModel, ModelSpec
from models.errors import ChainError, ModelError
from models.graph.fold import folded
from models.integer.kws import IntegerKws
from models.integer.lower import lowered
from models.integer.lowering import Lowered
from models.integer.model import LIMIT, IntegerModel, formats_of
from models.integer.ops import Gru, shapes_of
from models.integer.real import Exact, run
from models.registry import build

BITS = range(2, 9)


@dataclass(frozen=True)
class Quantization(Compressor):
    """What both kinds share: widths, the calibrated range, and the integer model that ships.

    Weights have a scale for each output channel. The input, states and gates have fixed formats
    (``docs/integer-model.md``); the ranges of all other results are calibrated.

    Attributes:
        bits: Width of weights, 2 to 8: one number for all, or ``matrix=number`` joined by ``/``, such as
            ``8/gru.hh=4``; a matrix is named by any parts of its path, such as conv, gru, 0, hh, n,
            attention.2.
        activations: Bits of what layers read, 8 or 16.
        fallback: For a model with no integer form: keep its activations, and layers without weights that
            can be rounded, in float, instead of refusing it.
    """

    phase: ClassVar[Phase] = Phase.CONVERT
    # Raised with version 2 of the file.
    version: ClassVar[int] = 1

    bits: str = "8"
    activations: int = 8
    fallback: bool = False

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Refuses widths out of range, and what has no integer form."""
        if self.activations not in (8, 16):
            raise ChainError(f"{self.token}: activations={self.activations} must be 8 or 16")
        form = _form_of(student)
        if isinstance(form, Lowered):
            self._check_sums(form, self.widths(form))
            return
        if self.fallback and (
            self.activations != 8 or any(name for name, _ in _assignments(self.token, self.bits))
        ):
            raise ChainError(f"{self.token}: of the float fallback only one width of all weights can be set")
        width_of(self.token, self.bits, "")
        with torch.random.fork_rng(devices=[]):
            refuse_layers(self.token, build(student), form, self.fallback)

    def widths(self, form: Lowered) -> Widths:
        """Bits of each matrix.

        Raises:
            ChainError: A width out of range, or one for a matrix that the model does not have.
        """
        shapes = shapes_of(form.program)
        names = [form.names_of(at, shapes) for at in range(len(form.program))]
        every = [name for own in names for name in own]
        for selector, _ in _assignments(self.token, self.bits):
            if not any(_selects(selector, name) for name in every):
                raise ChainError(
                    f"{self.token}: bits of {selector!r}: no such matrix; there is: {', '.join(every)}"
                )
        return tuple(tuple(width_of(self.token, self.bits, name) for name in own) for own in names)

    def _check_sums(self, form: Lowered, widths: Widths) -> None:
        """Refuses what could leave 32 bits with the largest weights; a bias takes 2^29 at most."""
        shapes = shapes_of(form.program)
        formats = formats_of(form.program, self.activations, {})
        for at, (op, own) in enumerate(zip(form.program, widths, strict=True)):
            matrices = op.matrices([shapes[one] for one in op.inputs])
            for name, one, bits in zip(form.names_of(at, shapes), matrices, own, strict=True):
                state = isinstance(op, Gru) and one.name.startswith("hh")
                reads = self.activations if state else formats[op.inputs[0]].bits
                if ((one.columns * 2 ** (bits - 1)) << (reads - 1)) + 2**30 > LIMIT:
                    # What is made of all of time has 16 bits either way.
                    narrower = "activations=8, " if reads == self.activations == 16 else ""
                    raise ChainError(
                        f"{self.token}: {name} sums up {one.columns} products, too many for 32 bits; use "
                        f"{narrower}fewer bits or a smaller student"
                    )

    def calibrate(self, model: KwsModel, log_mel: Tensor) -> KwsModel:
        """The model with rounding put in, its ranges observed on clips (N, M, T)."""
        try:
            form = lowered(plain := folded(model))
        except ModelError:  # refused before, unless float is asked for
            return model
        observer = Observer(form, self.activations)
        with torch.no_grad():
            run(form.program, form.matrices(plain), log_mel, observer)
        return RoundingModel(model, form, self.widths(form), self.activations, observer.steps()).eval()

    def convert(self, model: KwsModel) -> nn.Module:
        """The integer model.

        Raises:
            ChainError: The model's ranges were not calibrated.
        """
        if isinstance(model, RoundingModel):
            return IntegerKws(integer_of(model)).eval()
        if not self.fallback:
            raise ChainError(f"{self.token}: ranges are calibrated on clips before a model is converted")
        return RoundedWeights(model, width_of(self.token, self.bits, "")).eval()


class Observer(Exact):
    """Sees every result once, in float, and finds the step that errs least.

    Attributes:
        exact: False where something inside a GRU is to be seen too.
    """

    def __init__(self, form: Lowered, activations: int) -> None:
        self._form, self._activations = form, activations
        self._steps: dict[int, float] = {}
        self._inner: dict[int, list[Tensor]] = {}
        self.exact = not any(isinstance(op, Gru) and op.rank for op in form.program)

    def result(self, at: int, values: Tensor) -> Tensor:
        """See the base class."""
        op = self._form.program[at]
        if op.has_step and not isinstance(op, Gru):
            self._steps[at] = best_step(values.numpy(), self._activations)
        return values

    def inner(self, at: int, values: Tensor) -> Tensor:
        """See the base class."""
        self._inner.setdefault(at, []).append(values)
        return values

    def steps(self) -> dict[int, float]:
        """One unit of each result that has a step of its own, a half as the file stores it."""
        for at, seen in self._inner.items():
            self._steps[at] = best_step(torch.stack(seen).numpy(), self._activations)
        return {at: float(np.float16(step)) for at, step in self._steps.items()}


def integer_of(model: RoundingModel) -> IntegerModel:
    """The integer form of a model that was trained, or calibrated, for it."""

    def plain(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.detach().numpy()

    matrices = [
        [(plain(weight), plain(bias)) for weight, bias in own] for own in model.lowered.matrices(model.plain)
    ]
    return quantize(
        model.lowered.program,
        matrices,
        widths=model.widths,
        steps=model.steps,
        activations=model.activations,
    )


@lru_cache(maxsize=64)
def _form_of(spec: ModelSpec) -> Lowered | str:
    """The program of a model of that specification; why there is none."""
    with torch.random.fork_rng(devices=[]):
        model = build(spec)
        for module in model.modules():
            # As in a trained model, the bands of a norm differ.
            if isinstance(mean := getattr(module, "running_mean", None), Tensor):
                mean.uniform_()
    try:
        return lowered(folded(model))
    except ModelError as error:
        return str(error)


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

    Examples:
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
        read = re.fullmatch(r"(?:([A-Za-z0-9_.]+)=)?([0-9])", piece)
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
