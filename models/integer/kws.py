"""An integer model under the contract of every keyword spotter: torch tensors in and out, integers inside."""

from __future__ import annotations

import abc
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.base import KwsModel, ModelOutput, ModelSpec
from models.errors import ModelError
from models.graph.axes import CHANNEL, MEL, TIME, UNIT, Axes, Couplings, axis
from models.graph.ops import Call, Function, Node, Operation, Reach, Results, operation
from models.integer.file import load, to_bytes
from models.integer.model import IntegerModel
from models.integer.ops import Gather, Gru, Last, Op, Pool, Program, Window, shapes_of
from models.integer.run import compute
from models.integer.stretches import recur_at_once
from models.shipped import FORMS, ArtifactBytes, Shipped
from models.task import Task

# The file of an integer model in a run folder.
KWS_FILE = "model.kws"
# Clips computed at once: their convolution windows fit in the cache.
BLOCK_CLIPS = 128


class IntegerInput(nn.Module):
    """Log-mel (B, M, T) to integers (B, 1, M, T)."""

    def __init__(self, integer: IntegerModel) -> None:
        super().__init__()
        self.integer = integer

    def forward(self, log_mel: Tensor) -> Tensor:
        """Rounded, and limited."""
        return torch.from_numpy(self.integer.quantize_input(log_mel.numpy()[:, None]))


class Step(nn.Module, abc.ABC):
    """One operation of a program on values (B, C, rows, T'), as a layer that a graph knows.

    Args:
        op: Which.
        moving: Whether its result comes with every frame.
        zero: What stands for 0 in the frames that it puts around, where it does.
        least: What stands there before the largest of a window is taken.
    """

    def __init__(self, op: Op, *, moving: bool, zero: float, least: float) -> None:
        super().__init__()
        self.op, self.moving = op, moving
        self.fill = least if isinstance(op, Pool) and op.largest else zero

    @abc.abstractmethod
    def unpadded(self) -> Step:
        """The same without frames of zeros before and behind."""


class IntegerStep(Step):
    """One operation of an integer model on integers."""

    def __init__(self, integer: IntegerModel, at: int) -> None:
        form = integer.formats[integer.program[at].inputs[0]]
        moving, least = integer.shapes[at].moving, -(2 ** (form.bits - 1))
        super().__init__(integer.program[at], moving=moving, zero=form.zero, least=least)
        self.integer, self.at, self.padded = integer, at, True

    def forward(self, *given: Tensor) -> Tensor:
        """A block of clips at a time."""
        blocks = zip(*(torch.split(one, BLOCK_CLIPS) for one in given), strict=True)
        made = [self._block(block) for block in blocks]
        return torch.cat(made) if len(made) > 1 else made[0]

    def _block(self, given: Sequence[Tensor]) -> Tensor:
        arrays = [one.numpy() for one in given]
        return torch.from_numpy(compute(self.op, self.integer, self.at, arrays, padded=self.padded))

    def unpadded(self) -> IntegerStep:
        """See the base class."""
        bare = IntegerStep(self.integer, self.at)
        bare.padded = False
        return bare


