"""What a run is made of: frozen dataclasses of plain values, and the recipes that come with the toolkit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any

from models.errors import KwsError
from models.task import KeywordTask, Task
from models.tasks import task_values


@dataclass(frozen=True)
class Augmentation:
    """How a training waveform may sound; every draw is made per clip.

    Attributes:
        one_of_four: The study's way: nothing, Gaussian noise, gain or background noise, one of them.
        shift_ms: Largest shift in time, either way.
        gain_db: Largest change of level, either way.
        noise_share: Share of clips that get background noise (white where the corpus has none).
        snr_db: Least and greatest signal-to-noise ratio of that noise.
    """

    one_of_four: bool = False
    shift_ms: float = 100.0
    gain_db: float = 6.0
    noise_share: float = 0.5
    snr_db: tuple[float, float] = (5.0, 30.0)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        name: What ``--recipe`` takes.
        epochs: Epochs at most; one epoch draws as many clips as there are training clips.
        batch_size: Clips B a step.
        learning_rate: Its peak.
        weight_decay: Of Adam (L2) or AdamW (decoupled).
        decoupled: AdamW instead of Adam.
        cosine: Warm up over the first tenth and fall to zero along a cosine; else constant.
        clip_norm: Gradients are scaled down to this norm.
        augmentation: Of waveforms.
        versions: Augmented versions of each clip turned to features ahead; 0: augment in every step.
        max_mel_mask: Widest mask over mel bands, of 40; as wide a share of other numbers of bands.
        max_time_mask: Widest mask over frames of 10 ms; as long a time of others.
        mask_per_clip: A mask for each clip instead of one for the batch.
        warm_start: A student with the base's architecture starts from the base's weights.
        teacher_ahead: The teacher hears each clip of the bank once, unmasked, and its answers are read in
            every step; else it runs in every step, under the student's masks. Needs versions.
    """

    name: str = "default"
    epochs: int = 60
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    decoupled: bool = True
    cosine: bool = True
    clip_norm: float = 5.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    versions: int = 8
    max_mel_mask: int = 8
    max_time_mask: int = 20
    mask_per_clip: bool = True
    warm_start: bool = True
    teacher_ahead: bool = True


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(),
        # The reference study, but for its waveform augmentation, drawn from a bank of 16 versions of each
        # clip instead of anew in every step, which takes three times as long; --versions 0 does that.
        Recipe(
            name="kws-hw",
            epochs=400,
            batch_size=128,
            learning_rate=3e-4,
            weight_decay=1e-5,
            decoupled=False,
            cosine=False,
            augmentation=Augmentation(one_of_four=True, shift_ms=0.0, gain_db=0.0, noise_share=0.0),
            versions=16,
            max_mel_mask=15,
            max_time_mask=35,
            mask_per_clip=False,
            warm_start=False,
            teacher_ahead=False,
        ),
    )
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        KwsError: There is none; the message lists those that exist.
    """
    if name not in RECIPES:
        raise KwsError(f"no recipe named {name!r}; there is: {', '.join(RECIPES)}")
    return RECIPES[name]


@dataclass(frozen=True)
class RunConfig:
    """All that determines a run's result, on a given machine.

    Attributes:
        chain: Compressors, last to first; empty for the base alone.
        label: The name of the chain's row; empty: the chain's own.
        model: Name of the registered base.
        data: ``synthetic``, ``speech-commands`` or a folder.
        task: What is asked of the model.
        recipe: How to train, base and students alike.
        epochs: Epochs of each training at most; None: the recipe's.
        target_metric: Stop when the task's headline on validation is as good as this; None: never.
        seed: Of initialisation, order, augmentation and masks.
        teacher_seed: Of the base's training; None: the same.
        split: ``speaker``, or ``random``: over clips, a fifth of them validation and test alike.
        device: The kind of device that it is trained and scored on: cpu, cuda or mps.
        base: A file of the base's weights; None: it is trained.
        base_hash: Of those weights; empty until they are read.
    """

    chain: str
    label: str = ""
    model: str = "crnn"
    data: str = "synthetic"
    task: Task = field(default_factory=KeywordTask)
    recipe: Recipe = field(default_factory=Recipe)
    epochs: int | None = None
    target_metric: float | None = None
    seed: int = 0
    teacher_seed: int | None = None
    split: str = "speaker"
    device: str = "cpu"
    base: str | None = None
    base_hash: str = ""

    def values(self) -> dict[str, Any]:
        """Plain values, as a run folder keeps them; of a base only where one is given."""
        plain = asdict(self) | {"task": task_values(self.task)}
        without = () if self.base is not None else ("base", "base_hash")
        return {name: value for name, value in plain.items() if name not in without}

    @property
    def max_epochs(self) -> int:
        """The budget in force."""
        return self.recipe.epochs if self.epochs is None else self.epochs


@dataclass(frozen=True)
class Repeats:
    """How often everything is trained, with one seed after the other.

    Attributes:
        count: Seeds, from each configuration's own up.
        fixed_teacher: One base, of the first seed, for all of them; else each seed has its own, unless it is
            given.
    """

    count: int = 1
    fixed_teacher: bool = False

    def of(self, configs: Iterable[RunConfig]) -> Iterator[RunConfig]:
        """All seeds of configurations; those of one task come together, and in them those of one seed.

        Examples:
            >>> often = Repeats(2, fixed_teacher=True).of([RunConfig("kd"), RunConfig("dq+kd")])
            >>> [(each.seed, each.chain, each.teacher_seed) for each in often]
            [(0, 'kd', None), (0, 'dq+kd', None), (1, 'kd', 0), (1, 'dq+kd', 0)]
        """
        for _, group in groupby(configs, key=lambda config: config.task):
            of_task = list(group)
            for number in range(self.count):
                for config in of_task:
                    one = self.fixed_teacher or config.base is not None
                    teacher = config.seed if one and number else None
                    yield replace(config, seed=config.seed + number, teacher_seed=teacher)


def content_hash(value: Any) -> str:
    """A hash of plain values, dataclasses among them; equal values have equal hashes in any process.

    Examples:
        >>> content_hash({"seed": 1, "chain": "kd"}) == content_hash({"chain": "kd", "seed": 1})
        True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=asdict).encode()).hexdigest()[:16]


def seed_from(*key: Any) -> int:
    """A seed below 2^63 that depends on every part of the key and on nothing else."""
    digest = hashlib.sha256(json.dumps(key, default=asdict).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
