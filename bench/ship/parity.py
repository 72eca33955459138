"""The parity table: how far each runtime's logits are from those of its reference, on the same clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bench.files import write_text_atomically
from bench.ship.c_host import compile_host
from bench.ship.extras import extra
from bench.ship.onnx_export import to_bytes
from bench.ship.onnx_run import OnnxSpotter
from bench.ship.onnx_weights import Weights, of_float, of_integer, to_float
from models.errors import KwsError
from models.integer import LOGIT_BITS, IntegerModel

Array = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float64]
Maker = Callable[[], Logits]
FLOAT_LIMIT = 1e-5
# What no other runtime needs to reach: the rounding of activations, against the same weights in float.
ROUNDING_LIMIT = 0.5
# A clip on an emulated processor takes seconds.
MCU_CLIPS = 2
MCU_CPU = "cortex-m4"
TORCH, INTEGER = "torch, float", "integer model, NumPy"


@dataclass(frozen=True)
class Parity:
    """One runtime against its reference.

    Attributes:
        runtime: Who computed.
        form: ``clip``, or ``stream``: the last logits of a clip that came window by window.
        reference: What it should compute.
        clips: How many.
        difference: Of logits, the largest in size.
        rms: The root of their mean square.
        limit: That it must not exceed.
        reason: Why there is no difference; empty where there is one.
    """

    runtime: str
    form: str
    reference: str
    clips: int
    difference: float = float("nan")
    rms: float = float("nan")
    limit: float = 0.0
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether it computes what it should; what could not run proves nothing."""
        return bool(self.reason) or self.difference <= self.limit


def parity(model: IntegerModel, log_mel: Array, folder: Path) -> list[Parity]:
    """Runs a model in every runtime that there is here.

    Args:
        model: What ships. Torch and ONNX Runtime compute on the real numbers that its weights stand for.
        log_mel: Clips (N, M, T), N at least 2, no longer than attention's buffer of 24 frames.
        folder: For compiled code.
    """
    references = {TORCH: _torch(model, log_mel), INTEGER: _integer_clip(model, log_mel)}
    rows = []
    for runtime, form, reference, limit, make in _makers(model, log_mel, folder):
        try:
            found = make()
        except KwsError as error:
            rows.append(Parity(runtime, form, reference, 0, limit=limit, reason=str(error)))
            continue
        errors = found - references[reference][: len(found)]
        rms = float(np.sqrt(np.square(errors).mean()))
        rows.append(Parity(runtime, form, reference, len(found), float(np.abs(errors).max()), rms, limit))
    return rows


def _makers(
    model: IntegerModel, log_mel: Array, folder: Path
) -> Iterator[tuple[str, str, str, float, Maker]]:
    """Runtime, form, reference, limit, and what gives the logits (N, K)."""
    weights = of_integer(model)
    plain = of_float(to_float(weights))
    stride = model.spec.stride[1]
    yield TORCH, "stream", TORCH, FLOAT_LIMIT, partial(_torch_stream, model, log_mel)
    for name, content in (("ONNX Runtime, float", plain), ("ONNX Runtime, integer weights", weights)):
        yield name, "clip", TORCH, FLOAT_LIMIT, partial(_onnx_clip, content, log_mel)
        yield name, "stream", TORCH, FLOAT_LIMIT, partial(_onnx_stream, content, log_mel, stride)
    yield INTEGER, "clip", TORCH, ROUNDING_LIMIT, partial(_integer_clip, model, log_mel)
    yield INTEGER, "stream", INTEGER, 0.0, partial(_integer_stream, model, log_mel)
    for form in ("clip", "stream"):
        yield "C on this machine", form, INTEGER, 0.0, partial(_host, model, log_mel, folder, form)
    for form in ("clip", "stream"):
        yield f"C on a {MCU_CPU}", form, INTEGER, 0.0, partial(_mcu, model, log_mel[:MCU_CLIPS], folder, form)


