"""Reading recordings: any rate, any number of channels, any length, to int16 mono at 16 kHz.

``read_clip`` gives exactly one clip, ``read_audio`` the whole file, ``stream_audio`` block after block in
constant memory. All three go the same way through the file, so they agree sample for sample.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from bench.data.corpora.base import Int16Array
from bench.data.cutting import fit_clip
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ

FloatArray = npt.NDArray[np.float32]

# A text in UTF-16 begins as a frame of MPEG layer I could; libsndfile's decoder would say so aloud.
UTF16_MARK = b"\xff\xfe"
# Fewer samples a second hold no speech; more are a damaged header.
LEAST_RATE_HZ, MOST_RATE_HZ = 2_000, 768_000
READ_FRAMES = 65_536
# The resampling filter reaches less than 7.1 periods of the reduced rates to either side, whatever they are.
CONTEXT_PERIODS = 8
# Rates that share no divisor with 16,000 would need a filter of gigabytes. This bound leaves every common
# rate as it is, and rounds the others by less than 0.07 %.
MAX_PERIOD_SAMPLES = 800


class AudioError(CorpusError):
    """One file that cannot be read as audio.

    Attributes:
        reason: What is wrong with it, without its path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        """Composes the one line out of the file and what is wrong with it."""
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def read_clip(path: Path, clip_samples: int) -> Int16Array:
    """A clip of a file, int16 mono 16 kHz, shape (L,); see ``fit_clip``.

    Raises:
        AudioError: The file cannot be read as audio, or holds no samples.
    """
    return fit_clip(read_audio(path), clip_samples)


def read_audio(path: Path) -> Int16Array:
    """A whole file, int16 mono 16 kHz, shape (L,).

    Raises:
        AudioError: The file cannot be read as audio, or holds no samples.
    """
    blocks = list(_file_blocks(path))
    if not blocks:
        raise AudioError(path, "holds no samples")
    return np.concatenate(blocks)


def is_audio(path: Path) -> bool:
    """Whether libsndfile can open a file, whatever its name; headerless formats are none."""
    try:
        # Unbuffered: libsndfile reads on where the descriptor stands.
        with path.open("rb", buffering=0) as opened:
            if opened.read(2) == UTF16_MARK:
                return False
            opened.seek(0)
            with soundfile.SoundFile(opened.fileno(), closefd=False):
                return True
    except (OSError, soundfile.LibsndfileError):
        return False


def stream_audio(source: Path | str | BinaryIO, block_samples: int) -> Iterator[Int16Array]:
    """Audio of any length in constant memory, as int16 mono 16 kHz blocks.

    Where a block ends makes no difference to the samples, at any rate of the file.

    Args:
        source: An audio file; or a binary stream of raw PCM (little-endian int16, mono, 16 kHz), for
            which ``"-"`` means standard input. Of a stream no more is read than the block asked for.
        block_samples: Samples a block, all but the last, which is shorter where the audio ends.

    Raises:
        AudioError: While iterating: the file cannot be read as audio.
        ValueError: ``block_samples`` is not positive.
    """
    if block_samples < 1:
        raise ValueError(f"block_samples must be at least 1, not {block_samples}")
    if isinstance(source, str | Path):
        if str(source) != "-":
            return _reblock(_file_blocks(Path(source)), block_samples)
        return _pcm_blocks(sys.stdin.buffer, block_samples)
    return _pcm_blocks(source, block_samples)


def roughly_samples(path: Path) -> int:
    """How many samples ``read_audio`` would give, as the file's head has it; 0 where it cannot be read."""
    try:
        with path.open("rb") as opened, soundfile.SoundFile(opened.fileno(), closefd=False) as file:
            return int(file.frames * SAMPLE_RATE_HZ / file.samplerate)
    except (OSError, soundfile.LibsndfileError):
        return 0


def to_int16(samples: FloatArray) -> Int16Array:
    """Samples in [-1, 1) as int16; what lies beyond is clipped. Exact for what came from int16."""
    info = np.iinfo(np.int16)
    scaled = np.rint(samples * np.float32(-info.min))
    clipped: Int16Array = np.clip(scaled, info.min, info.max).astype(np.int16)
    return clipped


def reduced_rates(rate_hz: int) -> tuple[int, int]:
    """The file's rate and 16 kHz in smallest whole numbers, such as (441, 160) for 44,100 Hz."""
    ratio = Fraction(rate_hz, SAMPLE_RATE_HZ).limit_denominator(MAX_PERIOD_SAMPLES)
    return ratio.numerator, ratio.denominator


