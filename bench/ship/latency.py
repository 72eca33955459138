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

from bench.results.runs import RunFolder
from bench.ship.c_host import compile_host
from bench.ship.export import of_run
from bench.ship.onnx_export import to_bytes
from bench.ship.onnx_run import OnnxSpotter
from bench.ship.onnx_weights import Weights, in_float, in_int8, of_float, of_integer
from bench.threads import threads as limit_threads
from models.base import KwsModel
from models.errors import KwsError, ModelError
from models.graph.stream import flows_of
from models.graph.trace import graph_of
from models.integer.kws import IntegerKws
from models.integer.model import IntegerModel
from models.integer.ops import buffer_frames

Form = Literal["clip", "step"]
Call = Callable[[], object]
FLOAT, INT8 = "float32", "int8"
# Stored in int8, computed like float: nothing to hold against float.
UNPACKED = "int8 unpacked"
TORCH, ONNX, C = "torch eager", "ONNX Runtime", "C"
# The runtime that the others' times are held against.
REFERENCE = (TORCH, FLOAT)
BURST_S = 0.004
# What a faster time must gain, in most rounds.
MARGIN = 0.05


@dataclass(frozen=True)
class Latency:
    """One runtime's time for a clip, or for one step of a stream.

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
        model: In float; where it ships in integers, the real numbers that its weights stand for.
        integer: Its integer model; None where the chain ends in floating point.
        converted: What torch runs where a converter made something else of it, such as its dynamically
            quantized form, and by which token; None where there is none.
    """

    model: KwsModel
    integer: IntegerModel | None = None
    converted: tuple[str, KwsModel] | None = None

    @property
    def frames(self) -> int:
        """Frames T of a clip."""
        return self.model.spec.clip_frames if self.integer is None else self.integer.task.frames

    def real(self) -> Weights:
        """Its weights in float.

        Raises:
            ModelError: It has an operation that ONNX files have no form for.
        """
        return of_float(self.model) if self.integer is None else in_float(of_integer(self.integer))

    def int8(self) -> Weights:
        """Its weights as they ship, or rounded to int8 where it ships in float."""
        return in_int8(self.real()) if self.integer is None else of_integer(self.integer)


def subject_of(run: RunFolder) -> Subject:
    """A run's model.

    Raises:
        KwsError: There is no complete run.
    """
    shipped = run.load_model()
    if isinstance(shipped, IntegerKws):
        integer = of_run(shipped.integer, run)
        return Subject(of_integer(integer).model(), integer)
    model, chain = run.load_float_model()
    if not chain.converts:
        return Subject(model)
    assert isinstance(shipped, KwsModel)
    return Subject(model, None, (chain.text.partition("+")[0].partition(":")[0], shipped))


def torch_runtime(weights: str, model: KwsModel, clip_frames: int) -> Runtime:
    """Eager torch.

    Raises:
        ModelError: It cannot be streamed.
    """
    graph = graph_of(model.running())
    flow = flows_of(graph)[graph.logits]
    mels, kept = graph.nodes[0].axes[1].size, buffer_frames(flow.step, clip_frames=clip_frames)
    # Past the first decision and the next N, each chunk of a step makes one.
    frames = (clip_frames, flow.step, flow.first + 1 + kept * flow.step)
    clip, chunk, before = (torch.zeros(1, mels, count) for count in frames)
    _, state = model.stream(before, model.init_state(1, kept))
    return Runtime(TORCH, weights, lambda: model(clip), lambda: model.stream(chunk, state))


def onnx_runtime(label: str, weights: Weights, frames: int, *, unpacked: bool) -> Runtime:
    """ONNX Runtime, called with NumPy arrays."""
    clip = OnnxSpotter(to_bytes(weights, "clip"), unpacked=unpacked)
    stream = OnnxSpotter(to_bytes(weights, "stream"), unpacked=unpacked)
    window = np.zeros((1, *stream.window), np.float32)
    log_mel, state = np.zeros((1, stream.window[0], frames), np.float32), stream.init_state()
    return Runtime(ONNX, label, lambda: clip.logits(log_mel), lambda: stream.step(window, state))


def c_runtime(model: IntegerModel, folder: Path) -> Runtime:
    """The exported C code, a shared library called frame by frame."""
    host, hop = compile_host(model, folder), model.step_frames
    code, memory = host.code, host.init_state().memory
    features = host.quantize(np.zeros((model.n_mels, model.task.frames), np.float32))
    frame, logits = ctypes.c_void_p(features.ctypes.data), (ctypes.c_int32 * model.n_classes)()
    while not code.kws_model_push(memory, frame, logits):
        pass
    for _ in range(model.buffer * hop):
        code.kws_model_push(memory, frame, logits)

    def step() -> None:
        for _ in range(hop):
            code.kws_model_push(memory, frame, logits)

    return Runtime(C, INT8, lambda: host.clip(features), step)


def prepare(subject: Subject, folder: Path) -> tuple[list[Runtime], list[Latency]]:
    """All runtimes that can be measured here, and rows with a reason for those that cannot.

    ONNX Runtime makes float weights of int8 in every run, unless it is told to do so when it loads the
    file (``unpacked``); it computes in float either way.

    Raises:
        KwsError: The model cannot be streamed.
    """
    frames = subject.frames
    makers: list[tuple[str, str, Callable[[], Runtime]]] = [
        (ONNX, FLOAT, lambda: onnx_runtime(FLOAT, subject.real(), frames, unpacked=False)),
        (ONNX, INT8, lambda: onnx_runtime(INT8, subject.int8(), frames, unpacked=False)),
        (ONNX, UNPACKED, lambda: onnx_runtime(UNPACKED, subject.int8(), frames, unpacked=True)),
        (C, INT8, lambda: _c_of(subject, folder)),
    ]
    if subject.converted is not None:
        token, converted = subject.converted
        label = f"{INT8} ({token})"
        makers.insert(0, (TORCH, label, lambda: torch_runtime(label, converted, frames)))
    ready, skipped = [torch_runtime(FLOAT, subject.model, frames)], []
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

    Examples:
        >>> faster_in([0.5, 0.6, 0.8, 1.3]), faster_in([0.5, 0.6, 0.99, 1.3])
        ('yes', 'no')
    """
    fast = sum(ratio < 1 - MARGIN for ratio in ratios)
    return "yes" if fast >= 0.75 * len(ratios) else "no"


def measure_run(run: RunFolder, *, rounds: int) -> list[Latency]:
    """Measures a run's model in all runtimes that there are here.

    Raises:
        KwsError: There is no complete run, or its model cannot be streamed.
    """
    with tempfile.TemporaryDirectory() as folder:
        runtimes, skipped = prepare(subject_of(run), Path(folder))
        return measure(runtimes, rounds=rounds) + skipped
