"""Time to quality: both ways trained on several keywords, epoch by epoch, however often it is interrupted."""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.config import Recipe, RunConfig, content_hash, seed_from
from bench.features import features_of
from bench.metrics import au_fa_fr
from bench.pipeline import STAGE_VERSION, Ui, run_chain
from bench.records import RunRecord
from bench.train import Epoch, save_atomically
from benchmarks.epochs import BASE, STUDENT
from benchmarks.journal import Journal
from benchmarks.plain import SEED, PlainData, PlainTraining, base_model, student_model
from benchmarks.rows import Row
from benchmarks.setting import Setting
from models.base import KwsModel, clone_state

# 97.5 % quantiles of Student's t with 1, 2, ... degrees of freedom.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Trials:
    """What is trained.

    Attributes:
        keywords: Each is trained for in both ways.
        plain_epochs: Of each training of the plain way.
        target: au_fa_fr on validation.
        state: Folder for checkpoints, which outlives this process.
    """

    keywords: tuple[str, ...]
    plain_epochs: int
    target: float
    state: Path


@dataclass
class Trial:
    """A training as the journal tells it.

    Attributes:
        seconds: Of each epoch, by its number.
        validation: au_fa_fr after each epoch.
        test: au_fa_fr on the test split of the best epoch's model; None while it trains.
        epochs: The budget that it finished with.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    validation: dict[int, float] = field(default_factory=dict)
    test: float | None = None
    epochs: int = 0

    def epochs_to(self, target: float) -> int | None:
        """The first epoch at or below the target."""
        return next((n for n in sorted(self.validation) if self.validation[n] <= target), None)

    def seconds_to(self, epoch: int) -> float:
        """Of so many epochs; where a line was lost, the others' mean stands in."""
        known = [seconds for number, seconds in self.seconds.items() if number <= epoch]
        return statistics.mean(known) * epoch

    @property
    def best(self) -> float:
        """Least au_fa_fr on validation."""
        return min(self.validation.values())


class JournalUi(Ui):
    """Writes every epoch of ``run_chain`` down."""

    def __init__(self, journal: Journal, keyword: str, data: str) -> None:
        self._journal, self._keyword, self._data = journal, keyword, data
        self._label, self._since = "", 0.0

    def opened(self, corpus_hash: str, about: Sequence[str]) -> None:
        """The clock starts; what a training prepares counts with its first epoch."""
        self._since = time.perf_counter()

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        """Says whose epochs follow."""
        self._label = label

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        """An epoch with its checkpoint."""
        seconds = time.perf_counter() - self._since
        key = trial_key("ours", self._label, self._keyword, self._data)
        self._journal.add(_epoch_line(key, epoch.epoch, seconds, epoch.validation_au_fa_fr))
        self._since = time.perf_counter()

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        """A row: the training's quality on test."""
        key = trial_key("ours", record.label, self._keyword, self._data)
        self._journal.add({**key, "epochs": record.epochs, "test_au_fa_fr": record.au_fa_fr})
        self._since = time.perf_counter()


def trial_key(side: str, model: str, keyword: str, data: str) -> dict[str, Any]:
    """What a line is about. Ours depends on the recipe; the plain way is always the same."""
    recipe = content_hash([asdict(Recipe()), STAGE_VERSION]) if side == "ours" else "plain"
    return {"side": side, "model": model, "keyword": keyword, "data": data, "recipe": recipe}


def _epoch_line(key: dict[str, Any], epoch: int, seconds: float, validation: float) -> dict[str, Any]:
    return {**key, "epoch": epoch, "seconds": round(seconds, 3), "validation_au_fa_fr": validation}


def read_trial(journal: Journal, key: dict[str, Any]) -> Trial:
    """All lines of a key; of an epoch that was done twice the later one."""
    trial = Trial()
    for line in journal.lines():
        if any(line.get(name) != value for name, value in key.items()):
            continue
        if "epoch" in line:
            trial.seconds[line["epoch"]] = line["seconds"]
            trial.validation[line["epoch"]] = line["validation_au_fa_fr"]
        else:
            trial.test, trial.epochs = line["test_au_fa_fr"], line["epochs"]
    return trial


def run_trials(setting: Setting, trials: Trials, journal: Journal) -> None:
    """Trains what the journal does not hold yet."""
    if not journal.path.exists():
        # Checkpoints whose epochs nobody wrote down are no use.
        shutil.rmtree(trials.state, ignore_errors=True)
    trials.state.mkdir(parents=True, exist_ok=True)
    # Made once for all keywords, so not on the clock of the first.
    features_of(setting.corpus(), Recipe(), RunConfig(chain="").seed)
    data = setting.folder.name
    for keyword in trials.keywords:
        ours = (read_trial(journal, trial_key("ours", model, keyword, data)) for model in (BASE, STUDENT))
        if any(trial.test is None for trial in ours):
            config = RunConfig(
                chain="ad+kd", data=str(setting.folder), keyword=keyword, epochs=setting.size.preset_epochs
            )
            run_chain(config, trials.state / "ours", JournalUi(journal, keyword, data), progress=False)
        _plain_trials(setting, keyword, trials, journal)


