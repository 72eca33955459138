"""What is asked of a model, as metadata of an ONNX file that any tool can show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from models.errors import KwsError
from models.front_end import SAMPLE_RATE_HZ, FrontEnd
from models.task import Task


class Asked(NamedTuple):
    """What a file says of its task.

    Attributes:
        text: In a few words.
        classes: What the logits are of, in their order.
        clip_s: Seconds of a clip.
        front_end: What the model hears of it.
    """

    text: str
    classes: tuple[str, ...]
    clip_s: float
    front_end: FrontEnd


def properties(task: Task) -> dict[str, str]:
    """The entries: texts, numbers, and the classes as a list in JSON.

    Examples:
        >>> from models.task import KeywordTask
        >>> properties(KeywordTask("happy"))["classes"]
        '["_other_", "happy"]'
    """
    front = task.front_end
    return {
        # Names that are no text, of folders in another encoding, are none in protobuf either.
        "task": task.text.encode(errors="backslashreplace").decode(),
        "classes": json.dumps(task.classes),
        "clip_s": f"{task.clip_s:.15g}",
        "sample_rate_hz": str(SAMPLE_RATE_HZ),
        "mels": str(front.mels),
        "window_ms": f"{front.window_ms:.15g}",
        "hop_ms": f"{front.hop_ms:.15g}",
    }


def read_properties(found: Mapping[str, str]) -> Asked | None:
    """What ``properties`` gave; None where it is not there, or is not what it was."""
    try:
        front = FrontEnd(int(found["mels"]), float(found["window_ms"]), float(found["hop_ms"]))
        return Asked(found["task"], tuple(json.loads(found["classes"])), float(found["clip_s"]), front)
    except (KeyError, ValueError, TypeError, KwsError):
        return None
