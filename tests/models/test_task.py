import json
import warnings
from copy import copy
from dataclasses import dataclass
from typing import ClassVar

import pytest

from models import tasks
from models.errors import TaskError
from models.front_end import FrontEnd
from models.task import LEFT_OUT, KeywordTask, Task, WordsTask, front_end_text
from models.tasks import register, task_from, task_named, task_values

NAMED = ("speech-commands-12", "speech-commands-35")


@pytest.mark.parametrize(
    "task",
    [
        KeywordTask("happy", clip_s=1.5, front_end=FrontEnd(mels=20, hop_ms=20.0)),
        WordsTask(("yes", "no"), with_unknown=True),
        *map(task_named, NAMED),
    ],
)
def test_a_task_is_read_back_from_json(task: Task) -> None:
    assert task_from(json.loads(json.dumps(task_values(task)))) == task


def test_speech_commands_as_the_field_has_them() -> None:
    twelve, all_words = map(task_named, NAMED)
    assert len(twelve.classes) == 12
    assert twelve.classes[:2] == ("_silence_", "_unknown_")
    assert len(all_words.classes) == 35
    assert set(twelve.needed) < set(all_words.classes)


def test_unknown_clips_are_a_tenth_where_a_model_is_held_to_account() -> None:
    words = ["yes", "no"] * 50 + ["cat", "dog"] * 50
    for split, expected in (("train", 100), ("validation", 10), ("test", 10)):
        found = WordsTask(("yes", "no"), with_unknown=True).labels(
            words, [split] * 200, [f"{n}.wav" for n in range(200)]
        )
        assert (found == 0).sum() == expected
        assert (found == LEFT_OUT).sum() == 100 - expected
        assert (found[:100] >= 1).all()


def test_the_unknown_clips_do_not_depend_on_the_order_of_the_corpus() -> None:
    words, sources = ["yes"] * 40 + ["cat"] * 40, [f"{n}.wav" for n in range(80)]
    task = WordsTask(("yes",), with_unknown=True)
    there = task.labels(words, ["test"] * 80, sources)
    back = task.labels(words[::-1], ["test"] * 80, sources[::-1])
    assert there.tolist() == back[::-1].tolist()


def test_words_beside_the_task_are_left_out() -> None:
    assert WordsTask(("yes", "no")).labels(["cat", "no"], ["train"] * 2, ["a", "b"]).tolist() == [-1, 1]


def test_runs_of_a_keyword_keep_their_names() -> None:
    assert KeywordTask("happy").identity() == {"keyword": "happy"}
    assert KeywordTask("happy", clip_s=2.0, front_end=FrontEnd(mels=20)).identity() == {
        "keyword": "happy",
        "clip_s": 2.0,
        "mels": 20,
    }


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: KeywordTask("a", clip_s=5.0), "give 0.5 to 4"),
        (lambda: KeywordTask("a", clip_s=0.5001), "whole milliseconds"),
        (lambda: FrontEnd(mels=4), "give 8 to 128"),
        (lambda: FrontEnd(window_ms=5.0, hop_ms=10.0), "no shorter than it"),
        (lambda: FrontEnd(window_ms=25.01), "whole milliseconds"),
        (lambda: FrontEnd(mels=90), "give at most 89"),
        (lambda: WordsTask(("yes",)), "one word and nothing to tell it from"),
        (lambda: WordsTask(("yes", "yes")), "each word once"),
        (lambda: WordsTask(("yes", "_unknown_")), "no word to find"),
        (lambda: KeywordTask("_silence_"), "no word to find"),
        (lambda: task_named("speech-commands-13"), "there is: speech-commands-12, speech-commands-35"),
        (lambda: task_from({"kind": "riddle", "front_end": {}}), "--plugin"),
    ],
)
def test_what_cannot_be_asked_is_refused(make: object, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("window", [160, 200, 400, 480, 512, 640])
def test_as_many_bands_as_torchaudio_has_filters_for(window: int) -> None:
    from bench.data.torchaudio_import import transforms

    most = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mels in range(8, 129):
            try:
                transforms.MelSpectrogram(16_000, n_fft=window, n_mels=mels)
            except UserWarning:
                break
            most = mels
    assert FrontEnd(mels=most, window_ms=window / 16).mels == most
    if most < 128:
        with pytest.raises(TaskError, match=f"at most {most}"):
            FrontEnd(mels=most + 1, window_ms=window / 16)


def test_titles_say_what_is_not_as_usual() -> None:
    assert front_end_text(WordsTask(("yes", "no"))) == ""
    assert (
        front_end_text(KeywordTask("a", front_end=FrontEnd(window_ms=30, hop_ms=20))) == "30 ms every 20 ms"
    )


def test_a_task_from_outside_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.tasks._TASKS", copy(tasks._TASKS))
    monkeypatch.setattr("models.tasks._KINDS", copy(tasks._KINDS))

    @dataclass(frozen=True)
    class Parity(Task):
        kind: ClassVar[str] = "parity of digits"
        headline: ClassVar[str] = "accuracy"
        tested: ClassVar[str] = "accuracy"

        @property
        def classes(self) -> tuple[str, ...]:
            return ("even", "odd")

        @property
        def text(self) -> str:
            return "even or odd"

        def labels(self, words, splits, sources):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    register("parity")(Parity)
    assert task_from(task_values(task_named("parity"))) == Parity()
    with pytest.raises(TaskError, match="already registered"):
        register("parity")(Parity)
