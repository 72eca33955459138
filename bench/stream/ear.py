"""Whole recordings, much of each at once: the moments of a ``StreamingSpotter``, sooner.

The model takes all frames of a stretch together, while another thread makes the features of the next one.
Memory does not grow with the audio, but for what is said of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.quality.score import probabilities
from bench.stream.detection import Frame
from bench.stream.spotter import MAX_BUFFER_LEN, Block, flush_mel, init_mel, samples_of, spotting, stream_mel
from bench.threads import threads
from models.front_end import SAMPLE_RATE_HZ, FrontEnd
from models.graph.stream import Flow, flows_of
from models.graph.trace import graph_of
from models.task import UNNAMED, Task

Item = TypeVar("Item")
Floats64 = npt.NDArray[np.float64]

# Of audio that is computed together.
STRETCH_S = 120


@dataclass(frozen=True, eq=False)
class Course:
    """What a model says of a recording.

    Attributes:
        time_s: Of each moment the end of the audio that it has heard, shape (T,).
        probability: Of each word to find, shape (T, words).
    """

    time_s: Floats64
    probability: Floats64

    def of(self, word: int) -> list[Frame]:
        """What it says of the word with that number."""
        pairs = zip(self.time_s.tolist(), self.probability[:, word].tolist(), strict=True)
        return [Frame(*pair) for pair in pairs]


class Mel(Protocol):
    """The log-mel frames (M, T) of a recording, stretch after stretch."""

    @property
    def samples(self) -> int:
        """Of the audio; known once all frames are."""

    def __iter__(self) -> Iterator[Tensor]:
        """In the order of the audio."""


class MelStretches:
    """The log-mel frames of a recording, stretch after stretch; all of them together are those of a stream.

    Attributes:
        samples: Samples read so far; all of them once the frames are.
    """

    def __init__(self, blocks: Iterable[Block], front_end: FrontEnd) -> None:
        self._blocks, self._front_end = blocks, front_end
        self.samples = 0

    def __iter__(self) -> Iterator[Tensor]:
        """Frames (M, T), in the order of the audio."""
        state = init_mel(self._front_end)
        for stretch in _stretches(self._blocks):
            with torch.inference_mode():
                mel, state = stream_mel(stretch, state)
            self.samples += len(stretch)
            yield mel
        with torch.inference_mode():
            last = flush_mel(state)
        yield last


def _stretches(blocks: Iterable[Block]) -> Iterator[Tensor]:
    """Blocks of any length as samples of a stretch or more, less than two."""
    length = STRETCH_S * SAMPLE_RATE_HZ
    waiting: list[Tensor] = []
    missing = length
    for block in blocks:
        for start in range(0, len(block), length):
            waiting.append(samples_of(block[start : start + length]))
            missing -= len(waiting[-1])
            if missing <= 0:
                yield torch.cat(waiting)
                waiting, missing = [], length
    if waiting:
        yield torch.cat(waiting)


def courses(
    model: nn.Module,
    waves: Iterable[Iterable[Block]],
    task: Task = UNNAMED,
    max_buffer_len: int | None = MAX_BUFFER_LEN,
) -> list[Course]:
    """What a model says of whole recordings: times and probabilities as ``StreamingSpotter`` gives them.

    Args:
        model: In any form, on the CPU.
        waves: Of each recording its blocks of samples at 16 kHz, int16, or float32 within [-1, 1].
        task: What the model was trained for.
        max_buffer_len: How many model frames attention looks back on; None for all.

    Raises:
        ModelError: The model cannot be streamed.
    """
    ear = Ear(model, task, max_buffer_len)
    return [ear.hear(MelStretches(blocks, task.front_end)) for blocks in waves]


class Ear:
    """A model that hears whole recordings.

    Its graph is read when it is made: while a graph is read, no other thread may run a module of torch.
    """

    def __init__(
        self, model: nn.Module, task: Task = UNNAMED, max_buffer_len: int | None = MAX_BUFFER_LEN
    ) -> None:
        """See ``courses``."""
        self._model, self._task = spotting(model).eval(), task
        with torch.inference_mode():
            self._fresh = self._model.init_state(1, max_buffer_len, at_once=True)
        graph = graph_of(self._model.running())
        self._flow = flows_of(graph)[graph.logits]

    def hear(self, heard: Mel) -> Course:
        """What the model says of a recording, from its features."""
        said: list[Tensor] = []
        frames, state = 0, self._fresh
        with threads(1), torch.inference_mode():
            for mel in made_ahead(heard):
                logits, state = self._model.stream(mel[None], state)
                said.append(logits[0])
                frames += mel.shape[1]
        logits, front_end = torch.cat(said), self._task.front_end
        ends = decided(self._flow, frames, len(logits)) * front_end.hop_samples
        times = np.minimum(ends + front_end.window_samples // 2, heard.samples) / SAMPLE_RATE_HZ
        return Course(times, probabilities(logits)[:, list(self._task.to_find)])


def decided(flow: Flow, frames: int, decisions: int) -> npt.NDArray[np.int64]:
    """The mel frames with which the decisions on so many of them came, counted from 0.

    They come evenly; the first are missing where a layer waits for a longer buffer.
    """
    first = flow.first if flow.first >= 0 else flow.first % flow.step
    found = np.arange(first, frames, flow.step)
    return found[len(found) - decisions :]


def made_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each made by another thread while the one before is in use."""
    source = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, source, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, source, None)
            yield item
