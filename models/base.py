"""The contract that every keyword spotter keeps."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.front_end import LEAST_HOP_MS, SAMPLE_RATE_HZ, FrontEnd
from models.task import MOST_CLIP_S, KeywordTask

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from models.graph.stream import StreamState

# What a specification that says nothing of mel bands, classes and frames is made for.
USUAL = KeywordTask()
# Of the longest clips.
MOST_FRAMES = FrontEnd(hop_ms=LEAST_HOP_MS).frames(round(MOST_CLIP_S * SAMPLE_RATE_HZ))
# Marks a field of a specification that earlier versions did not have (see ``spec_values``) and that a
# compressor of its own sets: no size of a student.
ADDED_LATER = {"added_later": True}
# Fields of a specification that are the data's affair.
OF_THE_DATA = ("n_mels", "n_classes", "clip_frames")


class ModelOutput(NamedTuple):
    """What a forward pass gives.

    Attributes:
        logits: Shape (B, K).
        energies: Attention energies before the softmax over time, shape (B, T'); None where the model
            has no attention.
    """

    logits: Tensor
    energies: Tensor | None


@dataclass(frozen=True)
class ModelSpec:
    """The architecture of a model: a frozen dataclass of plain values for each family.

    What stands here holds for every family: which matrices are products of two thin ones, and the clips.

    Attributes:
        input_rank: Rank of a GRU's matrices that read the layer below, as two factors; 0: whole matrices.
        recurrent_rank: Rank of those that read the state.
        sparsity: Share of a factored GRU's weights that is zero and not stored.
        layer_ranks: Rank of each linear layer and pointwise convolution, in the model's order; 0: whole.
            Empty: all are whole.
        clip_frames: Frames T of the clips that it is trained on. No weight depends on it, but which layers of
            two models have as many frames does.
    """

    input_rank: int = field(default=0, kw_only=True, metadata=ADDED_LATER)
    recurrent_rank: int = field(default=0, kw_only=True, metadata=ADDED_LATER)
    sparsity: float = field(default=0.0, kw_only=True, metadata=ADDED_LATER)
    layer_ranks: tuple[int, ...] = field(default=(), kw_only=True, metadata=ADDED_LATER)
    clip_frames: int = field(default=USUAL.frames, kw_only=True, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        # Where the weights stand takes a bit for each, and each takes 32.
        if self.sparsity and not (self.factored_gru and 1 / 32 < self.sparsity < 1):
            raise ModelError(f"sparsity={self.sparsity:g} needs a factored GRU, and to be in (1/32, 1)")
        if not 1 <= self.clip_frames <= MOST_FRAMES:
            raise ModelError(f"clip_frames={self.clip_frames} must be from 1 to {MOST_FRAMES}")
        self.check()

    def check(self) -> None:
        """Refuses what cannot be built.

        Raises:
            ModelError: Says which field is wrong and what would be right.
        """

    @property
    def factored_gru(self) -> bool:
        """Whether any of a GRU's matrices are products of two."""
        return bool(self.input_rank or self.recurrent_rank)

    @property
    def whole(self) -> Self:
        """The same architecture without factors."""
        return replace(self, input_rank=0, recurrent_rank=0, sparsity=0.0, layer_ranks=())

    def written_out(self) -> Self:
        """The same architecture with every width in a field of its own; itself where that is so already."""
        return self


SpecT = TypeVar("SpecT", bound=ModelSpec)


class KwsModel(nn.Module, abc.ABC):
    """A keyword spotter: log-mel frames in, logits out, whole clips or as a stream."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec

    @abc.abstractmethod
    def forward(self, log_mel: Tensor) -> ModelOutput:
        """Whole clips, shape (B, M, T)."""

    def running(self) -> KwsModel:
        """The model whose layers compute, where this one only stores what they are made of."""
        return self

    def init_state(
        self, batch: int, max_buffer_len: int | None = 24, *, at_once: bool = False
    ) -> StreamState:
        """The state before the first chunk; see ``models.graph.stream``.

        Args:
            batch: Number of streams B.
            max_buffer_len: How many frames what takes all of time (attention, a mean) looks back on; None
                for all.
            at_once: Take the frames of a chunk together where that gives the same, to the rounding of floats:
                for audio of which much is there; see ``models.graph.whole``.

        Raises:
            ModelError: The forward cannot be read, or not be streamed.
        """
        # Not at the top: a graph is read from models.
        from models.graph.stream import stream_of
        from models.graph.whole import whole_of

        return (whole_of if at_once else stream_of)(self.running(), max_buffer_len).start(batch)

    def stream(self, chunk: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """The next chunk of each stream.

        Args:
            chunk: Log-mel frames, shape (B, M, T), any T from 0 up.
            state: What ``init_state`` or the previous call gave; it is left as it was.

        Returns:
            Logits after each frame that the chunk completed, shape (B, T', K), and the next state.
            How the audio is cut into chunks makes no difference.
        """
        return state.stream.push(chunk, state)

    def start_from(self, trained: nn.Module) -> None:
        """Takes over the weights of a trained model where the architectures allow it; else stays as it is.

        They may differ in their ranks: factors start from the truncated SVD of the trained matrices.
        """
        # Not at the top: what is factored are models.
        from models.factored import start_from

        if isinstance(trained, KwsModel):
            start_from(self, trained)

    def float_form(self) -> KwsModel:
        """The model in ordinary float layers, where it is in training for another form."""
        return self


def count_params(model: nn.Module) -> int:
    """Number of trainable numbers of a float model."""
    return sum(parameter.numel() for parameter in model.parameters())


def device_of(model: nn.Module) -> torch.device:
    """Where a model computes."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def clone_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights, on the CPU, that later training leaves alone."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


def spec_values(spec: DataclassInstance) -> Mapping[str, Any]:
    """The fields of a specification, or of a compressor, as plain values that JSON can hold.

    Fields added later are left out while they hold their default, so that runs keep their names.
    """
    return {
        known.name: getattr(spec, known.name)
        for known in fields(spec)
        if not (known.metadata.get("added_later") and getattr(spec, known.name) == known.default)
    }


def size_names(spec: ModelSpec) -> tuple[str, ...]:
    """The fields of a specification that say how large the model is, in their order."""
    return tuple(
        field.name
        for field in fields(spec)
        if not field.metadata.get("added_later") and field.name not in OF_THE_DATA
    )


def mels_of(model: nn.Module) -> int:
    """Mel bands M that a model hears: what its specification says, else the usual ones."""
    return int(getattr(getattr(model, "spec", None), "n_mels", USUAL.front_end.mels))


def example_input(batch: int = 1, frames: int = USUAL.frames, mels: int = USUAL.front_end.mels) -> Tensor:
    """Log-mel shaped zeros (B, M, T)."""
    return torch.zeros(batch, mels, frames)
