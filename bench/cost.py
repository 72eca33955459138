"""What a model costs: multiply-accumulates, parameters, bytes, milliseconds."""

from __future__ import annotations

import contextlib
import io
import resource
import statistics
import sys
import time
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from ptflops import get_model_complexity_info
from torch import Tensor, nn

from bench.threads import threads as limit_threads
from models.base import USUAL, KwsModel, count_params, example_input, mels_of
from models.errors import ModelError
from models.front_end import FrontEnd

BYTES_PER_KB = 1024
# The study's input.
MACS_S = 2
MACS_FRAMES = round(MACS_S * USUAL.front_end.frames_per_second)


@dataclass(frozen=True)
class Cost:
    """What a float model costs; its converted form keeps these.

    Attributes:
        macs: Multiply-accumulates on 2 seconds, as ptflops counts layers.
        macs_per_s: Multiply-accumulates for each further second of audio.
        params: Trainable numbers.
        theoretical_kb: 4 bytes a parameter, in KB of 1024 bytes.
    """

    macs: int
    macs_per_s: float
    params: int
    theoretical_kb: float


def cost(model: KwsModel, front_end: FrontEnd = USUAL.front_end) -> Cost:
    """Counts a float model.

    Args:
        model: In evaluation or training mode.
        front_end: What says how many frames a second has.

    Raises:
        ModelError: ptflops cannot count it; it does not know converted layers.
    """
    a_second = front_end.frames_per_second
    short, longer = round(MACS_S * a_second), round((MACS_S + 10) * a_second)
    macs, params = count_macs(model, short), count_params(model)
    macs_a_frame = (count_macs(model, longer) - macs) / (longer - short)
    return Cost(macs, macs_a_frame * a_second, params, 4 * params / BYTES_PER_KB)


def count_macs(model: KwsModel, frames: int = MACS_FRAMES) -> int:
    """Multiply-accumulates of the layers for one input of (1, M, frames), by ptflops.

    Layers only, as in the reference study: the softmax and the weighted sum over time (H + 1 for each
    frame after the convolution, .1 to .4 % of the whole) are left out.

    Raises:
        ModelError: The model is quantized, whose layers ptflops would pass over, or ptflops failed.

    Examples:
        >>> from models.crnn import CrnnSpec
        >>> from models.registry import build
        >>> count_macs(build(CrnnSpec()).eval())
        1953865
    """
    if any("quantized" in type(module).__module__ for module in model.modules()):
        raise ModelError("MACs are counted on the float model, before it is quantized")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        macs, _ = get_model_complexity_info(
            deepcopy(model).eval(),  # ptflops leaves its hooks behind
            (mels_of(model), frames),
            as_strings=False,
            print_per_layer_stat=False,
            backend="pytorch",
            # Layers of our own say themselves what a frame costs.
            custom_modules_hooks={
                type(module): _count_own for module in model.modules() if hasattr(module, "macs_per_frame")
            },
            backend_specific_config={"count_functional": False},
        )
    if not isinstance(macs, (int, float)) or macs <= 0:
        reason = (printed.getvalue().strip().splitlines() or ["no layer that it knows"])[-1]
        raise ModelError(f"ptflops cannot count {type(model).__name__}: {reason}")
    return int(macs)


def _count_own(module: Any, inputs: tuple[Tensor, ...], _outputs: object) -> None:
    """The hook by which ptflops counts a recurrent layer that it does not know; inputs (B, T, I)."""
    batch, frames = inputs[0].shape[:2]
    module.__flops__ += batch * frames * module.macs_per_frame


def latency_ms(model: nn.Module, frames: int = USUAL.frames, *, threads: int = 1, runs: int = 30) -> float:
    """Median time of a forward pass of one clip of so many frames, features already made, in milliseconds."""
    clip = example_input(1, frames, mels_of(model))
    times = []
    with limit_threads(threads), torch.inference_mode():
        for _ in range(runs + 5):
            started = time.perf_counter()
            model(clip)
            times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[5:])


def peak_memory_mb() -> float:
    """The most resident memory that this process has held, in MB of 1024 KB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 / (1024 if sys.platform == "darwin" else 1)