def _plain_trials(setting: Setting, keyword: str, trials: Trials, journal: Journal) -> None:
    data = PlainData.of(setting.folder, setting.corpus(), keyword)
    teacher: KwsModel | None = None
    for model in (BASE, STUDENT):
        key = trial_key("plain", model, keyword, setting.folder.name)
        torch.manual_seed(seed_from("plain model", SEED))
        training = PlainTraining(base_model() if model == BASE else student_model(), teacher)
        name = content_hash({**key, "teacher_epochs": trials.plain_epochs if teacher else 0})
        _plain_trial(training, data, trials.state / f"plain-{name}.pt", trials.plain_epochs, key, journal)
        teacher = training.model.eval()


def _plain_trial(
    training: PlainTraining, data: PlainData, path: Path, epochs: int, key: dict[str, Any], journal: Journal
) -> None:
    """Goes on from the checkpoint; leaves the weights of the best epoch in the model."""
    model = training.model
    state: dict[str, Any] = {"epoch": 0, "best": {}, "least": math.inf}
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        training.optimizer.load_state_dict(state["optimizer"])
    for epoch in range(state["epoch"] + 1, epochs + 1):
        torch.manual_seed(seed_from("plain epoch", SEED, epoch))
        started = time.perf_counter()
        value = training.epoch(data)
        seconds = time.perf_counter() - started
        # Before the checkpoint: a line may be written twice, but none is lost.
        journal.add(_epoch_line(key, epoch, seconds, value))
        if value < state["least"]:
            state |= {"best": clone_state(model), "least": value}
        state |= {"epoch": epoch, "model": model.state_dict(), "optimizer": training.optimizer.state_dict()}
        save_atomically(state, path)
    model.load_state_dict(state["best"])
    if read_trial(journal, key).epochs != epochs:
        test = au_fa_fr(*training.score(data.test))
        journal.add({**key, "epochs": epochs, "test_au_fa_fr": test})


def quality_rows(data: str, keywords: Sequence[str], target: float, journal: Journal) -> list[Row]:
    """What the journal says so far about keywords that both ways have finished."""
    rows = []
    for model in (BASE, STUDENT):
        pairs = []
        for keyword in keywords:
            plain, ours = (
                read_trial(journal, trial_key(side, model, keyword, data)) for side in ("plain", "ours")
            )
            if plain.test is not None and ours.test is not None:
                pairs.append((plain, ours))
        if pairs:
            rows += [*_time_rows(model, pairs, target), _test_row(model, pairs)]
    return rows


def _time_rows(model: str, pairs: list[tuple[Trial, Trial]], target: float) -> list[Row]:
    """To the stated quality, and to that which ours ends with."""
    to_target = [(plain.epochs_to(target), ours.epochs_to(target)) for plain, ours in pairs]
    reached = [sum(epoch is not None for epoch in side) for side in zip(*to_target, strict=True)]
    count = len(pairs)
    note = (
        f"reached for {reached[0]} (plain) and {reached[1]} (ours) of {count} keywords; else all epochs count"
    )
    epochs = [
        [float(epoch or max(trial.seconds)) for (epoch, trial) in zip(side, trials, strict=True)]
        for side, trials in zip(zip(*to_target, strict=True), zip(*pairs, strict=True), strict=True)
    ]
    seconds = [
        [trial.seconds_to(int(epoch)) for epoch, trial in zip(side, trials, strict=True)]
        for side, trials in zip(epochs, zip(*pairs, strict=True), strict=True)
    ]
    to_ours = [plain.epochs_to(ours.best) for plain, ours in pairs]
    caught = sum(epoch is not None for epoch in to_ours)
    whole = [ours.seconds_to(max(ours.seconds)) for _, ours in pairs]
    plain_s = [
        plain.seconds_to(epoch or max(plain.seconds))
        for (plain, _), epoch in zip(pairs, to_ours, strict=True)
    ]
    return [
        Row(f"{model}: epochs to au_fa_fr {target:g} on validation", epochs[1], epochs[0], note=note),
        Row(f"{model}: seconds to au_fa_fr {target:g} on validation", seconds[1], seconds[0], note=note),
        Row(
            f"{model}: seconds to the validation quality of ours; ours: its whole training",
            whole,
            plain_s,
            note=f"plain got there for {caught} of {count} keywords, else the time of all its epochs",
        ),
    ]


def _test_row(model: str, pairs: list[tuple[Trial, Trial]]) -> Row:
    plain, ours = ([trial.test or 0.0 for trial in side] for side in zip(*pairs, strict=True))
    difference = [b - a for a, b in zip(plain, ours, strict=True)]
    note = "difference of one keyword, without an interval"
    if len(difference) > 1:
        quantile = T_975[len(difference) - 2] if len(difference) - 2 < len(T_975) else 2.2
        half = quantile * statistics.stdev(difference) / math.sqrt(len(difference))
        middle = statistics.mean(difference)
        note = (
            f"mean difference ours - plain {middle:+.2g}, 95 % interval {middle - half:+.2g} "
            f"to {middle + half:+.2g} over {len(difference)} keywords (paired, Student's t)"
        )
    return Row(f"{model}: au_fa_fr on test, median over keywords", ours, plain, note=note, compare=False)
