"""``bench mcu``: what an exported model takes on a microcontroller, and that it computes the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bench.data.corpora.base import Int16Array
from bench.data.features import log_mel, to_float
from bench.ship.c_plan import Plan
from bench.ship.mcu_build import Cpu, build_image
from bench.ship.mcu_machine import SCRATCH, Image, Machine
from models.errors import KwsError
from models.graph.stream import stream_of
from models.integer.fixed_point import Int
from models.integer.kws import IntegerKws
from models.integer.model import IntegerModel
from models.integer.run import clip as clip_logits

Float32 = npt.NDArray[np.float32]
# Room for the longest clip: of 801 frames of 128 bands, or 64,000 samples.
MEL, SAMPLES, LOGITS, FEATURES = (SCRATCH + (offset << 10) for offset in (0, 256, 512, 544))


class ParityError(KwsError):
    """The code does not compute on the processor what the integer model does."""


@dataclass(frozen=True)
class Part:
    """What one part, the model or the front end, takes.

    Attributes:
        flash: Bytes by kind: code, weights, scales, tables.
        state_bytes: What a stream remembers between calls.
        stack_bytes: At the most, in any of its calls.
        step_instructions: At the most, for the audio of one model step.
    """

    flash: dict[str, int]
    state_bytes: int
    stack_bytes: int
    step_instructions: int


@dataclass(frozen=True)
class McuReport:
    """What was measured.

    Attributes:
        cpu: The processor.
        step_ms: Audio between two model steps.
        model: From quantized log-mel to logits.
        frontend: From samples to quantized log-mel.
        shared_bytes: Functions that the compiler adds for both: 64-bit shifts, floats in software.
        clip_bytes: The function for whole clips, which a stream does not need.
        clips: How many were compared, as clips and as streams; all logits were equal.
        frontend_error: Largest difference of the front end to ``log_mel``, on one clip.
    """

    cpu: Cpu
    step_ms: float
    model: Part
    frontend: Part
    shared_bytes: int
    clip_bytes: int
    clips: int
    frontend_error: float


class Device:
    """The exported functions on an emulated processor."""

    def __init__(self, machine: Machine, model: IntegerModel) -> None:
        self.machine, self._integer = machine, model
        self._value = np.int8 if model.activations == 8 else np.int16
        self._model, self._frontend = machine.address("kws_mcu_model"), machine.address("kws_mcu_frontend")

    def init(self) -> None:
        """Before a stream's first frame."""
        self.machine.call("kws_model_init", self._model)

    def push(self, frame: Int) -> Int | None:
        """One quantized frame (M,); logits (K,) where it completes a step."""
        self.machine.write(MEL, frame.astype(self._value))
        if not self.machine.call("kws_model_push", self._model, MEL, LOGITS):
            return None
        return self.machine.read(LOGITS, self._integer.n_classes, np.int32).astype(np.int64)

    def clip(self, mel: Int) -> Int:
        """Logits (K,) of a quantized clip (T, M)."""
        self.machine.write(MEL, mel.astype(self._value))
        self.machine.call("kws_model_clip", self._model, MEL, len(mel), LOGITS)
        return self.machine.read(LOGITS, self._integer.n_classes, np.int32).astype(np.int64)

    def hear(self, samples: Int16Array) -> Iterator[Float32]:
        """Log-mel frames (M,) of audio of at most a clip, as they come."""
        self.machine.write(SAMPLES, samples)
        self.machine.call("kws_frontend_init", self._frontend)
        at = 0
        while True:
            where, rest = SAMPLES + 2 * at, len(samples) - at
            given = self.machine.call("kws_frontend_push", self._frontend, where, rest, LOGITS, FEATURES)
            if not given:
                break
            at += int(self.machine.read(LOGITS, 1, np.uint32)[0])
            yield self._features()
        while self.machine.call("kws_frontend_flush", self._frontend, FEATURES):
            yield self._features()

    def quantize(self, frame: Float32) -> Int:
        """One frame (M,) as the model reads it."""
        self.machine.write(FEATURES, frame)
        self.machine.call("kws_model_quantize", FEATURES, MEL)
        return self.machine.read(MEL, self._integer.n_mels, self._value).astype(np.int64)

    def _features(self) -> Float32:
        return self.machine.read(FEATURES, self._integer.n_mels, np.float32).copy()


