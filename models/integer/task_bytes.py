"""The task in the header of a ``.kws`` file: what a usual one has takes no byte."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, NamedTuple

from models.errors import KwsError, ModelError
from models.front_end import SAMPLE_RATE_HZ, FrontEnd
from models.integer.packing import Reader, number
from models.task import KeywordTask, Task, WordsTask
from models.tasks import task_from

KEYWORD, WORDS, OTHER = range(3)
_KIND_BITS = 2
# Of a task of words, those two classes.
_UNKNOWN, _SILENCE = 1, 2
MS = 1000


class Sizes(NamedTuple):
    """What is written where it is not the usual: clip in milliseconds, bands, window and hop in samples."""

    clip_ms: int
    mels: int
    window: int
    hop: int

    @classmethod
    def of(cls, task: Task) -> Sizes:
        """Those of a task."""
        front = task.front_end
        return cls(round(task.clip_s * MS), front.mels, front.window_samples, front.hop_samples)

    def values(self) -> dict[str, Any]:
        """As fields of a task."""
        window_ms, hop_ms = (MS * samples / SAMPLE_RATE_HZ for samples in (self.window, self.hop))
        return {"clip_s": self.clip_ms / MS, "front_end": FrontEnd(self.mels, window_ms, hop_ms)}


USUAL = Sizes.of(KeywordTask())
_WRITTEN_AS_SIZES = ("clip_s", "front_end")


def task_bytes(task: Task) -> bytes:
    """A task as it is written.

    Raises:
        ModelError: A plugin's task holds more than plain values.
    """
    kind = {KeywordTask: KEYWORD, WordsTask: WORDS}.get(type(task), OTHER)
    mask, sizes = 0, b""
    for bit, (own, usual) in enumerate(zip(Sizes.of(task), USUAL, strict=True)):
        if own != usual:
            mask |= 1 << bit
            sizes += number(own)
    return number(kind | mask << _KIND_BITS) + sizes + _own(task)


def _own(task: Task) -> bytes:
    """What a kind of task has beside its clips."""
    if type(task) is KeywordTask:
        return _text(task.keyword)
    if type(task) is WordsTask:
        more = _UNKNOWN * task.with_unknown | _SILENCE * task.with_silence
        return number(more) + _text(task.name) + _texts(task.words)
    values = {name: value for name, value in asdict(task).items() if name not in _WRITTEN_AS_SIZES}
    try:
        plain = json.dumps({"kind": task.kind, **values}, sort_keys=True, separators=(",", ":"))
    except TypeError as error:
        raise ModelError(
            f"a task of kind {task.kind} cannot be written: {error}; give it plain values"
        ) from None
    return _text(plain) + _texts(task.classes)


def _text(value: str) -> bytes:
    data = value.encode(errors="surrogateescape")
    return number(len(data)) + data


def _texts(values: tuple[str, ...]) -> bytes:
    return number(len(values)) + b"".join(map(_text, values))


def read_task(reader: Reader) -> Task:
    """What ``task_bytes`` wrote.

    Raises:
        ValueError: It is no task.
        KwsError: It is one that cannot be, or of a plugin that is not there.
    """
    head = reader.number()
    kind, mask = head & (1 << _KIND_BITS) - 1, head >> _KIND_BITS
    if kind > OTHER or mask >> len(USUAL):
        raise ValueError("a task of a kind that there is not")
    sizes = Sizes(*(reader.number() if mask >> bit & 1 else one for bit, one in enumerate(USUAL)))
    values = sizes.values()
    if kind == KEYWORD:
        return KeywordTask(keyword=_read_text(reader), **values)
    if kind == WORDS:
        more, name, words = reader.number(), _read_text(reader), _read_texts(reader)
        if len(set(words)) < len(words) or not all(words):
            raise ValueError("a word that is none, or there twice")  # in few words, whatever they are
        values |= {"with_unknown": bool(more & _UNKNOWN), "with_silence": bool(more & _SILENCE)}
        return WordsTask(words=words, name=name, **values)
    own, classes = _read_text(reader), _read_texts(reader)
    try:
        task = task_from({**json.loads(own), **values, "front_end": asdict(values["front_end"])})
        same = task.classes == classes
    except KwsError:
        raise
    except Exception as error:  # whatever a plugin's task raises, and JSON that is none
        raise ValueError(f"no values of a task: {error}") from None
    if not same:
        raise ValueError("classes that are not those of its task")
    return task


def _read_text(reader: Reader) -> str:
    return reader.take(reader.number()).decode(errors="surrogateescape")


def _read_texts(reader: Reader) -> tuple[str, ...]:
    count = reader.number()
    if count > reader.left:
        raise ValueError("it ends too early")
    return tuple(_read_text(reader) for _ in range(count))
