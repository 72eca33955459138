"""Where clips come from: corpora by name, folders, and tables of recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.data.corpora.base import SPLITS, Corpus
from bench.data.corpora.splits import SPLIT_RULES
from models.errors import CorpusError
from models.front_end import SAMPLE_RATE_HZ
from models.registering import Registry
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
    return _OPENERS.decorator(name, "(task, progress) -> Corpus")


def corpora() -> dict[str, Opener]:
    """All registered corpora by name, sorted."""
    return dict(sorted(_OPENERS.items()))


def open_corpus(
    data: str, task: Task | None, *, split: str = "speaker", check: bool = True, progress: bool = True
) -> Corpus:
    """The corpus that ``--data`` names, made or fetched first where it has to be.

    Args:
        data: A registered name, a folder, or a table of recordings.
        task: The synthetic corpus speaks its keyword; every other one must hold its words. Clips are of its
            length; where it has a class of silence, clips of that are added. None: whatever words there are,
            in clips of one second.
        split: ``speaker``, or ``random`` for folders, tables and Speech Commands: 80/20 over clips, the
            fifth being validation and test alike.
        check: Without, the task only says how long clips are, not which words there must be.
        progress: Show progress bars.

    Raises:
        CorpusError: What is wrong with the data, the words or a split, and what would be right.
    """
    if split not in SPLIT_RULES:
        raise CorpusError(f"no split rule {split!r}; there are: {', '.join(SPLIT_RULES)}")
    corpus = _opened(data, task, split, progress)
    if task is None:
        return corpus
    if corpus.clip_samples != task.clip_samples:
        clip_s = corpus.clip_samples / SAMPLE_RATE_HZ
        raise CorpusError(
            f"the corpus {data!r} has clips of {clip_s:g} s only; give --clip-s {clip_s:g}, or other data"
        )
    if not check:
        return corpus
    _check_classes(corpus, task)
    if not task.silence:
        return corpus
    from bench.data.corpora.silence import with_silence

    return with_silence(corpus, task.needed)


def _opened(data: str, task: Task | None, split: str, progress: bool) -> Corpus:
    clip_samples = SAMPLE_RATE_HZ if task is None else task.clip_samples
    if split != "speaker" and data in _SPEECH_COMMANDS:
        return _speech_commands(_SPEECH_COMMANDS[data], split)(task, progress)
    if split != "speaker" and data in _OPENERS:
        raise CorpusError(
            f"the corpus {data!r} comes with its own splits and cannot be split at {split}; "
            f"a folder and {', '.join(_SPEECH_COMMANDS)} can"
        )
    if data in _OPENERS:
        return _OPENERS[data](task, progress)
    if Path(data).is_dir():
        from bench.data.corpora.folder import folder_corpus

        return folder_corpus(Path(data), split=split, clip_samples=clip_samples, progress=progress)
    if Path(data).is_file():
        from bench.data.corpora.manifest import manifest_corpus

        return manifest_corpus(Path(data), split=split, clip_samples=clip_samples, progress=progress)
    names = ", ".join(corpora())
    raise CorpusError(
        f"no data {data!r}: give a folder or one of: {names}; or a table of recordings (clips.csv)"
    )


def _check_classes(corpus: Corpus, task: Task) -> None:
    """Refuses a task that has no clip of one of its classes in one of the splits."""
    labels = corpus.labels(task)
    for split in SPLITS:
        there = set(labels[corpus.indices(split)])
        for number, name in enumerate(task.classes):
            if number not in there and name != SILENCE:
                raise CorpusError(_lacking(name, split, task))


def _lacking(name: str, split: str, task: Task) -> str:
    if name not in (OTHER, UNKNOWN):
        return f"no clip of {name!r} in the {split} split; choose a word with more speakers"
    words = " and ".join(map(repr, task.needed))
    return f"only {words} in the {split} split; other words are needed to tell it from"


@register("synthetic")
def _synthetic(task: Task | None, progress: bool) -> Corpus:
    from bench.data.corpora.synthetic import SyntheticConfig, synthetic_corpus

    asked: dict[str, Any] = {"keyword": task.keyword} if isinstance(task, KeywordTask) else {}
    clip_samples = SAMPLE_RATE_HZ if task is None else task.clip_samples
    return synthetic_corpus(SyntheticConfig(clip_samples=clip_samples, **asked), progress=progress)


def _speech_commands(version: str, split: str) -> Opener:
    def opener(task: Task | None, progress: bool) -> Corpus:
        from bench.data.corpora.speech_commands import speech_commands_corpus

        clip_samples = SAMPLE_RATE_HZ if task is None else task.clip_samples
        return speech_commands_corpus(version, split=split, clip_samples=clip_samples, progress=progress)

    return opener


for _name, _version in _SPEECH_COMMANDS.items():
    register(_name)(_speech_commands(_version, "speaker"))
