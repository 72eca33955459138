"""ONNX files written by hand: the GRU operator, int8 weights, clip and streaming forms, little else.

torch's own exporter adds 20 to 37 KB of names to such a model and stores quantized weights as float.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.files import write_atomically
from bench.ship import onnx_task
from bench.ship.extras import extra
from bench.ship.onnx_timing import timing_of
from bench.ship.onnx_weights import Form, Weights, in_int8, of_float, of_integer
from models.base import KwsModel
from models.errors import KwsError, ModelError
from models.integer.model import IntegerModel
from models.integer.ops import Pool, buffer_frames, step_frames
from models.task import Task

if TYPE_CHECKING:
    from onnx import ModelProto

# Of what is written here, not of ONNX; stands in the file's last metadata, before its checksum.
VERSION = 2
KEY = "kws_bench"
DIGEST = 16
# Weights of 4 bits came with 21, means over windows with gaps with 19.
OPSET, OPSET_NEW = 17, 21


class OnnxFileError(KwsError):
    """An ONNX file that cannot be read: cut, altered, newer, or something else altogether."""


def write_onnx(
    model: KwsModel | IntegerModel,
    path: Path,
    *,
    form: Form = "clip",
    weights: Literal["float", "int8"] = "float",
    max_buffer_len: int | None = None,
    task: Task | None = None,
) -> int:
    """Writes a model as an ONNX file, as a whole or not at all.

    The opset is 17, or 21 where there are weights of 4 bits and less. Weights are int8 (or int4) behind
    DequantizeLinear, with a scale for each row, and everything is computed in float: nothing saturates,
    whatever the processor.

    Args:
        model: A float model, or an integer model, whose weights are written as they are.
        path: Where to; an existing file is replaced.
        form: ``clip``: ``log_mel`` (B, M, T) -> ``logits`` (B, K). ``stream``: the frames of one step,
            ``window`` (B, M, W), and the state -> ``logits`` and the next state. A state starts with zeros,
            ``energies`` with minus infinity; each comes back as ``next_...``.
        weights: Of a float model: as they are, or rounded to int8.
        max_buffer_len: Frames N that what takes all of time looks back on, in ``stream``; None for as
            many as everywhere.
        task: What is asked of it, which the file then says; None: an integer model's own, or nothing.

    Returns:
        Bytes of the file.

    Raises:
        KwsError: The model has an operation that is not known, or ``onnx`` is not installed.
    """
    asked = model.task if task is None and isinstance(model, IntegerModel) else task
    data = to_bytes(_weights(model, weights), form, max_buffer_len, asked)
    write_atomically(path, data)
    return len(data)


def _weights(model: KwsModel | IntegerModel, weights: Literal["float", "int8"]) -> Weights:
    if isinstance(model, IntegerModel):
        return of_integer(model)
    if not isinstance(model, KwsModel):
        raise ModelError(f"a {type(model).__name__} cannot be written as ONNX; a KwsModel can")
    found = of_float(model)
    return in_int8(found) if weights == "int8" else found


def to_bytes(
    weights: Weights, form: Form, max_buffer_len: int | None = None, task: Task | None = None
) -> bytes:
    """The file's content. The checksum, of all that stands before it, are its last bytes."""
    onnx = extra("onnx", "onnx")
    from bench.ship.onnx_graph import build_graph

    usual = buffer_frames(step_frames(weights.program)[-1], clip_frames=task.frames if task else 0)
    kept = usual if max_buffer_len is None else max_buffer_len
    if kept < 1:
        raise ModelError(f"a buffer of {kept} frames holds nothing; it must be at least 1")
    opset = OPSET_NEW if _needs_new(weights) else OPSET
    model: ModelProto = onnx.helper.make_model(
        build_graph(weights, form, kept, opset),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=10 if opset == OPSET_NEW else 8,
    )
    for key, value in {} if task is None else onnx_task.properties(task).items():
        model.metadata_props.add(key=key, value=value)
    model.metadata_props.add(key=KEY, value=f"{VERSION} {_about(weights, form)}{'0' * DIGEST}")
    onnx.checker.check_model(model, full_check=True)
    body: bytes = model.SerializeToString(deterministic=True)[:-DIGEST]
    return body + _digest(body)


def _needs_new(weights: Weights) -> bool:
    """Whether something in it came with a later version of the operators."""
    if any(matrix.bits <= 4 for own in weights.matrices for matrix in own):
        return True
    pools = (op for op in weights.program if isinstance(op, Pool) and not op.largest)
    return any(op.dilation_mel > 1 or op.dilation_time > 1 for op in pools)


def _about(weights: Weights, form: Form) -> str:
    """What who runs a stream must know: see ``Timing``."""
    if form == "clip":
        return ""
    timing = timing_of(weights.program)
    return f"hop={timing.hop} ahead={timing.ahead} skip={timing.skip} "


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:DIGEST].encode()


def read_onnx(path: Path) -> bytes:
    """The content of a file that ``write_onnx`` wrote, checked.

    Raises:
        OnnxFileError: There is none, or it is no such file, cut, altered or newer; the message says which.
    """
    onnx = extra("onnx", "onnx")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OnnxFileError(f"{path} cannot be read: {error.strerror}") from None
    try:
        model = onnx.load_model_from_string(data)
    except Exception:  # protobuf's own, which it names differently from version to version
        raise OnnxFileError(f"{path} is cut, altered or no ONNX file; export it again") from None
    about = {entry.key: entry.value for entry in model.metadata_props}.get(KEY, "")
    version = about.partition(" ")[0]
    if not version.isdigit():
        raise OnnxFileError(f"{path} is cut, or was not written by bench export; export it again")
    if int(version) > VERSION:
        raise OnnxFileError(
            f"{path} is of version {version} and this toolkit reads up to {VERSION}; update it"
        )
    if data[-DIGEST:] != _digest(data[:-DIGEST]):
        raise OnnxFileError(f"{path} was altered: its checksum does not match; export it again")
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise OnnxFileError(f"{path} is no valid ONNX model: {reason}") from None
    return data
