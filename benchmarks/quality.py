"""Epochs to quality: both ways trained on several keywords for equally many epochs.

The machine may do other work meanwhile: seconds are these epochs times the laps of the part ``epochs``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.config import Recipe, RunConfig, content_hash, seed_from
from bench.data.features import features_of
from bench.quality.metrics import au_fa_fr
from bench.results.records import RunRecord
from bench.results.weights import save_atomically
from bench.running.pipeline import STAGE_VERSION, run_chain
from bench.running.ui import Ui
from bench.training.state import Epoch
from benchmarks.epochs import BASE, STUDENT
from benchmarks.journal import Journal
from benchmarks.plain import SEED, PlainData, PlainTraining, base_model, student_model
from benchmarks.rows import Row, mean_difference
from benchmarks.setting import Setting
from models.base import KwsModel, clone_state
from models.task import KeywordTask


@dataclass(frozen=True)
class Trials:
    """What is trained.

    Attributes:
        keywords: Each is trained for in both ways.
        epochs: Of each training, in both ways.
        target: au_fa_fr on validation.
        state: Folder for checkpoints, which outlives this process.
    """

    keywords: tuple[str, ...]
    epochs: int
    target: float
    state: Path


@dataclass
class Trial:
    """A training as the journal tells it.

    Attributes:
        validation: au_fa_fr after each epoch.
        test: au_fa_fr on the test split of the best epoch's model; None while it trains.
        epochs: The budget that it finished with.
    """

    validation: dict[int, float] = field(default_factory=dict)
    test: float | None = None
    epochs: int = 0

    def epochs_to(self, target: float) -> int | None:
        """The first epoch at or below the target."""
        return next((n for n in sorted(self.validation) if self.validation[n] <= target), None)

    @property
    def best(self) -> float:
        """Least au_fa_fr on validation."""
        return min(self.validation.values())


class JournalUi(Ui):
    """Writes every epoch of ``run_chain`` down."""

    def __init__(self, journal: Journal, keyword: str, data: str, epochs: int) -> None:
        self._journal, self._keyword, self._data, self._epochs = journal, keyword, data, epochs
        self._label = ""

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        """Says whose epochs follow."""
        self._label = label

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        """An epoch with its checkpoint."""
        key = trial_key("ours", self._label, self._keyword, self._data, self._epochs)
        self._journal.add(_epoch_line(key, epoch.epoch, epoch.validation_headline))

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        """A row: the training's quality on test."""
        key = trial_key("ours", record.label, self._keyword, self._data, self._epochs)
        self._journal.add({**key, "epochs": record.epochs, "test_au_fa_fr": record["au_fa_fr"]})


def trial_key(side: str, model: str, keyword: str, data: str, epochs: int) -> dict[str, Any]:
    """What a line is about. Ours depends on the recipe, whose schedule on the number of epochs."""
    recipe = content_hash([asdict(Recipe()), STAGE_VERSION, epochs]) if side == "ours" else "plain"
    return {"side": side, "model": model, "keyword": keyword, "data": data, "recipe": recipe}


def _epoch_line(key: dict[str, Any], epoch: int, validation: float) -> dict[str, Any]:
    return {**key, "epoch": epoch, "validation_au_fa_fr": validation}


def read_trial(journal: Journal, key: dict[str, Any]) -> Trial:
    """All lines of a key; of an epoch that was done twice the later one."""
    trial = Trial()
    for line in journal.lines():
        if any(line.get(name) != value for name, value in key.items()):
            continue
        if "epoch" in line:
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
        ours = (
            read_trial(journal, trial_key("ours", model, keyword, data, trials.epochs))
            for model in (BASE, STUDENT)
        )
        if any(trial.test is None for trial in ours):
            config = RunConfig(
                chain="ad+kd", data=str(setting.folder), task=KeywordTask(keyword), epochs=trials.epochs
            )
            run_chain(
                config,
                trials.state / "ours",
                JournalUi(journal, keyword, data, trials.epochs),
                progress=False,
            )
        _plain_trials(setting, keyword, trials, journal)


