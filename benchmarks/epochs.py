"""Epochs of the base and of the AD+KD student, and what is made once before them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from functools import partial

import torch

from bench.config import Recipe, RunConfig
from bench.data.features import features_of
from bench.device import torch_device
from bench.results.records import RunRecord
from bench.running.pipeline import run_chain
from bench.running.ui import Ui
from bench.training.state import Epoch
from benchmarks.plain import SEED, LogMel, PlainData, PlainTraining, base_model, student_model
from benchmarks.rows import Row
from benchmarks.setting import Setting
from benchmarks.turns import Laps, Turns, alternate
from models.task import KeywordTask

BASE, STUDENT = "B", "AD+KD"
EPOCH_ROWS = {BASE: "epoch of the base, s", STUDENT: "epoch of the AD+KD student, s"}


class TurnUi(Ui):
    """Makes every epoch of ``run_chain`` a lap, and notes how long a training took to prepare."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self._label, self._since = turns, "", time.perf_counter()

    def opened(self, corpus_hash: str, about: Sequence[str]) -> None:
        """The first training is prepared from here on."""
        self._since = time.perf_counter()

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        """All is ready for the first epoch; the other side's turn."""
        self._turns.note(prepared(label), time.perf_counter() - self._since)
        self._label = label
        self._turns.wait()

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        """An epoch is over and its checkpoint is written."""
        self._turns.lap(self._label)

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        """A model is measured; the next training is prepared from here on."""
        self._since = time.perf_counter()


def prepared(label: str) -> str:
    """The name of the note that holds a training's preparation in seconds: a teacher's answers, say."""
    return f"{label} prepared"


def measure_epochs(setting: Setting) -> list[Row]:
    """Plain and ours in turn, base first, then the student with that base as teacher."""
    # From an empty cache, which the plain way then only asks which clip is in which split.
    shutil.rmtree(setting.cache, ignore_errors=True)
    laps = alternate({"ours": partial(our_epochs, setting), "plain": partial(plain_epochs, setting)})
    plain, ours, epochs = laps["plain"], laps["ours"], Recipe().epochs
    made_s = ours.notes["corpus_s"] + ours.notes["bank_s"]
    rows = []
    for label, what in EPOCH_ROWS.items():
        rows.append(_row(what, plain, ours, label, 0.0))
        # What a training makes for itself is made before its first epoch or in it.
        longer_s = max(0.0, ours.seconds[label][0] - _median_after_first(ours, label))
        own_s = ours.notes[prepared(label)] + longer_s
        rows.append(
            _row(
                f"the same, with all that is made once shared out over {epochs} epochs, s",
                plain,
                ours,
                label,
                (made_s + own_s) / epochs,
                f"once: folder read {ours.notes['corpus_s']:.1f} s, bank {ours.notes['bank_s']:.1f} s, "
                f"this training's preparation {own_s:.1f} s",
            )
        )
    memory = "peak resident memory of the training process, MB"
    note = "mapped features and clips count; the plain way's two loader workers do not"
    rows.append(Row(memory, [ours.peak_mb], [plain.peak_mb], note=note))
    return rows


def _median_after_first(laps: Laps, label: str) -> float:
    return Laps({label: laps.seconds[label][1:]}).median_s(label)


def _row(what: str, plain: Laps, ours: Laps, label: str, more_s: float, note: str = "") -> Row:
    """The first lap of each warms up."""
    shared = [seconds + more_s for seconds in ours.seconds[label][1:]]
    return Row(what, shared, plain.seconds[label][1:], note=note)


def plain_epochs(setting: Setting, turns: Turns) -> None:
    """The plain way's side."""
    data = PlainData.of(setting.folder, setting.corpus(), setting.keyword)
    torch.manual_seed(SEED)
    base = base_model()
    trainings = ((BASE, base, None), (STUDENT, student_model(), base))
    for label, model, teacher in trainings:
        training = PlainTraining(model, teacher.eval() if teacher else None, torch_device(setting.device))
        turns.wait()
        for _ in range(setting.size.rounds + 1):
            training.epoch(data)
            turns.lap(label)


def our_epochs(setting: Setting, turns: Turns) -> None:
    """The toolkit's side: the folder is read, the bank made, then it trains."""
    config = RunConfig(
        chain="ad+kd",
        data=str(setting.folder),
        task=KeywordTask(setting.keyword),
        epochs=setting.size.rounds + 1,
        device=setting.device,
    )
    started = time.perf_counter()
    corpus = setting.corpus()
    read = time.perf_counter()
    features_of(corpus, config.recipe, config.seed, device=torch_device(config.device))
    turns.note("corpus_s", read - started)
    turns.note("bank_s", time.perf_counter() - read)
    run_chain(config, setting.scratch / "epochs", TurnUi(turns), progress=False)


def measure_bank(setting: Setting) -> list[Row]:
    """Clips turned to features per second: the bank, and the plain way's data work for an epoch."""
    setting.corpus()
    laps = alternate({"plain": partial(plain_data_work, setting), "ours": partial(our_bank, setting)})
    plain, ours = laps["plain"], laps["ours"]
    rates = {
        name: [side.notes["clips"] / seconds for seconds in side.seconds["clips"]]
        for name, side in laps.items()
    }
    what = "clips read, augmented and turned to log-mel, clips/s"
    note = f"plain: an epoch's, each time; ours: the feature bank, {ours.notes['clips']:,.0f} clips, once"
    memory = "peak resident memory of that, MB"
    return [
        Row(what, rates["ours"], rates["plain"], more_is_better=True, note=note),
        Row(memory, [ours.peak_mb], [plain.peak_mb], note="of the main process, mapped files included"),
    ]


def plain_data_work(setting: Setting, turns: Turns) -> None:
    """The plain way's epoch without a model."""
    data, features = PlainData.of(setting.folder, setting.corpus(), setting.keyword), LogMel()
    torch.manual_seed(SEED)
    turns.note("clips", float(len(data.train.dataset)))  # type: ignore[arg-type]
    turns.wait()
    for _ in range(setting.size.rounds):
        for waves, _labels in data.train:
            features(waves)
        turns.lap("clips")


def our_bank(setting: Setting, turns: Turns) -> None:
    """The features of the default recipe, each time from an empty cache."""
    corpus, recipe = setting.corpus(), Recipe()
    cache = setting.scratch / "bank"
    os.environ["KWS_BENCH_CACHE"] = str(cache)
    turns.note("clips", float(len(corpus.clips) + recipe.versions * len(corpus.indices("train"))))
    turns.wait()
    for _ in range(setting.size.rounds):
        features_of(corpus, recipe, 0)
        turns.lap("clips")
        shutil.rmtree(cache)
        turns.wait()
