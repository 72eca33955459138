"""The contract that every keyword spotter keeps."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from models.graph.stream import StreamState

# One mel frame is 10 ms: hop 160 at 16 kHz.
FRAMES_PER_SECOND = 100
N_MELS = 40
N_CLASSES = 2
# Marks a field of a specification that earlier versions did not have (see ``spec_values``) and that a
# compressor of its own sets: no size of a student.
ADDED_LATER = {"added_later": True}
# Fields of a specification that are the data's affair.
OF_THE_DATA = ("n_mels", "n_classes")


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
    """The architecture of a model: a frozen dataclass of plain values for each family."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuses what cannot be built.

        Raises:
            ModelError: Says which field is wrong and what would be right.
        """


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

    def init_state(self, batch: int, max_buffer_len: int | None = 24) -> StreamState:
        """The state before the first chunk; see ``models.graph.stream``.

        Args:
            batch: Number of streams B.
            max_buffer_len: How many frames what takes all of time (attention, a mean) looks back on; None
                for all.

        Raises:
            ModelError: The forward cannot be read, or not be streamed.
        """
        # Not at the top: a graph is read from models.
        from models.graph.stream import stream_of

        return stream_of(self.running(), max_buffer_len).start(batch)

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
        """Takes over the weights of a trained model where the architectures allow it; else stays as it is."""
        if isinstance(trained, KwsModel) and self.spec == trained.spec:
            self.load_state_dict(trained.state_dict())

    def float_form(self) -> KwsModel:
        """The model in ordinary float layers, where it is in training for another form."""
        return self


def count_params(model: nn.Module) -> int:
    """Number of trainable numbers of a float model."""
    return sum(parameter.numel() for parameter in model.parameters())


def clone_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights that later training leaves alone."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def spec_values(spec: ModelSpec) -> Mapping[str, Any]:
    """The fields of a specification, as plain values that JSON can hold.

    Fields added later are left out while they hold their default, so that runs keep their names.
    """
    return {
        field.name: getattr(spec, field.name)
        for field in fields(spec)
        if not (field.metadata.get("added_later") and getattr(spec, field.name) == field.default)
    }


def size_names(spec: ModelSpec) -> tuple[str, ...]:
    """The fields of a specification that say how large the model is, in their order."""
    return tuple(
        field.name
        for field in fields(spec)
        if not field.metadata.get("added_later") and field.name not in OF_THE_DATA
    )


def example_input(batch: int = 1, frames: int = 2 * FRAMES_PER_SECOND) -> Tensor:
    """Log-mel shaped zeros (B, M, T); two seconds is what MACs are counted on."""
    return torch.zeros(batch, N_MELS, frames)
