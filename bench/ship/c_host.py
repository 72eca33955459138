"""Exported C code on this machine: compiled to a shared library and called from Python."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.files import write_text_atomically
from bench.ship.c_export import write_c
from models.errors import KwsError
from models.integer.file import load
from models.integer.fixed_point import Int
from models.integer.model import IntegerModel

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")
# What the structs hold is the C code's own affair; so much is enough for any of them.
_WRAPPER = """#include "kws_model.h"
#include "kws_frontend.h"
unsigned kws_host_model_bytes(void);
unsigned kws_host_frontend_bytes(void);
unsigned kws_host_model_bytes(void) { return sizeof(kws_model); }
unsigned kws_host_frontend_bytes(void) { return sizeof(kws_frontend); }
"""


class Sizes(NamedTuple):
    """What callers of exported code need to know.

    Attributes:
        mels: Bands M of a frame.
        classes: Logits K.
        activation_bits: Of quantized log-mel, 8 or 16.
        step_frames: Mel frames from one decision to the next.
        buffer: Frames that attention and means over time look back on, unless the compiler is told otherwise.
    """

    mels: int
    classes: int
    activation_bits: int
    step_frames: int
    buffer: int


class CompilerError(KwsError):
    """There is no C compiler, or it refuses the code."""


def find_compiler() -> list[str] | None:
    """The command of a C compiler: the system's, or the one in the package ziglang; None without."""
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    return [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") else None


def compile_host(
    artifact: IntegerModel | Path,
    folder: Path,
    *,
    max_buffer_len: int | None = None,
    compiler: Sequence[str] | None = None,
    flags: Sequence[str] = FLAGS,
) -> HostModel:
    """Writes a model's C code and compiles it for this machine.

    Args:
        artifact: An integer model, a ``.kws`` file, or a folder of exported C code.
        folder: Where code and library go.
        max_buffer_len: Frames that attention and means over time look back on; None: the code's own.
        compiler: Command; None for what ``find_compiler`` finds.
        flags: Of the compiler; any warning is an error.

    Raises:
        KwsError: The artifact cannot be read, there is no compiler, or it refuses the code.
    """
    command = list(compiler or find_compiler() or ())
    if not command:
        raise CompilerError("no C compiler: install gcc or clang, or pip install ziglang")
    if isinstance(artifact, Path) and not artifact.is_dir():
        artifact = load(artifact)
    source = artifact if isinstance(artifact, Path) else folder
    if isinstance(artifact, IntegerModel):
        write_c(artifact, folder)
    wrapper = folder / "kws_host.c"
    write_text_atomically(wrapper, _WRAPPER)
    # A name of its own: what is loaded already would not be loaded again under the same one.
    handle, library = tempfile.mkstemp(prefix="kws_host_", suffix=".so", dir=folder)
    os.close(handle)
    inputs = [source / "kws_model.c", source / "kws_frontend.c", wrapper]
    buffer = [] if max_buffer_len is None else [f"-DKWS_MODEL_BUFFER={max_buffer_len}"]
    how = [*flags, *buffer, f"-I{source}", "-shared", "-fPIC"]
    done = subprocess.run(
        [*command, *how, *map(str, inputs), "-o", library],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        Path(library).unlink()
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
        raise CompilerError(f"{command[0]} refuses the exported code: {first}")
    return HostModel(Path(library), sizes_in(source / "kws_model.h"))


def sizes_in(header: Path) -> Sizes:
    """The sizes that an exported header fixes."""
    lines = [line.split() for line in header.read_text().splitlines()]
    found = {
        line[1]: int(line[2]) for line in lines if line[:1] == ["#define"] and line[2:3] and line[2].isdigit()
    }
    return Sizes(*(found[f"KWS_MODEL_{name.upper()}"] for name in Sizes._fields))


@dataclass(eq=False)
class HostStream:
    """One stream's state, see ``HostModel.step``."""

    memory: ctypes.Array[ctypes.c_char]


class HostFrontend:
    """One stream through the C front end."""

    def __init__(self, code: ctypes.CDLL, n_mels: int) -> None:
        self._code, self._n_mels = code, n_mels
        self._memory = ctypes.create_string_buffer(int(code.kws_host_frontend_bytes()))
        code.kws_frontend_init(self._memory)

    def push(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
        """The frames (M, T) that the next samples (L,) complete."""
        samples, used = np.ascontiguousarray(samples, np.int16), ctypes.c_size_t()
        frame = np.zeros(self._n_mels, np.float32)
        found: list[npt.NDArray[np.float32]] = []
        while True:
            rest = ctypes.c_size_t(len(samples))
            where = (_at(samples), rest, ctypes.byref(used), _at(frame))
            given = self._code.kws_frontend_push(self._memory, *where)
            samples = samples[used.value :]
            if not given:
                return _frames(found, self._n_mels)
            found.append(frame.copy())

    def flush(self) -> npt.NDArray[np.float32]:
        """The frames (M, T) left at the end."""
        frame, found = np.zeros(self._n_mels, np.float32), []
        while self._code.kws_frontend_flush(self._memory, _at(frame)):
            found.append(frame.copy())
        return _frames(found, self._n_mels)


class HostModel:
    """The compiled code; the same integers as ``IntegerModel``.

    Attributes:
        sizes: What it was compiled for.
        code: The library, for calls without what this class does around them.
    """

    def __init__(self, library: Path, sizes: Sizes) -> None:
        self.sizes = sizes
        self.code = ctypes.CDLL(str(library.resolve()))
        self._value = np.int8 if sizes.activation_bits == 8 else np.int16
        self._scratch = self.init_state()

    def quantize(self, log_mel: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Float log-mel of shape (M, T) to integers of shape (T, M), as the C code wants them."""
        frames = np.ascontiguousarray(log_mel.T, np.float32)
        out = np.zeros(frames.shape, self._value)
        for source, target in zip(frames, out, strict=True):
            self.code.kws_model_quantize(_at(source), _at(target))
        return out

    def clip(self, features: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Logits (K,) of a whole clip: float log-mel (M, T), or integers (T, M) that ``quantize`` gave.

        Raises:
            ValueError: The clip is too short for a decision.
        """
        mel = self._integers(features)
        logits = np.zeros(self.sizes.classes, np.int32)
        if not self.code.kws_model_clip(
            self._scratch.memory, _at(mel), ctypes.c_uint16(len(mel)), _at(logits)
        ):
            raise ValueError(f"a clip of {len(mel)} frames is too short for a decision")
        return logits

    def init_state(self) -> HostStream:
        """The state of a stream before its first frame."""
        stream = HostStream(ctypes.create_string_buffer(int(self.code.kws_host_model_bytes())))
        self.code.kws_model_init(stream.memory)
        return stream

    def step(self, features: npt.NDArray[Any], stream: HostStream) -> Int:
        """Logits (T', K) of the steps that the next frames complete; the state moves on.

        Args:
            features: As ``clip`` takes them, any T from 0 up.
            stream: What ``init_state`` gave.
        """
        mel, logits, found = self._integers(features), np.zeros(self.sizes.classes, np.int32), []
        for frame in mel:
            if self.code.kws_model_push(stream.memory, _at(frame), _at(logits)):
                found.append(logits.copy())
        return np.array(found, np.int64).reshape(-1, self.sizes.classes)

    def frontend(self) -> HostFrontend:
        """A stream of samples before its first."""
        return HostFrontend(self.code, self.sizes.mels)

    def log_mel(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
        """Features (M, T) of int16 samples (L,) by the C front end, from the first frame to the last."""
        frontend = self.frontend()
        return np.concatenate([frontend.push(samples), frontend.flush()], 1)

    def _integers(self, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if features.dtype == self._value:
            return np.ascontiguousarray(features)
        return self.quantize(features)


def _frames(found: list[npt.NDArray[np.float32]], n_mels: int) -> npt.NDArray[np.float32]:
    return np.array(found, np.float32).reshape(-1, n_mels).T


def _at(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
