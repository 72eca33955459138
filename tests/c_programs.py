"""More small programs, sound for them, and what their C code is held against."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.ship.c_host import HostModel, compile_host
from bench.ship.mcu import stream_logits
from models.integer.model import IntegerModel
from models.integer.ops import (
    Act,
    Attend,
    Concat,
    Conv,
    Gives,
    Input,
    Last,
    MeanTime,
    Pool,
    Program,
)
from models.integer.run import clip as clip_logits

LOGITS = Conv(inputs=(0,), rows=1, channels=2, gives=Gives.LOGITS)


def logits_of(*ops: object) -> Program:
    """Those operations, and logits of the last."""
    return (Input(mels=40), *ops, replace(LOGITS, inputs=(len(ops),)))  # type: ignore[arg-type]


# What gathers comes at different times: its values wait for each other in a stream, and not at a clip's end.
APART = logits_of(
    Conv(inputs=(0,), rows=1, channels=4, kernel_time=3, before=1, after=1, act=Act.RELU),
    Conv(inputs=(1,), channels=3, kernel_time=9, before=2, after=6),
    Last(inputs=(1,)),
    MeanTime(inputs=(2,)),
    Conv(inputs=(1,), channels=1, gives=Gives.ENERGY),
    Attend(inputs=(5, 2)),
    Concat(inputs=(3, 4, 6), act=Act.SILU),
)
# The input itself is gathered; rows of padding around what no longer moves; numbers of 16 bits in windows.
WHOLE = logits_of(
    Last(inputs=(0,)),
    MeanTime(inputs=(0,)),
    Concat(inputs=(1, 2)),
    Conv(inputs=(3,), rows=80, channels=2, kernel_mel=5, stride_mel=3, above=2, below=1, dilation_mel=2),
)
ENERGIES = logits_of(
    Conv(inputs=(0,), rows=1, channels=3, gives=Gives.ENERGY),
    Pool(inputs=(1,), kernel_time=3, before=2, largest=True),
    Conv(inputs=(2,), channels=2, kernel_time=4, dilation_time=3, before=4, after=5, gives=Gives.ENERGY),
    Conv(inputs=(2,), channels=1, gives=Gives.ENERGY),
    Attend(inputs=(4, 3)),
)
OTHERS = {"apart": APART, "whole": WHOLE, "energies": ENERGIES}


def speech(count: int, frames: int = 101, seed: int = 1) -> np.ndarray:
    """Log-mel whose level differs by band, frame and clip, with the loudest and the faintest there are."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 3, (count, 40, 1)) + rng.normal(0, 3, (count, 1, frames))
    found = rng.normal(-5, 3, (count, 40, frames)) + level + rng.normal(0, 2, (count, 1, 1))
    found[..., :2], found[..., 5, -1], found[..., 7, -2] = 1e30, -np.inf, 25.0
    found[..., 40:43] = np.log(1e-9)
    return found.astype(np.float32)


def streamed(host: HostModel, clip: np.ndarray, cuts: list[int]) -> np.ndarray:
    stream = host.init_state()
    return np.concatenate([host.step(part, stream) for part in np.split(clip, cuts, axis=1)])


def expected_stream(model: IntegerModel, log_mel: np.ndarray, kept: int | None = None) -> np.ndarray:
    found = stream_logits(model, log_mel, kept)
    # More than that the stream's single-precision numbers do not hold.
    assert np.abs(found).max(initial=0) < 2**24
    return found


def check_clips_and_streams(model: IntegerModel, folder: Path, seed: int = 0, kept: int = 5) -> None:
    """Both with the code's own buffer and a short one; cuts are drawn."""
    cuts = sorted(np.random.default_rng(seed).integers(0, 330, 9).tolist())
    clips, (long,) = speech(4, seed=seed), speech(1, 330, seed + 1)
    host, short = (
        compile_host(model, folder / "own"),
        compile_host(model, folder / "short", max_buffer_len=kept),
    )
    np.testing.assert_array_equal(host.quantize(clips[0]).T, model.quantize_input(clips[0]))
    np.testing.assert_array_equal(np.stack([host.clip(one) for one in clips]), clip_logits(model, clips)[0])
    np.testing.assert_array_equal(streamed(host, long, cuts), expected_stream(model, long))
    np.testing.assert_array_equal(streamed(short, long, cuts), expected_stream(model, long, kept))