class IntegerLayer(IntegerStep):
    """The same with a state: a GRU layer."""

    op: Gru

    def step(self, given: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next frames (B, C, rows, T') and the state (B, H) before them; None: zeros."""
        flat = given.flatten(1, 2).numpy()
        hidden = given.new_zeros(len(flat), self.op.hidden) if state is None else state
        outputs, last = recur_at_once(self.op, self.integer, self.at, flat, hidden.numpy())
        return torch.from_numpy(outputs[:, :, None]), torch.from_numpy(last)


class IntegerLogits(nn.Module):
    """Integers (B, K, 1, 1) to real numbers (B, K), and energies (B, 1, 1, T') to (B, T')."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def forward(self, values: Tensor) -> Tensor:
        """Times what one unit stands for."""
        return (values * self.step).float().flatten(1)


def _axes(call: Call) -> Axes:
    batch = call.inputs[0].axes[0]
    return (batch, *(axis(kind, n) for kind, n in zip((CHANNEL, MEL, TIME), call.sizes[0][1:], strict=True)))


@operation(IntegerInput)
class Heard(Operation):
    """The quantized input."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        return (_axes(call),)


@operation(Step)
class Stage(Operation):
    """What an operation of a program is to a graph."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class; what no longer moves keeps a place in time, of one frame."""
        axes = _axes(call)
        return (axes if call.target.moving else (*axes[:3], axis(UNIT, 1)),)

    def reach(self, call: Call) -> Reach | None:
        """See the base class."""
        op = call.target.op
        if isinstance(op, Gather) and not isinstance(op, Last):
            return None
        if not isinstance(op, Window):
            return Reach()
        return Reach(op.span_time, op.stride_time, op.before, op.after, call.target.fill)

    def window(self, node: Node) -> Function:
        """See the base class."""
        bare: Function = node.target.unpadded()
        return bare


@operation(IntegerLayer)
class Recurrent(Stage):
    """A GRU layer."""

    remembers: ClassVar[bool] = True

    def step(self, node: Node) -> Function:
        """See the base class."""
        run: Function = node.target.step
        return run

    def steps(self, node: Node, read: Collection[int]) -> Function | None:
        """See the base class."""
        return self.step(node)


@operation(IntegerLogits)
class Said(Operation):
    """Real numbers at the end."""

    def results(self, call: Call, couplings: Couplings) -> Results:
        """See the base class."""
        axes = call.inputs[0].axes
        moving = TIME in axes[3].kinds
        return ((axes[0], axis(TIME if moving else UNIT, call.sizes[0][1])),)


@dataclass(frozen=True)
class IntegerSpec(ModelSpec):
    """What an integer model is made of.

    Attributes:
        program: Its operations.
        activations: Bits of what they hand to each other.
    """

    program: Program
    activations: int

    @property
    def n_mels(self) -> int:
        """Mel bands M."""
        return shapes_of(self.program)[0].rows


class IntegerKws(KwsModel):
    """Runs an integer model. Its scales are constants, so a clip's result never depends on the others.

    Attributes:
        integer: The model; its weights are no torch parameters.
    """

    def __init__(self, integer: IntegerModel) -> None:
        frames = integer.task.frames
        super().__init__(IntegerSpec(integer.program, integer.activations, clip_frames=frames))
        self.integer = integer
        self.heard = IntegerInput(integer)
        self.steps = nn.ModuleList(
            (IntegerLayer if isinstance(op, Gru) else IntegerStep)(integer, at)
            for at, op in enumerate(integer.program)
            if at
        )
        self.logits = IntegerLogits(integer.formats[-1].step)
        energies = integer.energies
        self.energies = None if energies is None else IntegerLogits(integer.formats[energies].step)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """See the base class.

        Raises:
            ModelError: The clips are shorter than a window.
        """
        if log_mel.shape[-1] < self.integer.least_frames:
            raise ModelError(
                f"clips of {log_mel.shape[-1]} frames; the model needs {self.integer.least_frames}"
            )
        values = [self.heard(log_mel)]
        for op, step in zip(self.integer.program[1:], self.steps, strict=True):
            values.append(step(*(values[one] for one in op.inputs)))
        energies = self.integer.energies
        attended = None if self.energies is None or energies is None else self.energies(values[energies])
        return ModelOutput(self.logits(values[-1]), attended)

    def shipped(self, task: Task) -> Shipped:
        """A ``.kws`` file. Its reference is made to be read: its time says nothing of a device's."""
        integer = replace(self.integer, task=task)
        return Shipped(KWS_FILE, lambda: to_bytes(integer), count_bytes(integer), False, False)


def count_bytes(model: IntegerModel) -> ArtifactBytes:
    """Where the bytes of a model's file are."""
    whole = len(to_bytes(model))
    tensors = [tensor for own in model.tensors for tensor in own]
    payload = sum((tensor.weight.size * tensor.bits + 7) // 8 for tensor in tensors)
    scales = sum(2 * len(tensor.scale) * (1 + (tensor.bias is not None)) for tensor in tensors)
    scales += 2 * len(model.steps)
    return ArtifactBytes(whole, payload, scales, whole - payload - scales)


FORMS[KWS_FILE] = lambda path: IntegerKws(load(path))
