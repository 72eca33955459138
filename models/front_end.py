"""What a model hears of audio: the log-mel front end. Nothing here needs torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import TaskError

SAMPLE_RATE_HZ = 16_000
LEAST_HOP_MS, MOST_WINDOW_MS = 5.0, 64.0
LEAST_MELS, MOST_MELS = 8, 128


@dataclass(frozen=True)
class FrontEnd:
    """Log-mel of audio at 16 kHz: bands M of the HTK scale, over windows that overlap.

    Attributes:
        mels: Bands M.
        window_ms: What a frame hears; the transform is of as many points.
        hop_ms: From one frame to the next.

    Examples:
        >>> FrontEnd().frames(16_000), FrontEnd(hop_ms=20).frames(16_000)
        (101, 51)
    """

    mels: int = 40
    window_ms: float = 25.0
    hop_ms: float = 10.0

    def __post_init__(self) -> None:
        if not LEAST_MELS <= self.mels <= MOST_MELS:
            raise TaskError(f"{self.mels} mel bands; give {LEAST_MELS} to {MOST_MELS}")
        if not LEAST_HOP_MS <= self.hop_ms <= self.window_ms <= MOST_WINDOW_MS:
            raise TaskError(
                f"a window of {self.window_ms:g} ms every {self.hop_ms:g} ms; a hop is at least "
                f"{LEAST_HOP_MS:g} ms, a window no shorter than it and at most {MOST_WINDOW_MS:g} ms"
            )
        for name in ("window_ms", "hop_ms"):
            samples = getattr(self, name) * SAMPLE_RATE_HZ / 1000
            if samples % (2 if name == "window_ms" else 1):
                raise TaskError(f"{name} {getattr(self, name):g}: give whole milliseconds, or eighths of one")
        if (widest := self._most_mels()) < self.mels:
            raise TaskError(
                f"{self.mels} mel bands of a window of {self.window_ms:g} ms: some lie between two "
                f"frequencies and hear nothing; give at most {widest}, or a longer window"
            )

    @property
    def window_samples(self) -> int:
        """Samples of a window, as many as points of the transform."""
        return round(self.window_ms * SAMPLE_RATE_HZ / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop_ms * SAMPLE_RATE_HZ / 1000)

    @property
    def frames_per_second(self) -> float:
        """Frames that a second of audio has."""
        return SAMPLE_RATE_HZ / self.hop_samples

    def frames(self, samples: int) -> int:
        """Frames T of so many samples: one stands at either end."""
        return samples // self.hop_samples + 1

    def _most_mels(self) -> int:
        """How many bands there can be until one has no frequency of the spectrum inside."""
        return next(mels for mels in range(self.mels, 0, -1) if _all_hear(mels, self.window_samples))


def corners(mels: int, points: int) -> npt.NDArray[np.float64]:
    """Ends and centres of bands of the HTK scale, in bins of a transform of so many points, (M + 2,)."""
    top = 2595 * math.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    found: npt.NDArray[np.float64] = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    return found / (SAMPLE_RATE_HZ / points)


def _all_hear(mels: int, points: int) -> bool:
    """Whether each band has a frequency of the spectrum between its ends."""
    ends = corners(mels, points)
    return bool((np.ceil(ends[2:]) - np.floor(ends[:-2]) > 1).all())
