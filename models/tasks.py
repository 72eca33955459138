"""Tasks by name, and as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from models.errors import TaskError
from models.front_end import FrontEnd
from models.registering import Registry, check_class, check_frozen, shown
from models.task import KeywordTask, Task, WordsTask

_KINDS: dict[str, type[Task]] = {kind.kind: kind for kind in (KeywordTask, WordsTask)}
_TASKS: Registry[Task] = Registry("task", TaskError, type)


def register(name: str) -> Callable[[Callable[[], Task]], Callable[[], Task]]:
    """Decorator that makes a task available under a name for ``--task``; it stands above what makes one.

    Raises:
        TaskError: The name, or the kind of task, is taken, or what is made is no frozen task.
    """
    _TASKS.check_name(name)

    def add(make: Callable[[], Task]) -> Callable[[], Task]:
        task = make()
        if not isinstance(task, Task):
            raise TaskError(f"{name}: {shown(make)} gave {shown(task)}, which is no Task")
        kind = type(task)
        check_class(kind, Task, TaskError)
        check_frozen(kind, TaskError)
        if _KINDS.setdefault(kind.kind, kind) is not kind:
            raise TaskError(f"{name}: there is a kind of task {kind.kind!r} already; choose another kind")
        _TASKS.enter(name, task)
        return make

    return add


def tasks() -> dict[str, Task]:
    """All registered tasks by name, sorted."""
    return dict(sorted(_TASKS.items()))


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        TaskError: There is none; the message lists those that exist.
    """
    if name not in _TASKS:
        raise TaskError(f"no task named {name!r}; there is: {', '.join(tasks())}")
    return _TASKS[name]


def task_values(task: Task) -> dict[str, Any]:
    """A task as plain values that JSON can hold; ``task_from`` reads them."""
    return {"kind": task.kind, **asdict(task)}


def task_from(values: Mapping[str, Any]) -> Task:
    """The task of plain values.

    Raises:
        KwsError: They are those of no task.
    """
    kind = _KINDS.get(values.get("kind", ""))
    names = {one.name for one in fields(kind)} | {"kind"} if kind else set()
    front = values.get("front_end")
    if kind is None or set(values) - names or not isinstance(front, Mapping):
        raise TaskError("a task of a kind that is not known; give the --plugin that it was made with")
    plain = {name: tuple(one) if isinstance(one, list) else one for name, one in values.items()}
    own: dict[str, Any] = {name: plain[name] for name in plain if name not in ("kind", "front_end")}
    try:
        return kind(**own, front_end=FrontEnd(**front))
    except TypeError as error:
        raise TaskError(f"no values of a task: {error}") from None


_TEN = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MORE = ("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow")
_SINCE_V0_02 = ("backward", "follow", "forward", "learn", "visual")


@register("speech-commands-12")
def _twelve() -> Task:
    return WordsTask(_TEN, with_unknown=True, with_silence=True, name="speech-commands-12")


@register("speech-commands-35")
def _thirty_five() -> Task:
    words = tuple(sorted((*_TEN, *_DIGITS, *_MORE, *_SINCE_V0_02)))
    return WordsTask(words, name="speech-commands-35")
