"""Running what ``onnx_export`` wrote, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.ship.extras import extra
from bench.ship.onnx_export import read_onnx

Array = npt.NDArray[np.float32]
OnnxState = Mapping[str, Array]


class OnnxSpotter:
    """A model in ONNX Runtime, on the CPU, in either form.

    Example::

        spotter = OnnxSpotter.open(Path("clip.onnx"))
        logits = spotter.logits(log_mel)
    """

    def __init__(self, content: bytes, *, threads: int = 1, unpacked: bool = False) -> None:
        """Opens a file's content.

        Args:
            content: As ``read_onnx`` gave it.
            threads: Of one operation.
            unpacked: Make float weights of the integers once, when the model is loaded, instead of in
                every run: faster, and four times the memory.
        """
        runtime = extra("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        if unpacked:
            # Without this, ONNX Runtime keeps DequantizeLinear apart from what it folds.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._n_classes = self._session.get_outputs()[0].shape[1]
        self._shapes = {entry.name: entry.shape for entry in self._session.get_inputs()}

    @classmethod
    def open(cls, path: Path, *, threads: int = 1, unpacked: bool = False) -> OnnxSpotter:
        """Opens a file.

        Raises:
            KwsError: It cannot be read, or ONNX Runtime is not installed.
        """
        return cls(read_onnx(path), threads=threads, unpacked=unpacked)

    def logits(self, log_mel: Array) -> Array:
        """Whole clips, ``clip`` form: (B, M, T) -> (B, K)."""
        (logits,) = self._session.run(None, {"log_mel": log_mel})
        return np.asarray(logits)

    def init_state(self, batch: int = 1) -> OnnxState:
        """The state before the first window, ``stream`` form."""
        state = {}
        for name, shape in self._shapes.items():
            if name != "window":
                fill = -np.inf if name == "energies" else 0.0
                state[name] = np.full([batch if size == "B" else size for size in shape], fill, np.float32)
        return state

    def step(self, window: Array, state: OnnxState) -> tuple[Array, OnnxState]:
        """One window (B, M, kernel): logits (B, K) after it, and the next state."""
        values: list[Any] = self._session.run(None, {"window": window, **state})
        return values[0], dict(zip(state, values[1:], strict=True))

    def stream(self, log_mel: Array, stride: int) -> Array:
        """All windows of an audio (B, M, T), one after the other: logits (B, T', K).

        An audio shorter than a window has none: T' is 0.
        """
        width, state, logits = self._shapes["window"][2], self.init_state(len(log_mel)), []
        for start in range(0, log_mel.shape[2] - width + 1, stride):
            frame, state = self.step(np.ascontiguousarray(log_mel[..., start : start + width]), state)
            logits.append(frame)
        if not logits:
            return np.zeros((len(log_mel), 0, self._n_classes), np.float32)
        return np.stack(logits, 1)
