"""The parity table: how far each runtime's logits are from those of its reference, model by model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from bench.ship.onnx_weights import Weights, in_float, of_integer
from models.base import KwsModel
from models.errors import KwsError
from models.integer.kws import IntegerKws
from models.integer.model import LOGIT_BITS, IntegerModel

Array = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float64]
Maker = Callable[[], Logits]
FORMS = ("clip", "stream")
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
        model: Whose numbers.
        runtime: Who computed.
        form: ``clip``, or ``stream``: every decision on a clip that came frame by frame.
        reference: What it should compute, in the same form.
        clips: How many.
        difference: Of logits, the largest in size.
        rms: The root of their mean square.
        limit: That it must not exceed.
        reason: Why there is no difference; empty where there is one.
    """

    model: str
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


def parity(models: Mapping[str, IntegerModel], log_mel: Array, folder: Path) -> list[Parity]:
    """Runs models in every runtime that there is here.

    Args:
        models: What ships, by name. Torch and ONNX Runtime compute on the real numbers that its weights
            stand for.
        log_mel: Clips (N, M, T), N at least 2, of at least one decision of a stream.
        folder: For compiled code.
    """
    rows = []
    for name, model in models.items():
        references = _references(model, log_mel)
        for runtime, form, reference, limit, make in _makers(model, log_mel, references, folder / name):
            try:
                found = make()
            except KwsError as error:
                rows.append(Parity(name, runtime, form, reference, 0, limit=limit, reason=str(error)))
                continue
            errors = found - references[reference, form][: len(found)]
            rms = float(np.sqrt(np.square(errors).mean()))
            largest = float(np.abs(errors).max())
            rows.append(Parity(name, runtime, form, reference, len(found), largest, rms, limit))
    return rows


def _references(model: IntegerModel, log_mel: Array) -> dict[tuple[str, str], Logits]:
    """What torch and the integer model say, in each form."""
    spotters = ((TORCH, of_integer(model).model()), (INTEGER, IntegerKws(model).eval()))
    return {(who, form): _spotted(each, model, log_mel, form) for who, each in spotters for form in FORMS}


def _makers(
    model: IntegerModel, log_mel: Array, references: Mapping[tuple[str, str], Logits], folder: Path
) -> Iterator[tuple[str, str, str, float, Maker]]:
    """Runtime, form, reference, limit, and what gives the logits."""
    weights = of_integer(model)
    contents = {"ONNX Runtime, float": in_float(weights), "ONNX Runtime, integer weights": weights}
    for name, content in contents.items():
        for form in FORMS:
            yield name, form, TORCH, FLOAT_LIMIT, partial(_onnx, content, log_mel, form, model.buffer)
    for form in FORMS:
        yield INTEGER, form, TORCH, ROUNDING_LIMIT, partial(references.__getitem__, (INTEGER, form))
    for form in FORMS:
        yield "C on this machine", form, INTEGER, 0.0, partial(_host, model, log_mel, folder, form)
    for form in FORMS:
        yield f"C on a {MCU_CPU}", form, INTEGER, 0.0, partial(_mcu, model, log_mel[:MCU_CLIPS], folder, form)


def _real(logits: npt.NDArray[np.int64]) -> Logits:
    return logits / 2.0**LOGIT_BITS


def _spotted(spotter: KwsModel, model: IntegerModel, log_mel: Array, form: str) -> Logits:
    heard = torch.from_numpy(log_mel)
    with torch.inference_mode():
        if form == "clip":
            logits = spotter(heard).logits
        else:
            state = spotter.init_state(len(heard), model.buffer)
            logits, _ = spotter.stream(heard, state)
    found: Logits = logits.double().numpy()
    return found


def _onnx(weights: Weights, log_mel: Array, form: str, kept: int) -> Logits:
    if form == "clip":
        return OnnxSpotter(to_bytes(weights, "clip")).logits(log_mel).astype(np.float64)
    return OnnxSpotter(to_bytes(weights, "stream", kept)).stream(log_mel).astype(np.float64)


def _host(model: IntegerModel, log_mel: Array, folder: Path, form: str) -> Logits:
    where = folder / f"host_{form}"
    where.mkdir(parents=True, exist_ok=True)
    host = compile_host(model, where)
    if form == "clip":
        return _real(np.stack([host.clip(clip) for clip in log_mel]).astype(np.int64))
    return _real(np.stack([host.step(clip, host.init_state()) for clip in log_mel]))


def _mcu(model: IntegerModel, log_mel: Array, folder: Path, form: str) -> Logits:
    for module in ("ziglang", "unicorn", "elftools"):
        extra(module, "mcu")
    from bench.ship.mcu import Device
    from bench.ship.mcu_build import CPUS, build_image
    from bench.ship.mcu_machine import Image, Machine

    where, cpu = folder / f"mcu_{form}", CPUS[MCU_CPU]
    where.mkdir(parents=True, exist_ok=True)
    device = Device(Machine(Image.load(build_image(model, cpu, where)), cpu), model)
    found = []
    for mel in model.quantize_input(log_mel).transpose(0, 2, 1):
        device.init()
        if form == "clip":
            found.append(device.clip(mel))
        else:
            pushed = (device.push(frame) for frame in mel)
            found.append(np.stack([logits for logits in pushed if logits is not None]))
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
        "| model | runtime | form | reference | clips | largest difference of a logit | rms | limit |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(row) for row in rows),
        "",
        "`stream` is every decision on a clip that came frame by frame; a form is held to its reference's.",
        "Torch and ONNX Runtime compute in float on the real numbers that the integer weights stand for; the",
        "integer model differs from them by the rounding of activations, and everything after it is the same",
        "integers, bit for bit.",
        "",
    ]
    write_text_atomically(path, "\n".join(lines))


def _line(row: Parity) -> str:
    largest, rms = ("0" if value == 0 else f"{value:.1e}" for value in (row.difference, row.rms))
    shown = f"{row.reason} | -" if row.reason else f"{largest} | {rms}"
    about = f"| {row.model} | {row.runtime} | {row.form} | {row.reference} | {row.clips} "
    return f"{about}| {shown} | {row.limit:g} |"
