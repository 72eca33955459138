"""Audio of any length, block after block: log-mel frames, then the words' probabilities at each model frame.

Pure functions over explicit states; nothing depends on where the blocks are cut, and nothing grows with
the length of the audio. Several streams can share one model, each with a state of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.corpora.base import SAMPLE_RATE_HZ, Int16Array
from bench.data.features import log_mel, to_float
from bench.quality.score import probabilities
from bench.stream.detection import Moment
from models.base import KwsModel
from models.errors import ModelError
from models.front_end import FrontEnd
from models.graph.stream import decision_frames, delay_frames
from models.graph.trace import graph_of
from models.integer.ops import buffer_frames
from models.task import UNNAMED, Task

Block = Int16Array | npt.NDArray[np.float32]

MAX_BUFFER_LEN = 24


class MelState(NamedTuple):
    """A stream of samples, as far as frames to come still need it.

    Attributes:
        front_end: What makes frames of them.
        samples: The last ones, shape (L,): the next window from its beginning on, and what the right edge
            would be reflected from; before the first frame the audio itself, without its left edge.
        begun: Samples of them before the next window.
        frames: Frames given so far.
        heard_samples: Samples received so far.
    """

    front_end: FrontEnd
    samples: Tensor
    begun: int = 0
    frames: int = 0
    heard_samples: int = 0

    @property
    def edge_samples(self) -> int:
        """How far the first window reaches before the audio, and the last one behind it."""
        return self.front_end.window_samples // 2

    def heard_s(self, frame: int) -> float:
        """The end of the audio that a frame has heard, of those received."""
        end = frame * self.front_end.hop_samples + self.edge_samples
        return min(end, self.heard_samples) / SAMPLE_RATE_HZ


def init_mel(front_end: FrontEnd = UNNAMED.front_end) -> MelState:
    """The state before the first sample."""
    return MelState(front_end, torch.zeros(0))


def stream_mel(block: Tensor, state: MelState) -> tuple[Tensor, MelState]:
    """The log-mel frames that a block completes; all of them together equal ``features.log_mel``.

    Args:
        block: Samples within [-1, 1] at 16 kHz, shape (L,), any L from 0 up.
        state: What ``init_mel`` or the previous call gave; it is left as it was.

    Returns:
        Frames, shape (M, T), and the next state. A frame comes as soon as its window is complete, the
        first ones once there are enough samples to reflect the left edge.
    """
    edge = state.edge_samples
    samples, heard = torch.cat([state.samples, block]), state.heard_samples + len(block)
    state = state._replace(samples=samples, heard_samples=heard)
    if state.frames:
        return _complete(state)
    if heard <= edge:
        return torch.zeros(state.front_end.mels, 0), state
    return _complete(state._replace(samples=torch.cat([samples[1 : edge + 1].flip(0), samples])))


def flush_mel(state: MelState) -> Tensor:
    """The frames (M, T) left at the end of the audio, with the right edge reflected.

    Audio of at most half a window has no frames: it is too short to reflect, offline as well.
    """
    if not state.frames:
        return torch.zeros(state.front_end.mels, 0)
    edge = state.samples[-state.edge_samples - 1 : -1].flip(0)
    return _complete(state._replace(samples=torch.cat([state.samples, edge])))[0]


def _complete(state: MelState) -> tuple[Tensor, MelState]:
    """All whole windows of the samples, and what the next one needs."""
    front, waiting = state.front_end, state.samples[state.begun :]
    count = max(0, (len(waiting) - front.window_samples) // front.hop_samples + 1)
    start = state.begun + count * front.hop_samples
    kept = min(start, len(state.samples) - state.edge_samples - 1)
    rest = state.samples[kept:].clone()
    after = state._replace(samples=rest, begun=start - kept, frames=state.frames + count)
    if not count:
        return torch.zeros(front.mels, 0), after
    # The edges are ours: windows begin where the samples do.
    return log_mel(waiting, front, center=False), after


class SpotterState(NamedTuple):
    """All that a stream remembers.

    Attributes:
        mel: Of the samples.
        model: Of the model, see ``KwsModel.stream``.
        to_find: The classes that are words to find.
    """

    mel: MelState
    model: Any
    to_find: tuple[int, ...]


def spotting(model: nn.Module) -> KwsModel:
    """A model that can stream.

    Raises:
        ModelError: It is in a form that has no ``stream``.
    """
    if not isinstance(model, KwsModel):
        raise ModelError(f"a {type(model).__name__} cannot stream: it is no KwsModel")
    return model


def frames_back(model: nn.Module, asked: int | None, look_back: int | None = None) -> int:
    """How many model frames a stream looks back on.

    Args:
        model: In any form.
        asked: So many.
        look_back: As many as fit into so many mel frames; where neither is given into those of 1.92 s at the
            usual hop, or of a clip where that is longer.

    Raises:
        ModelError: The model cannot be read, or not be streamed.
    """
    if asked is not None:
        return asked
    known = spotting(model)
    step = decision_frames(graph_of(known.running()))
    if look_back is not None:
        return buffer_frames(step, look_back)
    return buffer_frames(step, clip_frames=known.spec.clip_frames)


def ahead(model: nn.Module, front_end: FrontEnd = UNNAMED.front_end) -> str:
    """How far ahead a model hears, for the terminal; empty where it does not."""
    ahead_ms = delay_frames(graph_of(spotting(model).running())) * front_end.hop_ms
    return f"; it hears {ahead_ms:g} ms ahead, and decides so much later" if ahead_ms else ""


def init_spotter(
    model: KwsModel, max_buffer_len: int | None = MAX_BUFFER_LEN, task: Task = UNNAMED
) -> SpotterState:
    """The state before the first block.

    Args:
        model: Shared by as many streams as there are states.
        max_buffer_len: How many model frames attention looks back on; None for all, and then memory
            grows with the audio.
        task: What the model was trained for: its front end, and which classes are words to find.
    """
    return SpotterState(init_mel(task.front_end), model.init_state(1, max_buffer_len), task.to_find)


def spot(model: KwsModel, block: Block, state: SpotterState) -> tuple[list[Moment], SpotterState]:
    """The next block of a stream.

    Args:
        model: Float, pruned, quantized or of integers, in evaluation mode.
        block: Samples at 16 kHz, shape (L,), int16, or float32 within [-1, 1].
        state: What ``init_spotter`` or the previous call gave; it is left as it was.

    Returns:
        Time and the words' probabilities of each model frame that the block completed, and the next state.
    """
    with torch.inference_mode():
        mel, mel_state = stream_mel(samples_of(block), state.mel)
        return _moments(model, mel, state._replace(mel=mel_state))


def finish(model: KwsModel, state: SpotterState) -> list[Moment]:
    """The model frames left at the end of the audio."""
    with torch.inference_mode():
        mel = flush_mel(state.mel)
        frames = state.mel.frames + mel.shape[1]
        return _moments(model, mel, state._replace(mel=state.mel._replace(frames=frames)))[0]


def samples_of(block: Block) -> Tensor:
    """A block as floats within [-1, 1], shape (L,).

    Raises:
        ValueError: It is none.
    """
    if block.ndim != 1 or block.dtype not in (np.int16, np.float32):
        raise ValueError(f"a block is int16 or float32 of shape (L,), not {block.dtype} {block.shape}")
    if block.dtype == np.int16:
        return to_float(block.astype(np.int16, copy=False))
    if not np.isfinite(block).all():
        # One such sample would stay in the model's state for good.
        raise ValueError("a block holds samples that are no finite numbers")
    return torch.from_numpy(block.astype(np.float32))


def _moments(model: KwsModel, mel: Tensor, state: SpotterState) -> tuple[list[Moment], SpotterState]:
    """Feeds mel frames (M, T) one by one: it is the model that knows which of them complete a frame.

    The state of the samples is that after these frames; the model's, that before them.
    """
    moments, model_state = [], state.model
    first = state.mel.frames - mel.shape[1]
    for index in range(mel.shape[1]):
        logits, model_state = model.stream(mel[None, :, index : index + 1], model_state)
        if logits.shape[1]:
            found = probabilities(logits[:, -1])[0, list(state.to_find)]
            moments.append(Moment(state.mel.heard_s(first + index), tuple(found.tolist())))
    return moments, state._replace(model=model_state)


class StreamingSpotter:
    """One stream over a model: ``push`` blocks, then ``finish``; the functions above, with the state kept.

    Example::

        spotter = StreamingSpotter(model)
        for block in stream_audio("talk.flac", block_samples=1280):
            for time_s, (probability,) in spotter.push(block):
                print(time_s, probability)
    """

    def __init__(
        self, model: nn.Module, max_buffer_len: int | None = MAX_BUFFER_LEN, task: Task = UNNAMED
    ) -> None:
        """Starts a stream; see ``init_spotter``.

        Raises:
            ModelError: The model is in a form that has no ``stream``.
        """
        self._model = spotting(model).eval()
        self._max_buffer_len = max_buffer_len
        self.task = task
        self.reset()

    def reset(self) -> None:
        """Forgets all that was heard."""
        self.state = init_spotter(self._model, self._max_buffer_len, self.task)

    @property
    def heard_s(self) -> float:
        """Seconds of audio received."""
        return self.state.mel.heard_samples / SAMPLE_RATE_HZ

    def push(self, block: Block) -> list[Moment]:
        """Time and the words' probabilities of each model frame that the block completes."""
        moments, self.state = spot(self._model, block, self.state)
        return moments

    def finish(self) -> list[Moment]:
        """The frames left at the end of the audio; ``reset`` before the next stream."""
        return finish(self._model, self.state)

    def follow(self, blocks: Iterable[Block]) -> Iterator[list[Moment]]:
        """A whole stream, from its beginning to its end: what each block completes, and what is left."""
        self.reset()
        yield from map(self.push, blocks)
        yield self.finish()

    def hear(self, blocks: Iterable[Block]) -> list[Moment]:
        """All of it at once."""
        return [*chain.from_iterable(self.follow(blocks))]