def measure(model: IntegerModel, cpu: Cpu, waveforms: Int16Array, folder: Path) -> McuReport:
    """Compiles a model, compares it with NumPy on real clips, and counts.

    Args:
        model: What ships.
        cpu: The processor.
        waveforms: Clips of the model's task, shape (N, L).
        folder: Where sources and image go.

    Raises:
        KwsError: The extra ``mcu`` is missing, the compiler failed, or a logit differs.
    """
    image = Image.load(build_image(model, cpu, folder))
    device = Device(Machine(image, cpu), model)
    front_end = model.task.front_end
    features = log_mel(to_float(waveforms), front_end).numpy()
    _compare(device, model, features)
    stack = device.machine.peak_stack_bytes()
    step = _model_step(device, model, features)
    device.machine.paint_stack()
    error, per_frame = _hear(device, waveforms[0], features[0], front_end.hop_samples)
    sections, symbols = image.sections, image.symbols
    model_part = Part(
        {kind: sections.get(f"model_{kind}", 0) for kind in ("code", "weights", "scales", "tables")},
        symbols["kws_mcu_model"][1],
        stack,
        step,
    )
    frontend_part = Part(
        {kind: sections.get(f"frontend_{kind}", 0) for kind in ("code", "tables")},
        symbols["kws_mcu_frontend"][1],
        device.machine.peak_stack_bytes(),
        model.step_frames * per_frame,
    )
    rest = (sections.get("shared_code", 0), sections.get("clip_code", 0), len(waveforms), error)
    return McuReport(cpu, front_end.hop_ms * model.step_frames, model_part, frontend_part, *rest)


def stream_logits(model: IntegerModel, log_mel: Float32, max_buffer_len: int | None = None) -> Int:
    """The integer model's logits (T', K) after each step of log-mel (M, T), as its stream gives them.

    They come as single-precision numbers, so those of 2^24 and more, 256 as logits, are rounded.
    """
    stream = stream_of(IntegerKws(model).eval(), max_buffer_len or model.buffer)
    (logits,), _ = stream.push(torch.from_numpy(log_mel[None]), stream.start(1))
    whole: Int = np.rint(logits.double().numpy() / model.formats[-1].step).astype(np.int64)
    return whole


def _compare(device: Device, model: IntegerModel, features: Float32) -> None:
    """Every clip as a whole and as a stream."""
    for index, clip in enumerate(features):
        mel, expected = model.quantize_input(clip).T, stream_logits(model, clip)
        whole = clip_logits(model, clip[None])[0][0]
        device.init()
        stepped = np.array([logits for logits in map(device.push, mel) if logits is not None])
        same = np.array_equal(stepped.astype(np.float32), expected.astype(np.float32))
        if not same or not np.array_equal(device.clip(mel), whole):
            raise ParityError(f"clip {index}: {device.clip(mel)} on the processor, {whole} in NumPy")


def _model_step(device: Device, model: IntegerModel, features: Float32) -> int:
    """Instructions from one step's logits to the next, at the most, once what takes all of time is full."""
    frames = [frame for clip in features for frame in model.quantize_input(clip).T]
    steps = model.buffer + 4
    while len(frames) < steps * model.step_frames + Plan(model).first[len(model.program) - 1] + 1:
        frames = frames * 2
    warm = len(frames) - 4 * model.step_frames
    device.init()
    for frame in frames[:warm]:
        device.push(frame)
    counts, device_machine = [], device.machine
    device_machine.count(True)
    for frame in frames[warm:]:
        before = device_machine.instructions
        device.push(frame)
        counts.append(device_machine.instructions - before)
    device_machine.count(False)
    step = model.step_frames
    return max(sum(counts[start : start + step]) for start in range(0, len(counts), step))


def _hear(device: Device, samples: Int16Array, features: Float32, hop: int) -> tuple[float, int]:
    """The front end on one clip: its largest error, and instructions a frame at the most."""
    heard = np.stack(list(device.hear(samples)), 1)
    counts = []
    device.machine.count(True)
    for frame in device.hear(samples[: 10 * hop]):
        device.quantize(frame)
        counts.append(device.machine.instructions)
    device.machine.count(False)
    return float(np.abs(heard - features).max()), int(np.diff(counts).max())