def _file_blocks(path: Path) -> Iterator[Int16Array]:
    """A file as int16 mono 16 kHz, in blocks as long as they happen to come."""
    if not path.is_file():
        raise AudioError(path, "no such file")
    try:
        with path.open("rb") as opened, soundfile.SoundFile(opened.fileno(), closefd=False) as file:
            _check_rate(path, file.samplerate)
            blocks = _mono_blocks(file, path)
            if file.samplerate != SAMPLE_RATE_HZ:
                blocks = _resampled(blocks, *reduced_rates(file.samplerate))
            for block in blocks:
                yield to_int16(block)
    except soundfile.LibsndfileError as error:
        raise AudioError(path, error.error_string.removeprefix("Error : ").rstrip(".")) from error
    except OSError as error:
        raise AudioError(path, error.strerror or str(error)) from error


def _check_rate(path: Path, rate_hz: int) -> None:
    if not LEAST_RATE_HZ <= rate_hz <= MOST_RATE_HZ:
        raise AudioError(
            path, f"a sampling rate of {rate_hz:,} Hz; {LEAST_RATE_HZ:,} to {MOST_RATE_HZ:,} Hz can be read"
        )


def _mono_blocks(file: Any, path: Path) -> Iterator[FloatArray]:
    """The mean of the channels, float32 at the file's own rate."""
    # Always by way of float: libsndfile does not scale float files when it is asked for int16.
    # Read after read: ``blocks`` asks for a seek, which some codings (GSM 6.10, G.721) do not know.
    while len(block := file.read(READ_FRAMES, dtype="float32", always_2d=True)):
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise AudioError(path, "holds samples that are no finite numbers")
        yield mono


def _resampled(blocks: Iterator[FloatArray], period_in: int, period_out: int) -> Iterator[FloatArray]:
    """Blocks at another rate; equals resampling their concatenation.

    The filter repeats itself every ``period_in`` samples, so any stretch that starts at a multiple of it
    gives the same samples as the whole, except at its ends: there, context is resampled and thrown away.
    """
    held = np.zeros(0, np.float32)
    lead = 0  # Periods at the front of ``held`` that were given out before and serve as context.
    for block in blocks:
        held = np.concatenate([held, block])
        ready = len(held) // period_in - CONTEXT_PERIODS
        if ready <= lead:
            continue
        yield _resample(held, period_in, period_out)[lead * period_out : ready * period_out]
        dropped = max(0, ready - CONTEXT_PERIODS)
        held, lead = held[dropped * period_in :], ready - dropped
    rest = _resample(held, period_in, period_out)[lead * period_out :] if len(held) else held
    if len(rest):
        yield rest


def _resample(samples: FloatArray, period_in: int, period_out: int) -> FloatArray:
    import torch  # Here, for it takes seconds to import and files of 16 kHz do without.

    with torch.inference_mode():
        resampled: FloatArray = _resampler(period_in, period_out)(torch.from_numpy(samples)).numpy()
    return resampled


@lru_cache(maxsize=8)
def _resampler(period_in: int, period_out: int) -> Callable[..., Any]:
    # The transform keeps the filter that ``functional.resample`` would make anew for every file.
    from bench.data.torchaudio_import import transforms

    resampler: Callable[..., Any] = transforms.Resample(period_in, period_out)
    return resampler


def _reblock(pieces: Iterator[Int16Array], block_samples: int) -> Iterator[Int16Array]:
    """The same samples in blocks of one length, the last one shorter."""
    held = np.zeros(0, np.int16)
    for piece in pieces:
        held = np.concatenate([held, piece])
        while len(held) >= block_samples:
            yield held[:block_samples]
            held = held[block_samples:]
    if len(held):
        yield held


def _pcm_blocks(stream: BinaryIO, block_samples: int) -> Iterator[Int16Array]:
    """Raw little-endian int16 from a stream; half a sample at its very end is dropped."""
    wanted_bytes = 2 * block_samples
    held = b""
    # A pipe may give less than it was asked for, long before its end.
    while piece := stream.read(wanted_bytes - len(held)):
        held += piece
        if len(held) == wanted_bytes:
            yield np.frombuffer(held, "<i2").astype(np.int16)
            held = b""
    if len(held) >= 2:
        yield np.frombuffer(held[: len(held) // 2 * 2], "<i2").astype(np.int16)