def _real(logits: npt.NDArray[np.int64]) -> Logits:
    return logits / 2.0**LOGIT_BITS


def _torch(model: IntegerModel, log_mel: Array) -> Logits:
    with torch.inference_mode():
        logits: Logits = to_float(of_integer(model))(torch.from_numpy(log_mel)).logits.double().numpy()
    return logits


def _torch_stream(model: IntegerModel, log_mel: Array) -> Logits:
    spotter = to_float(of_integer(model))
    with torch.inference_mode():
        logits, _ = spotter.stream(torch.from_numpy(log_mel), spotter.init_state(len(log_mel)))
    last: Logits = logits[:, -1].double().numpy()
    return last


def _onnx_clip(weights: Weights, log_mel: Array) -> Logits:
    return OnnxSpotter(to_bytes(weights, "clip")).logits(log_mel).astype(np.float64)


def _onnx_stream(weights: Weights, log_mel: Array, stride: int) -> Logits:
    return OnnxSpotter(to_bytes(weights, "stream")).stream(log_mel, stride)[:, -1].astype(np.float64)


def _integer_clip(model: IntegerModel, log_mel: Array) -> Logits:
    return _real(model.clip(log_mel)[0])


def _integer_stream(model: IntegerModel, log_mel: Array) -> Logits:
    width, step = model.spec.kernel[1], model.spec.stride[1]
    state = model.init_state(len(log_mel))
    for start in range(0, log_mel.shape[2] - width + 1, step):
        logits, state = model.step(log_mel[..., start : start + width], state)
    return _real(logits)


def _host(model: IntegerModel, log_mel: Array, folder: Path, form: str) -> Logits:
    host = compile_host(model, folder / f"host_{form}")
    if form == "clip":
        return _real(np.stack([host.clip(clip) for clip in log_mel]).astype(np.int64))
    return _real(np.stack([host.step(clip, host.init_state())[-1] for clip in log_mel]))


def _mcu(model: IntegerModel, log_mel: Array, folder: Path, form: str) -> Logits:
    for module in ("ziglang", "unicorn", "elftools"):
        extra(module, "mcu")
    from bench.ship.mcu import Device
    from bench.ship.mcu_build import CPUS, build_image
    from bench.ship.mcu_machine import Image, Machine

    where, cpu = folder / f"mcu_{form}", CPUS[MCU_CPU]
    where.mkdir(parents=True, exist_ok=True)
    device = Device(Machine(Image.load(build_image(model, cpu, where)), cpu), model.spec)
    found = []
    for mel in model.quantize_input(log_mel).transpose(0, 2, 1):
        device.init()
        steps = (device.push(frame) for frame in mel) if form == "stream" else [device.clip(mel)]
        found.append([logits for logits in steps if logits is not None][-1])
    return _real(np.stack(found))


def write_parity(path: Path, rows: Sequence[Parity], about: str) -> None:
    """Writes the table as a page of the documentation."""
    lines = [
        "# Parity of all runtimes",
        "",
        about,
        "",
        "Made by `tests/bench/ship/test_parity.py`, which fails where a limit is exceeded;",
        "`KWS_BENCH_WRITE_PARITY=1` lets it write this page.",
        "",
        "| runtime | form | reference | clips | largest difference of a logit | rms | limit |",
        "|---|---|---|---|---|---|---|",
        *(_line(row) for row in rows),
        "",
        "`stream` is a clip that came window by window. Torch and ONNX Runtime compute in float on the real",
        "numbers that the integer weights stand for; the integer model differs from them by the rounding of",
        "activations, and everything after it is the same integers, bit for bit.",
        "",
    ]
    write_text_atomically(path, "\n".join(lines))


def _line(row: Parity) -> str:
    largest, rms = ("0" if value == 0 else f"{value:.1e}" for value in (row.difference, row.rms))
    shown = f"{row.reason} | -" if row.reason else f"{largest} | {rms}"
    return f"| {row.runtime} | {row.form} | {row.reference} | {row.clips} | {shown} | {row.limit:g} |"
