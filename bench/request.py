"""What runs are asked for, under the names of the command line's options: from there to configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from bench.config import RunConfig, recipe_named
from models.errors import TaskError
from models.task import KeywordTask, Task, WordsTask
from models.tasks import task_named

DEFAULT_KEYWORD = "sheila"


@dataclass(frozen=True)
class TaskRequest:
    """What is to be asked of models; all of it may be left open.

    Attributes:
        keyword: The words to spot, a task each.
        words: Words to tell apart, with commas between them.
        unknown: All other words are a class too.
        silence: Clips of no word are a class too.
        task: A registered task, in place of keyword and words.
        clip_s: Length of a clip.
        mels: Mel bands.
        hop_ms: From one frame to the next.
        window_ms: What a frame hears.
    """

    keyword: tuple[str, ...] = ()
    words: str | None = None
    unknown: bool = False
    silence: bool = False
    task: str | None = None
    clip_s: float | None = None
    mels: int | None = None
    hop_ms: float | None = None
    window_ms: float | None = None

    @property
    def named(self) -> bool:
        """Whether anything says which words."""
        return bool(self.keyword or self.words or self.task)

    def options(self) -> list[str]:
        """What is given of the task, as the command line has it.

        Examples:
            >>> TaskRequest(keyword=("go",), clip_s=1.5).options()
            ['--keyword', 'go', '--clip-s', '1.5']
        """
        words: list[str] = []
        for entry in fields(TaskRequest):
            value, option = getattr(self, entry.name), f"--{entry.name.replace('_', '-')}"
            several = value if isinstance(value, tuple) else () if value in (None, False) else (value,)
            for one in several:
                words += [option] if one is True else [option, str(one)]
        return words

    def tasks(self) -> list[Task]:
        """One for each keyword, or the one of the words, or the one that is named.

        Raises:
            TaskError: Two of them are given, or they ask for what cannot be.

        Examples:
            >>> [task.text for task in TaskRequest(words="yes,no", unknown=True).tasks()]
            ['words yes no + unknown']
        """
        ways = {"--keyword": self.keyword, "--words": self.words, "--task": self.task}
        given = [name for name, value in ways.items() if value]
        if len(given) > 1:
            raise TaskError(f"{' and '.join(given)} each say what is asked; give one of them")
        if (self.unknown or self.silence) and not self.words:
            raise TaskError("--unknown and --silence add classes to --words; give it too")
        return [self._settled(task) for task in self._asked()]

    def _asked(self) -> list[Task]:
        if self.task:
            return [task_named(self.task)]
        if self.words:
            words = tuple(word.strip() for word in self.words.split(","))
            return [WordsTask(words, self.unknown, self.silence)]
        return [KeywordTask(word) for word in dict.fromkeys(self.keyword or (DEFAULT_KEYWORD,))]

    def _settled(self, task: Task) -> Task:
        """A task with the clip length and the front end that are given."""
        front = {"mels": self.mels, "hop_ms": self.hop_ms, "window_ms": self.window_ms}
        changed: dict[str, Any] = {name: value for name, value in front.items() if value is not None}
        # Together: a hop may only fit the window that comes with it.
        heard = replace(task.front_end, **changed) if changed else task.front_end
        return replace(task, front_end=heard, clip_s=task.clip_s if self.clip_s is None else self.clip_s)


@dataclass(frozen=True)
class Request(TaskRequest):
    """What to train, and how.

    Attributes:
        model: The registered base; None: the preset's, or crnn.
        data: A registered corpus, a folder, or a manifest.
        split: As ``RunConfig`` has it.
        recipe: A registered recipe; None: the preset's, or the default.
        epochs: Of each training at most; None: the recipe's.
        versions: Augmented versions of each clip; None: the recipe's.
        seed: The first of the repeats.
        device: The kind of device to train and score on; auto: the first that there is.
        base: A file of the base's weights, in place of its training.
    """

    model: str | None = None
    data: str = "synthetic"
    split: str = "speaker"
    recipe: str | None = None
    epochs: int | None = None
    versions: int | None = None
    seed: int = 0
    device: str = "cpu"
    base: str | None = None

    def configs(
        self, chains: Sequence[tuple[str, str]], target_metric: float | None = None
    ) -> list[RunConfig]:
        """A configuration for each task and chain, those of a task together.

        Args:
            chains: Each with the label of its row, which may be empty.
            target_metric: As ``RunConfig`` has it.

        Raises:
            KwsError: There is no such recipe, task or device.
        """
        # Not at the top: who asks for a task alone needs no torch.
        from bench.device import device_named

        how = recipe_named(self.recipe or "default")
        shared = RunConfig(
            chain="",
            model=self.model or "crnn",
            data=self.data,
            recipe=how if self.versions is None else replace(how, versions=self.versions),
            epochs=self.epochs,
            target_metric=target_metric,
            seed=self.seed,
            split=self.split,
            device=device_named(self.device),
            base=self.base,
        )
        return [
            replace(shared, task=task, chain=chain, label=label)
            for task in self.tasks()
            for chain, label in chains
        ]
