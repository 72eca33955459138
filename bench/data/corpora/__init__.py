"""Where clips come from: corpora by name, and folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.data.corpora.base import SPLITS, Corpus
from bench.data.corpora.splits import SPLIT_RULES
from models.errors import CorpusError
from models.registering import Registry, shown
from models.task import OTHER, SILENCE, UNKNOWN, KeywordTask, Task

# Given the task, if any, whose words to speak in clips of its length, and whether to show progress.
Opener = Callable[[Task | None, bool], Corpus]
_OPENERS: Registry[Opener] = Registry("corpus", CorpusError)
_SPEECH_COMMANDS = {"speech-commands": "v0.01", "speech-commands-v0.02": "v0.02"}


def register(name: str) -> Callable[[Opener], Opener]:
    """Decorator that makes a corpus available under a name for ``--data``.

    Raises:
        CorpusError: The name is none or is taken, or what is decorated cannot be called.
    """
    _OPENERS.check_name(name)

    def add(opener: Opener) -> Opener:
        if not callable(opener):
            raise CorpusError(f"{name}: {shown(opener)} must be a function (task, progress) -> Corpus")
        _OPENERS.enter(name, opener)
        return opener

    return add


def corpora() -> dict[str, Opener]:
    """All registered corpora by name, sorted."""
    return dict(sorted(_OPENERS.items()))


def open_corpus(data: str, task: Task | None, *, split: str = "speaker", progress: bool = True) -> Corpus:
    """The corpus that ``--data`` names, made or fetched first where it has to be.

    Args:
        data: A registered name, or a folder.
        task: The synthetic corpus speaks its keyword; every other one must hold its words. None: whatever
            words there are.
        split: ``speaker``, or ``random`` for folders and Speech Commands: 80/20 over clips, the fifth being
            validation and test alike.
        progress: Show progress bars.

    Raises:
        CorpusError: What is wrong with the data, the words or a split, and what would be right.
    """
    if split not in SPLIT_RULES:
        raise CorpusError(f"no split rule {split!r}; there are: {', '.join(SPLIT_RULES)}")
    if split != "speaker" and data in _SPEECH_COMMANDS:
        from bench.data.corpora.speech_commands import speech_commands_corpus

        corpus = speech_commands_corpus(_SPEECH_COMMANDS[data], split=split, progress=progress)
    elif split != "speaker" and data in _OPENERS:
        raise CorpusError(
            f"the corpus {data!r} comes with its own splits and cannot be split at {split}; "
            f"a folder and {', '.join(_SPEECH_COMMANDS)} can"
        )
    elif data in _OPENERS:
        corpus = _OPENERS[data](task, progress)
    elif Path(data).is_dir():
        from bench.data.corpora.folder import folder_corpus

        corpus = folder_corpus(Path(data), split=split, progress=progress)
    else:
        raise CorpusError(f"no data {data!r}: give a folder or one of: {', '.join(corpora())}")
    if task is not None:
        _check_classes(corpus, task)
    return corpus


def _check_classes(corpus: Corpus, task: Task) -> None:
    """Refuses a task that has no clip of one of its classes in one of the splits."""
    labels = corpus.labels(task)
    for split in SPLITS:
        there = set(labels[corpus.indices(split)])
        for number, name in enumerate(task.classes):
            if number not in there:
                raise CorpusError(_lacking(name, split, task))


def _lacking(name: str, split: str, task: Task) -> str:
    if name == SILENCE:
        return f"{task.text} needs clips of silence, and none are cut from background noise yet"
    if name not in (OTHER, UNKNOWN):
        return f"no clip of {name!r} in the {split} split; choose a word with more speakers"
    words = " and ".join(map(repr, task.needed))
    return f"only {words} in the {split} split; other words are needed to tell it from"


@register("synthetic")
def _synthetic(task: Task | None, progress: bool) -> Corpus:
    from bench.data.corpora.synthetic import SyntheticConfig, synthetic_corpus

    config = SyntheticConfig(keyword=task.keyword) if isinstance(task, KeywordTask) else SyntheticConfig()
    return synthetic_corpus(config, progress=progress)


def _speech_commands(version: str) -> Opener:
    def opener(task: Task | None, progress: bool) -> Corpus:
        from bench.data.corpora.speech_commands import speech_commands_corpus

        return speech_commands_corpus(version, progress=progress)

    return opener


for _name, _version in _SPEECH_COMMANDS.items():
    register(_name)(_speech_commands(_version))
