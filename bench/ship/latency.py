"""How long a model takes on this machine, runtime by runtime, in rounds that take turns."""

from __future__ import annotations

import ctypes
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from compressors.dynamic_quant import DynamicQuant

from bench.features import CLIP_FRAMES
from bench.runs import KWS_FILE, RunFolder, load_integer
from bench.ship.c_host import compile_host
from bench.ship.onnx_export import to_bytes
from bench.ship.onnx_run import OnnxSpotter
from bench.ship.onnx_weights import Weights, in_int8, of_float, of_integer, to_float
from bench.threads import threads as limit_threads
from models.base import KwsModel
from models.crnn import Crnn
from models.errors import KwsError, ModelError
from models.integer import IntegerModel, IntegerSpec

Form = Literal["clip", "step"]
Call = Callable[[], object]
FLOAT, INT8 = "float32", "int8"
# Stored in int8, computed like float: nothing to hold against float.
UNPACKED = "int8 unpacked"
TORCH, ONNX, C = "torch eager", "ONNX Runtime", "C"
# The runtime that the others' times are held against.
REFERENCE = (TORCH, FLOAT)
BURST_S = 0.004
BUFFER_FRAMES = 24
# What a faster time must gain, in most rounds.
MARGIN = 0.05


@dataclass(frozen=True)
class Latency:
    """One runtime's time for a clip of a second, or for one step of a stream.

    Attributes:
        runtime: Who computes.
        weights: What the weights are kept as.
        form: ``clip`` or ``step``; features already made.
        latency_us: Median over the rounds.
        ratio: Median over the rounds of its time against torch eager in float, in the same round.
        faster_than_float: Of int8, against float in the same runtime (C: in ONNX Runtime): yes or no,
            see ``faster_in``; empty where there is nothing to hold it against.
        reason: Why there is no time; empty where there is one.
    """

    runtime: str
    weights: str
    form: Form
    latency_us: float = float("nan")
    ratio: float = float("nan")
    faster_than_float: str = ""
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Runtime:
    """What is timed: calls that take no arguments, for a clip and for a step whose buffer is full."""

    name: str
    weights: str
    clip: Call
    step: Call


@dataclass(frozen=True, eq=False)
class Subject:
    """A run's model in the forms that runtimes want.

    Attributes:
        float_model: Its weights in float.
        int8: Its weights as they ship, or rounded to int8 where it ships in float.
        integer: Its integer model; None where the chain ends in floating point.
        dynamic: Its dynamically quantized form; None where it is not one.
    """

    float_model: Crnn
    int8: Weights
    integer: IntegerModel | None
    dynamic: KwsModel | None


def subject_of(run: RunFolder) -> Subject:
    """A run's model.

    Raises:
        KwsError: There is no complete run, or its model is no ``crnn``.
    """
    if (run.path / KWS_FILE).exists():
        integer = load_integer(run.path / KWS_FILE).integer
        weights = of_integer(integer)
        return Subject(to_float(weights), weights, integer, None)
    model, chain = run.load_float_model()
    if not isinstance(model, Crnn):
        raise ModelError(f"latency is measured of a crnn; {run.run_id} is a {type(model).__name__}")
    quantized = any(isinstance(part, DynamicQuant) for part in chain.parts)
    dynamic = chain.convert(model).eval() if quantized else None
    assert dynamic is None or isinstance(dynamic, KwsModel)
    return Subject(model, in_int8(of_float(model)), None, dynamic)


def torch_runtime(weights: str, model: KwsModel, sizes: IntegerSpec) -> Runtime:
    """Eager torch."""
    clip, chunk = (torch.zeros(1, sizes.n_mels, frames) for frames in (CLIP_FRAMES, sizes.stride[1]))
    before = torch.zeros(1, sizes.n_mels, BUFFER_FRAMES * sizes.stride[1] + sizes.kernel[1])
    _, state = model.stream(before, model.init_state(1, BUFFER_FRAMES))
    return Runtime(TORCH, weights, lambda: model(clip), lambda: model.stream(chunk, state))


def onnx_runtime(label: str, weights: Weights, *, unpacked: bool) -> Runtime:
    """ONNX Runtime, called with NumPy arrays."""
    sizes = weights.sizes
    clip = OnnxSpotter(to_bytes(weights, "clip"), unpacked=unpacked)
    stream = OnnxSpotter(to_bytes(weights, "stream", BUFFER_FRAMES), unpacked=unpacked)
    log_mel = np.zeros((1, sizes.n_mels, CLIP_FRAMES), np.float32)
    window = np.zeros((1, sizes.n_mels, sizes.kernel[1]), np.float32)
    state = stream.init_state()
    return Runtime(ONNX, label, lambda: clip.logits(log_mel), lambda: stream.step(window, state))