def _plain_trials(setting: Setting, keyword: str, trials: Trials, journal: Journal) -> None:
    data = PlainData.of(setting.folder, setting.corpus(), keyword)
    teacher: KwsModel | None = None
    for model in (BASE, STUDENT):
        key = trial_key("plain", model, keyword, setting.folder.name, trials.epochs)
        torch.manual_seed(seed_from("plain model", SEED))
        training = PlainTraining(base_model() if model == BASE else student_model(), teacher)
        name = content_hash({**key, "teacher_epochs": trials.epochs if teacher else 0})
        _plain_trial(training, data, trials.state / f"plain-{name}.pt", trials.epochs, key, journal)
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
        value = training.epoch(data)
        # Before the checkpoint: a line may be written twice, but none is lost.
        journal.add(_epoch_line(key, epoch, value))
        if value < state["least"]:
            state |= {"best": clone_state(model), "least": value}
        state |= {"epoch": epoch, "model": model.state_dict(), "optimizer": training.optimizer.state_dict()}
        save_atomically(state, path)
    model.load_state_dict(state["best"])
    if read_trial(journal, key).epochs != epochs:
        test = au_fa_fr(*training.score(data.test))
        journal.add({**key, "epochs": epochs, "test_au_fa_fr": test})


def quality_rows(
    data: str, trials: Trials, journal: Journal, epoch_s: Mapping[tuple[str, str], float]
) -> list[Row]:
    """What the journal says so far about keywords that both ways have finished.

    Args:
        data: Name of the folder.
        trials: What was trained.
        journal: Of all epochs.
        epoch_s: Seconds of an epoch by side and model, measured side by side; may be empty.
    """
    rows = []
    for model in (BASE, STUDENT):
        pairs = []
        for keyword in trials.keywords:
            plain, ours = (
                read_trial(journal, trial_key(side, model, keyword, data, trials.epochs))
                for side in ("plain", "ours")
            )
            if trials.epochs == plain.epochs == ours.epochs:
                pairs.append((plain, ours))
        if pairs:
            seconds = [epoch_s.get((side, model), math.nan) for side in ("plain", "ours")]
            rows += [*_epoch_rows(model, pairs, trials, seconds), _test_row(model, pairs, trials.epochs)]
    return rows


def _epoch_rows(
    model: str, pairs: list[tuple[Trial, Trial]], trials: Trials, seconds: Sequence[float]
) -> list[Row]:
    """To the stated quality, and to that which ours ends with."""
    rows = []
    targets = {
        f"au_fa_fr {trials.target:g} on validation": [trials.target] * len(pairs),
        f"the validation quality that ours has after {trials.epochs}": [ours.best for _, ours in pairs],
    }
    for what, values in targets.items():
        reached = [
            [trial.epochs_to(value) for trial, value in zip(side, values, strict=True)]
            for side in zip(*pairs, strict=True)
        ]
        there = [sum(epoch is not None for epoch in side) for side in reached]
        note = (
            f"reached for {there[0]} (plain) and {there[1]} (ours) of {len(pairs)} keywords; else all count"
        )
        plain, ours = ([float(epoch or trials.epochs) for epoch in side] for side in reached)
        rows.append(Row(f"{model}: epochs to {what}", ours, plain, note=note))
        if all(map(math.isfinite, seconds)):
            times = [
                [epoch * each for epoch in side] for side, each in zip((plain, ours), seconds, strict=True)
            ]
            rows.append(
                Row(f"{model}: seconds to {what}", times[1], times[0], note="epochs times their laps")
            )
    return rows


def _test_row(model: str, pairs: list[tuple[Trial, Trial]], epochs: int) -> Row:
    plain, ours = ([trial.test or 0.0 for trial in side] for side in zip(*pairs, strict=True))
    note = mean_difference("ours - plain", ours, plain)
    what = f"{model}: au_fa_fr on test after {epochs} epochs each, median over keywords"
    return Row(what, ours, plain, note=note, compare=False)
