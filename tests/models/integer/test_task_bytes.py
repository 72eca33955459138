"""The task in a file: bytes counted by hand, every kind read back, and nonsense refused."""

import random
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from models import tasks
from models.errors import KwsError, ModelError
from models.front_end import FrontEnd
from models.integer.file import FileError, from_bytes, to_bytes
from models.integer.ops import Conv, Gives, Input, MeanTime
from models.integer.packing import Reader
from models.integer.task_bytes import read_task, task_bytes
from models.task import KeywordTask, Labels, Task, WordsTask
from models.tasks import task_named
from tests.programs import filled


@dataclass(frozen=True)
class LongestTask(Task):
    """A kind of a plugin: how long a word is."""

    lengths: tuple[int, ...] = (2, 4)
    kind: ClassVar[str] = "lengths"
    headline: ClassVar[str] = "accuracy"
    tested: ClassVar[str] = "accuracy"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("longer", *(f"up to {length}" for length in self.lengths))

    @property
    def text(self) -> str:
        return "lengths"

    def labels(self, words: Sequence[str], splits: Sequence[str], sources: Sequence[str]) -> Labels:
        return np.array([len(word) <= self.lengths[-1] for word in words], np.int64)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_KINDS", tasks._KINDS | {"lengths": LongestTask})


OTHER_EARS = FrontEnd(20, 32, 20)
ODD_EARS = FrontEnd(64, 46.125, 5.0625)
TASKS = [
    KeywordTask("start"),
    KeywordTask("ابدأ", clip_s=1.2, front_end=OTHER_EARS),
    KeywordTask("no utf-8 \udcff", clip_s=1.001),
    WordsTask(("yes", "no")),
    WordsTask(("yes",), with_unknown=True, front_end=ODD_EARS),
    WordsTask(("yes", "no"), with_silence=True, name="mine", clip_s=4.0),
    task_named("speech-commands-12"),
    task_named("speech-commands-35"),
    LongestTask(lengths=(1, 2, 3), clip_s=0.5, front_end=replace(OTHER_EARS, mels=64)),
]


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.text)
def test_every_task_is_read_back_to_the_last_byte(task: Task) -> None:
    reader = Reader(task_bytes(task) + b"rest", 0)
    assert read_task(reader) == task
    assert reader.take(reader.left) == b"rest"


def test_bytes_by_hand() -> None:
    assert task_bytes(KeywordTask("start")) == b"\x00\x05start"
    # All four sizes: 1,200 ms, 20 bands, 512 and 320 samples, seven bits a byte.
    other = KeywordTask("go", clip_s=1.2, front_end=OTHER_EARS)
    assert task_bytes(other) == bytes([0 | 0b1111 << 2, 0xB0, 9, 20, 0x80, 4, 0xC0, 2, 2]) + b"go"
    # The hop alone; words with an unknown class, without a name.
    words = WordsTask(("yes", "no"), with_unknown=True, front_end=FrontEnd(hop_ms=20))
    assert task_bytes(words) == bytes([1 | 0b1000 << 2, 0xC0, 2, 1, 0, 2, 3]) + b"yes\x02no"


@pytest.mark.parametrize("clip_ms", range(500, 4001, 7))
def test_every_length_of_clips_is_read_back(clip_ms: int) -> None:
    task = KeywordTask("go", clip_s=clip_ms / 1000)
    assert read_task(Reader(task_bytes(task), 0)) == task


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("03", "a kind that there is not"),
        ("4000", "a kind that there is not"),
        ("0002", "ends too early"),
        ("0101", "ends too early"),
        ("010000ffff7f", "ends too early"),
        ("010000010179", "nothing to tell it from"),
        ("010000" + "02" + "0179" * 2, "there twice"),
        ("010000" + "02" + "0179" + "00", "a word that is none"),
        ("0405", "ends too early"),
        ("04ac020161", "clips of 0.3 s"),
        ("0806" + "0161", "6 mel bands"),
        ("02" + "0161" + "00", "no values of a task"),
        ("02" + "025b5d" + "00", "no values of a task"),
        ("02" + "027b7d" + "00", "of a kind that is not known"),
    ],
)
def test_nonsense_is_refused(data: str, says: str) -> None:
    with pytest.raises((ValueError, KwsError), match=says):
        read_task(Reader(bytes.fromhex(data), 0))


@pytest.mark.usefixtures("plugin")
def test_classes_that_a_plugin_would_not_give_are_refused() -> None:
    data = task_bytes(LongestTask())
    assert data.endswith(b"\x07up to 4")
    with pytest.raises(ValueError, match="classes that are not those of its task"):
        read_task(Reader(data[:-1] + b"5", 0))


def test_a_task_that_no_plain_values_make_cannot_be_written() -> None:
    with pytest.raises(ModelError, match="give it plain values"):
        task_bytes(LongestTask(lengths=(object(),)))  # type: ignore[arg-type]


def test_a_plugin_that_is_not_there_is_named() -> None:
    with pytest.raises(KwsError, match="give the --plugin that it was made with"):
        read_task(Reader(task_bytes(LongestTask()), 0))


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.text)
def test_a_file_says_its_task(task: Task) -> None:
    program = (Input(mels=task.front_end.mels), MeanTime(inputs=(0,)))
    logits = Conv(inputs=(1,), rows=1, channels=len(task.classes), gives=Gives.LOGITS)
    data = to_bytes(replace(filled((*program, logits)), task=task))
    assert from_bytes(data).task == task


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.text)
def test_whatever_is_in_it_it_is_a_task_or_refused(task: Task) -> None:
    program = (Input(mels=task.front_end.mels), MeanTime(inputs=(0,)))
    logits = Conv(inputs=(1,), rows=1, channels=len(task.classes), gives=Gives.LOGITS)
    whole, chance = to_bytes(replace(filled((*program, logits)), task=task)), random.Random(0)
    read, said = 0, list[str]()

    for _ in range(400):
        found = bytearray(whole)
        found[chance.randrange(10, 10 + len(task_bytes(task)))] = chance.choice((0, 1, 2, 92, 127, 128, 255))
        data = bytes(found[:-4]) + struct.pack("<I", zlib.crc32(bytes(found[:-4])))
        try:
            model = from_bytes(data)
        except FileError as error:
            said.append(str(error))
            continue
        assert to_bytes(model) == data
        read += 1
    assert read
    assert not [one for one in said if "\n" in one]