def c_runtime(model: IntegerModel, folder: Path) -> Runtime:
    """The exported C code, a shared library called frame by frame."""
    host = compile_host(model, folder, max_buffer_len=BUFFER_FRAMES)
    code, memory = host.code, host.init_state().memory
    features = host.quantize(np.zeros((model.spec.n_mels, CLIP_FRAMES), np.float32))
    frames = [ctypes.c_void_p(frame.ctypes.data) for frame in features[: model.spec.stride[1]]]
    logits = (ctypes.c_int32 * model.spec.n_classes)()
    for _ in range(BUFFER_FRAMES * model.spec.stride[1] + model.spec.kernel[1]):
        code.kws_model_push(memory, frames[0], logits)

    def step() -> None:
        for frame in frames:
            code.kws_model_push(memory, frame, logits)

    return Runtime(C, INT8, lambda: host.clip(features), step)


def prepare(subject: Subject, folder: Path) -> tuple[list[Runtime], list[Latency]]:
    """All runtimes that can be measured here, and rows with a reason for those that cannot.

    ONNX Runtime makes float weights of int8 in every run, unless it is told to do so when it loads the
    file (``unpacked``); it computes in float either way.
    """
    sizes = subject.int8.sizes
    makers: list[tuple[str, str, Callable[[], Runtime]]] = [
        (TORCH, FLOAT, lambda: torch_runtime(FLOAT, subject.float_model, sizes)),
        (ONNX, FLOAT, lambda: onnx_runtime(FLOAT, of_float(subject.float_model), unpacked=False)),
        (ONNX, INT8, lambda: onnx_runtime(INT8, subject.int8, unpacked=False)),
        (ONNX, UNPACKED, lambda: onnx_runtime(UNPACKED, subject.int8, unpacked=True)),
        (C, INT8, lambda: _c_of(subject, folder)),
    ]
    if subject.dynamic is not None:
        dynamic = subject.dynamic
        makers.insert(1, (TORCH, "int8 (dq)", lambda: torch_runtime("int8 (dq)", dynamic, sizes)))
    ready, skipped = [], []
    for name, weights, make in makers:
        try:
            ready.append(make())
        except KwsError as error:
            skipped += [Latency(name, weights, form, reason=str(error)) for form in ("clip", "step")]
    return ready, skipped


def _c_of(subject: Subject, folder: Path) -> Runtime:
    if subject.integer is None:
        raise ModelError("its chain ends in floating point; C is made of chains that end in sq or qat")
    return c_runtime(subject.integer, folder)


def measure(runtimes: Sequence[Runtime], *, rounds: int) -> list[Latency]:
    """Times all runtimes, one burst each a round, so that what else the machine does hits all alike.

    Args:
        runtimes: The first one's times are what ratios are to.
        rounds: Bursts of each.
    """
    calls = {
        (each.name, each.weights, form): getattr(each, form) for form in ("clip", "step") for each in runtimes
    }
    times: dict[tuple[str, str, str], list[float]] = {key: [] for key in calls}
    with limit_threads(1), torch.inference_mode():
        repeats = {key: _repeats(call) for key, call in calls.items()}
        for _ in range(rounds):
            for key, call in calls.items():
                times[key].append(_burst(call, repeats[key]))
    return [_row(key, times) for key in calls]


def _burst(call: Call, repeats: int) -> float:
    """Seconds a call."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def _repeats(call: Call) -> int:
    """Calls that take about as long as a burst should."""
    _burst(call, 3)
    return max(1, round(BURST_S / _burst(call, 3)))


def _row(key: tuple[str, str, str], times: Mapping[tuple[str, str, str], Sequence[float]]) -> Latency:
    name, weights, form = key
    kept: Form = "clip" if form == "clip" else "step"
    latency_us = 1e6 * statistics.median(times[key])
    ratio = statistics.median(against(times[key], times[(*REFERENCE, form)]))
    pair = (ONNX if name == C else name, FLOAT, form)
    held = weights not in (FLOAT, UNPACKED) and pair in times
    faster = faster_in(against(times[key], times[pair])) if held else ""
    return Latency(name, weights, kept, latency_us, ratio, faster)


def against(times: Sequence[float], others: Sequence[float]) -> list[float]:
    """The ratios of times that were taken in the same rounds."""
    return [mine / theirs for mine, theirs in zip(times, others, strict=True)]


def faster_in(ratios: Sequence[float]) -> str:
    """Whether something is faster: by more than 5 % in three quarters of the rounds, or not.

    Example:
        >>> faster_in([0.5, 0.6, 0.8, 1.3]), faster_in([0.5, 0.6, 0.99, 1.3])
        ('yes', 'no')
    """
    fast = sum(ratio < 1 - MARGIN for ratio in ratios)
    return "yes" if fast >= 0.75 * len(ratios) else "no"


def measure_run(run: RunFolder, *, rounds: int) -> list[Latency]:
    """Measures a run's model in all runtimes that there are here.

    Raises:
        KwsError: There is no complete run, or its model is no ``crnn``.
    """
    with tempfile.TemporaryDirectory() as folder:
        runtimes, skipped = prepare(subject_of(run), Path(folder))
        return measure(runtimes, rounds=rounds) + skipped
