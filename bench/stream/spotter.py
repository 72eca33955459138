"""Audio of any length, block after block: log-mel frames, then a keyword probability for each model frame.

Pure functions over explicit states; nothing depends on where the blocks are cut, and nothing grows with
the length of the audio. Several streams can share one model, each with a state of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.data.corpora.base import SAMPLE_RATE_HZ, Int16Array
from bench.data.features import log_mel, to_float
from bench.quality.score import probabilities
from bench.stream.detection import Frame
from models.base import KwsModel
from models.errors import ModelError
from models.front_end import FrontEnd
from models.graph.stream import decision_frames, delay_frames
from models.graph.trace import graph_of
from models.integer.ops import LOOK_BACK_FRAMES, buffer_frames

Block = Int16Array | npt.NDArray[np.float32]

# The first window reaches this far before the audio, the last one as far behind it.
N_FFT, HOP_SAMPLES = FrontEnd().window_samples, FrontEnd().hop_samples
EDGE_SAMPLES = N_FFT // 2
MAX_BUFFER_LEN = 24


class MelState(NamedTuple):
    """A stream of samples, as far as frames to come still need it.

    Attributes:
        samples: From the start of the next window on, shape (L,), at most ``N_FFT``; before the first
            frame the audio itself, without its edge.
        frames: Frames given so far.
        heard_samples: Samples received so far.
    """

    samples: Tensor
    frames: int
    heard_samples: int


def init_mel() -> MelState:
    """The state before the first sample."""
    return MelState(torch.zeros(0), 0, 0)


def stream_mel(block: Tensor, state: MelState) -> tuple[Tensor, MelState]:
    """The log-mel frames that a block completes; all of them together equal ``features.log_mel``.

    Args:
        block: Samples within [-1, 1] at 16 kHz, shape (L,), any L from 0 up.
        state: What ``init_mel`` or the previous call gave; it is left as it was.

    Returns:
        Frames, shape (M, T), and the next state. A frame comes as soon as its window is complete, the
        first ones once there are enough samples to reflect the left edge.
    """
    samples = torch.cat([state.samples, block])
    heard = state.heard_samples + len(block)
    if not state.frames:
        if heard <= EDGE_SAMPLES:
            return torch.zeros(FrontEnd().mels, 0), MelState(samples, 0, heard)
        samples = torch.cat([samples[1 : EDGE_SAMPLES + 1].flip(0), samples])
    return _complete(samples, state.frames, heard)


def flush_mel(state: MelState) -> Tensor:
    """The frames (M, T) left at the end of the audio, with the right edge reflected.

    Audio of at most 200 samples has no frames: it is too short to reflect, offline as well.
    """
    if not state.frames:
        return torch.zeros(FrontEnd().mels, 0)
    # The overlap of two windows is longer than the edge, so the state always holds enough to reflect.
    edge = state.samples[-EDGE_SAMPLES - 1 : -1].flip(0)
    frames, _ = _complete(torch.cat([state.samples, edge]), state.frames, state.heard_samples)
    return frames


def _complete(samples: Tensor, frames: int, heard_samples: int) -> tuple[Tensor, MelState]:
    """All whole windows of samples that begin with one, and what the next window needs."""
    count = max(0, (len(samples) - N_FFT) // HOP_SAMPLES + 1)
    rest = samples[count * HOP_SAMPLES :].clone()
    state = MelState(rest, frames + count, heard_samples)
    if not count:
        return torch.zeros(FrontEnd().mels, 0), state
    # The edges are ours: windows begin where the samples do.
    return log_mel(samples, center=False), state


class SpotterState(NamedTuple):
    """All that a stream remembers.

    Attributes:
        mel: Of the samples.
        model: Of the model, see ``KwsModel.stream``.
    """

    mel: MelState
    model: Any


def _spotting(model: nn.Module) -> KwsModel:
    if not isinstance(model, KwsModel):
        raise ModelError(f"a {type(model).__name__} cannot stream: it is no KwsModel")
    return model


def frames_back(model: nn.Module, asked: int | None, look_back: int = LOOK_BACK_FRAMES) -> int:
    """How many model frames a stream looks back on: those asked for, or those of so many mel frames.

    Raises:
        ModelError: The model cannot be read, or not be streamed.
    """
    if asked is not None:
        return asked
    return buffer_frames(decision_frames(graph_of(_spotting(model).running())), look_back)


def ahead(model: nn.Module) -> str:
    """How far ahead a model hears, for the terminal; empty where it does not."""
    frames = delay_frames(graph_of(_spotting(model).running()))
    ahead_ms = 1000 * frames / FrontEnd().frames_per_second
    return f"; it hears {ahead_ms:g} ms ahead, and decides so much later" if frames else ""


def init_spotter(model: KwsModel, max_buffer_len: int | None = MAX_BUFFER_LEN) -> SpotterState:
    """The state before the first block.

    Args:
        model: Shared by as many streams as there are states.
        max_buffer_len: How many model frames attention looks back on; None for all, and then memory
            grows with the audio.
    """
    return SpotterState(init_mel(), model.init_state(1, max_buffer_len))


def spot(model: KwsModel, block: Block, state: SpotterState) -> tuple[list[Frame], SpotterState]:
    """The next block of a stream.

    Args:
        model: Float, pruned or dynamically quantized, in evaluation mode.
        block: Samples at 16 kHz, shape (L,), int16, or float32 within [-1, 1].
        state: What ``init_spotter`` or the previous call gave; it is left as it was.

    Returns:
        Time and keyword probability of each model frame that the block completed, and the next state.
    """
    with torch.inference_mode():
        mel, mel_state = stream_mel(_samples(block), state.mel)
        frames, model_state = _probabilities(model, mel, state, mel_state.heard_samples)
    return frames, SpotterState(mel_state, model_state)


def finish(model: KwsModel, state: SpotterState) -> list[Frame]:
    """The model frames left at the end of the audio."""
    with torch.inference_mode():
        return _probabilities(model, flush_mel(state.mel), state, state.mel.heard_samples)[0]


def _samples(block: Block) -> Tensor:
    if block.ndim != 1 or block.dtype not in (np.int16, np.float32):
        raise ValueError(f"a block is int16 or float32 of shape (L,), not {block.dtype} {block.shape}")
    if block.dtype == np.int16:
        return to_float(block.astype(np.int16, copy=False))
    if not np.isfinite(block).all():
        # One such sample would stay in the model's state for good.
        raise ValueError("a block holds samples that are no finite numbers")
    return torch.from_numpy(block.astype(np.float32))


def _probabilities(
    model: KwsModel, mel: Tensor, state: SpotterState, heard_samples: int
) -> tuple[list[Frame], Any]:
    """Feeds mel frames (M, T) one by one: it is the model that knows which of them complete a frame."""
    frames, model_state = [], state.model
    for index in range(mel.shape[1]):
        logits, model_state = model.stream(mel[None, :, index : index + 1], model_state)
        if logits.shape[1]:
            seen = min((state.mel.frames + index) * HOP_SAMPLES + EDGE_SAMPLES, heard_samples)
            probability = probabilities(logits[:, -1])[:, 1]
            frames.append(Frame(seen / SAMPLE_RATE_HZ, float(probability[0])))
    return frames, model_state


class StreamingSpotter:
    """One stream over a model: ``push`` blocks, then ``finish``; the functions above, with the state kept.

    Example::

        spotter = StreamingSpotter(model)
        for block in stream_audio("talk.flac", block_samples=1280):
            for time_s, probability in spotter.push(block):
                print(time_s, probability)
    """

    def __init__(self, model: nn.Module, max_buffer_len: int | None = MAX_BUFFER_LEN) -> None:
        """Starts a stream.

        Raises:
            ModelError: The model is in a form that has no ``stream``.
        """
        self._model = _spotting(model).eval()
        self._max_buffer_len = max_buffer_len
        self.state = init_spotter(self._model, max_buffer_len)

    @property
    def heard_s(self) -> float:
        """Seconds of audio received."""
        return self.state.mel.heard_samples / SAMPLE_RATE_HZ

    def push(self, block: Block) -> list[Frame]:
        """Time and probability of each model frame that the block completes."""
        frames, self.state = spot(self._model, block, self.state)
        return frames

    def finish(self) -> list[Frame]:
        """The frames left at the end of the audio; ``reset`` before the next stream."""
        return finish(self._model, self.state)

    def reset(self) -> None:
        """Forgets all that was heard."""
        self.state = init_spotter(self._model, self._max_buffer_len)
