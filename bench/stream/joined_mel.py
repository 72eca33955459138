"""The log-mel of joined streams, made once for all models that hear them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.features import VERSION, stored
from bench.stream.ear import STRETCH_S, MelStretches
from bench.stream.joined import Joined
from bench.stream.running import Sounds
from models.front_end import FrontEnd

# Raised whenever the same joining would sound different.
RENDER_VERSION = 1


@dataclass(frozen=True, eq=False)
class KeptMel:
    """The frames of a recording, memory-mapped.

    Attributes:
        frames: Log-mel, float32, shape (M, T).
        samples: Of the audio.
        front_end: What made them.
    """

    frames: Tensor
    samples: int
    front_end: FrontEnd

    def __iter__(self) -> Iterator[Tensor]:
        """Stretch after stretch."""
        return iter(torch.split(self.frames, round(STRETCH_S * self.front_end.frames_per_second), 1))


def joined_mel(joined: Joined, sounds: Sounds, front_end: FrontEnd) -> KeptMel:
    """The frames of a joined stream from the cache, made there first if they are missing."""

    def fill(target: npt.NDArray[np.float32]) -> None:
        done = 0
        for mel in MelStretches(sounds.blocks(joined), front_end):
            target[:, done : done + mel.shape[1]] = mel.numpy()
            done += mel.shape[1]

    of = [sounds.corpus.hash, *([sounds.speech.hash, sounds.band_hz] if sounds.speech else [])]
    key = {"joined": joined, "of": of, "front_end": front_end, "made": (VERSION, RENDER_VERSION)}
    shape = (front_end.mels, front_end.frames(joined.samples))
    return KeptMel(stored(key, shape, np.float32, fill), joined.samples, front_end)
