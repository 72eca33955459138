"""Running what ``onnx_export`` wrote, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.ship.extras import extra
from bench.ship.onnx_export import KEY, OnnxFileError, read_onnx
from bench.ship.onnx_task import read_properties

Array = npt.NDArray[np.float32]
OnnxState = Mapping[str, Array]


class OnnxSpotter:
    """A model in ONNX Runtime, on the CPU, in either form.

    Attributes:
        asked: Classes, clips and front end, as the file says them; None where it is of before it did.

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
        found = self._session.get_modelmeta().custom_metadata_map
        self.asked = read_properties(found)
        about = found.get(KEY, "")
        self._about = dict(entry.split("=") for entry in about.split() if "=" in entry)

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

    @property
    def window(self) -> tuple[int, int]:
        """Mel bands M and mel frames W of what a step hears, ``stream`` form."""
        _, mels, frames = self._shapes["window"]
        return mels, frames

    def init_state(self, batch: int = 1) -> OnnxState:
        """The state before the first call, ``stream`` form."""
        state = {}
        for name, shape in self._shapes.items():
            if name != "window":
                fill = -np.inf if name.startswith("energies") else 0.0
                state[name] = np.full([batch if size == "B" else size for size in shape], fill, np.float32)
        return state

    def step(self, window: Array, state: OnnxState) -> tuple[Array, OnnxState]:
        """The frames of one step (B, M, W): logits (B, K) after it, and the next state."""
        values: list[Any] = self._session.run(None, {"window": window, **state})
        return values[0], dict(zip(state, values[1:], strict=True))

    def stream(self, log_mel: Array) -> Array:
        """An audio (B, M, T) step by step: the logits of every decision (B, T', K).

        An audio shorter than what the first decision hears has none: T' is 0.

        Raises:
            OnnxFileError: The file is of a version that does not say how its windows lie.
        """
        if "hop" not in self._about:
            raise OnnxFileError("the file does not say how far its windows are apart; export it again")
        hop, ahead, skip = (int(self._about[name]) for name in ("hop", "ahead", "skip"))
        width, state, logits = self.window[1], self.init_state(len(log_mel)), []
        mel = np.pad(log_mel, ((0, 0), (0, 0), (ahead, 0)))
        for start in range(0, mel.shape[2] - width + 1, hop):
            frame, state = self.step(np.ascontiguousarray(mel[..., start : start + width]), state)
            logits.append(frame)
        if len(logits) <= skip:
            return np.zeros((len(log_mel), 0, self._n_classes), np.float32)
        return np.stack(logits[skip:], 1)
