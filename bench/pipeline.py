"""From a configuration to rows: the base, the trained student, and the form that ships."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from bench.config import RunConfig, content_hash, seed_from
from bench.corpora import open_corpus
from bench.corpora.base import Corpus
from bench.features import CLIP_FRAMES, features_of, to_float
from bench.features import VERSION as FEATURES_VERSION
from bench.measure import artifact, cost, latency_ms, peak_memory_mb, size_kb
from bench.metrics import Floats, quality
from bench.records import RunRecord, append_record, load_record, quality_columns, save_record
from bench.runs import RunFolder
from bench.score import EVAL_BATCH, keyword_probability, predict
from bench.teacher import Teacher
from bench.train import (
    Clips,
    DivergedError,
    Epoch,
    Training,
    train,
)
from compressors.chain import Chain, parse
from models.base import KwsModel, example_input, spec_values
from models.integer_kws import IntegerKws
from models.registry import build, family

# Raised whenever the same configuration would train to another result.
STAGE_VERSION = 1
CALIBRATION_CLIPS = 512


class Ui:
    """Who is told how a run goes; this one does nothing with it."""

    def opened(self, corpus_hash: str, about: Sequence[str]) -> None:
        """The data is there; ``about`` says what it holds."""

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        """A training begins, or goes on after ``done`` epochs; ``job`` tells those at the same time apart."""

    def epoch(self, epoch: Epoch, job: int = 0) -> None:
        """An epoch is done."""

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        """A row is there; ``reused`` if it had been made before."""


@dataclass(frozen=True)
class Stage:
    """One model of a chain that gets a row.

    Attributes:
        chain: All compressors that made it.
        run: Its folder.
        source: The run that it is converted from; None for one that is trained itself.
    """

    chain: Chain
    run: RunFolder
    source: RunFolder | None


class Data:
    """A corpus with one keyword; features are made when the first training asks for them."""

    def __init__(self, corpus: Corpus, config: RunConfig) -> None:
        self.corpus = corpus
        self._config = config

    @cached_property
    def clips(self) -> Clips:
        """All that training and scoring read."""
        corpus, config = self.corpus, self._config
        return Clips(
            features=features_of(corpus, config.recipe, config.seed),
            waveforms=corpus.waveforms,
            noise=to_float(corpus.noise),
            labels=corpus.labels(config.keyword),
            train=corpus.indices("train"),
            validation=corpus.indices("validation"),
            test=corpus.indices("test"),
        )

    def calibration(self) -> Tensor:
        """Log-mel (N, M, T) of training clips, spread over all of them."""
        clips = self.clips
        return clips.features.clean[clips.train[:: max(1, len(clips.train) // CALIBRATION_CLIPS)]]


def check(config: RunConfig) -> Chain:
    """The chain of a configuration; refuses what cannot work before anything is made.

    Raises:
        KwsError: The chain or the model is wrong.
    """
    default = family(config.model).default
    chain = parse(config.chain, default)
    # What only shows in a built model: widths to cut, a kernel longer than a clip.
    with torch.random.fork_rng(devices=[]):
        student = chain.surgery(chain.prepare(build(chain.student(default))))
    predict(student, example_input(frames=CLIP_FRAMES), np.zeros(1, np.int64))
    return chain


def run_chain(
    config: RunConfig, out: Path, ui: Ui | None = None, *, progress: bool = False
) -> list[RunRecord]:
    """Trains a chain over its base and writes a row for each model on the way.

    A stage whose row is there already is not run again; one that was interrupted goes on.

    Args:
        config: What to run.
        out: Gets ``results.csv`` and ``runs/<run id>/``.
        ui: Is told how it goes; None for no one.
        progress: Show progress bars while a corpus is made.

    Returns:
        The rows of the base, of the trained student, and of the form that ships, as far as they differ.

    Raises:
        KwsError: The chain, the model or the data cannot work; nothing was trained.
    """
    ui = ui or Ui()
    chain = check(config)
    data = Data(open_corpus(config.data, config.keyword, split=config.split, progress=progress), config)
    ui.opened(data.corpus.hash, data.corpus.about())
    stages = plan(config, chain, data.corpus.hash, out / "runs")
    records: list[RunRecord] = []
    for stage in stages:
        stage.run.path.mkdir(parents=True, exist_ok=True)
        with FileLock(stage.run.path / ".lock"):
            found = load_record(stage.run.path)
            record = found or _make(stage, stages[0].run, config, data, ui)
        if config.label and stage is stages[-1]:
            record = replace(record, label=config.label)
        append_record(out, record)
        ui.finished(record, reused=found is not None)
        records.append(record)
        if record.status != "ok":
            break
    return records


def plan(config: RunConfig, chain: Chain, corpus_hash: str, runs: Path) -> list[Stage]:
    """The stages of a chain: base, trained, converted, without repetition."""
    stages: dict[str, Stage] = {}
    for part in (parse("", family(config.model).default), chain.trained, chain):
        slug = "+".join(piece.token for piece in reversed(part.parts)) or "base"
        run = RunFolder(runs / f"{slug}-{content_hash(_identity(part, config, corpus_hash))}")
        source = stages[chain.trained.text].run if part.converts else None
        stages.setdefault(part.text, Stage(part, run, source))
    return list(stages.values())


def _identity(chain: Chain, config: RunConfig, corpus_hash: str) -> dict[str, Any]:
    """All that determines a stage's result, and nothing that it does not read."""
    # A corpus is what it holds, wherever it lies (its hash knows the split), a recipe what it says.
    recipe = replace(config.recipe, name="", epochs=config.max_epochs)
    settled = replace(config, chain="", label="", data=corpus_hash, epochs=None, recipe=recipe)
    if not chain.trained.parts:
        # The base has no teacher and no one to start from, and teaches as well as it can: no target.
        alone = replace(recipe, warm_start=False, teacher_ahead=False)
        settled = replace(settled, recipe=alone, target_metric=None)
    return {name: value for name, value in asdict(settled).items() if name != "split"} | {
        # The text of a chain omits its defaults, its parts hold them.
        "chain": [(type(part).__name__, asdict(part)) for part in chain.parts],
        "spec": spec_values(family(config.model).default),
        "version": [STAGE_VERSION, FEATURES_VERSION],
    }


def _make(stage: Stage, base: RunFolder, config: RunConfig, data: Data, ui: Ui) -> RunRecord:
    """Trains or converts, measures, and leaves the run folder complete."""
    record = RunRecord(
        run_id=stage.run.run_id,
        label=stage.chain.label,
        chain=stage.chain.text,
        model=config.model,
        data=data.corpus.name,
        corpus_hash=data.corpus.hash,
        keyword=config.keyword,
        recipe=config.recipe.name,
        seed=config.seed,
        split=config.split,
        target_au_fa_fr=config.target_metric if stage.chain.trained.parts else None,
        max_epochs=config.max_epochs,
        versions=config.recipe.versions,
        threads=torch.get_num_threads(),
        torch_version=str(torch.__version__),
        bench_version=version("kws-bench"),
    )
    try:
        model, effort = _float_model(stage, base, config, data, ui)
    except DivergedError as error:
        record = replace(record, status="diverged", reason=str(error))
    else:
        shipped = stage.chain.convert(model)
        model = model.float_form()
        record = replace(record, **effort, **_cost(model, shipped), **_score(stage, shipped, data))
        record = replace(record, **_ratios(record, load_record(base.path) or record))
        record = replace(record, peak_memory_mb=peak_memory_mb())
        stage.run.save_config(config.model, stage.chain, model.spec, asdict(config))
        stage.run.save_model(model, shipped)
    save_record(stage.run.path, record)
    stage.run.checkpoint.unlink(missing_ok=True)
    return record


def _float_model(
    stage: Stage, base: RunFolder, config: RunConfig, data: Data, ui: Ui
) -> tuple[KwsModel, dict[str, Any]]:
    """The stage's float model after surgery, ready to be converted, and what its training took."""
    chain = stage.chain
    if stage.source is not None:
        model = stage.source.load_model()
        assert isinstance(model, KwsModel)
        row = load_record(stage.source.path)
        assert row is not None
        names = ("epochs", "best_epoch", "epochs_to_target", "train_seconds")
        before = {name: getattr(row, name) for name in names}
        model = chain.calibrate(model, data.calibration())
        if not chain.tuning.parts:
            return model, before
        training = _train(stage.run, chain.tuning, model, base, config, data, ui)
        target = config.target_metric if chain.trained.parts else None
        return training.best_model, _effort(training, target, before["epochs"], before["train_seconds"])
    training = _train(stage.run, chain, chain.prepare(_student(chain, base, config)), base, config, data, ui)
    effort = _effort(training, config.target_metric if chain.parts else None)
    return chain.surgery(training.best_model), effort


def _effort(
    training: Training, target: float | None, epochs: int = 0, seconds: float = 0.0
) -> dict[str, Any]:
    """What a training took, on top of what the model had taken before."""
    reached = training.epochs_to(target)
    return {
        "epochs": epochs + len(training.history),
        "best_epoch": epochs + training.best_epoch.epoch,
        "epochs_to_target": None if reached is None else epochs + reached,
        "train_seconds": seconds + sum(epoch.seconds for epoch in training.history),
    }


def _student(chain: Chain, base: RunFolder, config: RunConfig) -> KwsModel:
    """The model to train, before a chain prepares it."""
    spec = family(config.model).default
    torch.manual_seed(seed_from("model", config.seed))
    model = build(chain.student(spec))
    if config.recipe.warm_start and chain.parts:
        model.start_from(base.load_model())
    return model


def _train(
    run: RunFolder, chain: Chain, model: KwsModel, base: RunFolder, config: RunConfig, data: Data, ui: Ui
) -> Training:
    """Trains a prepared model under the terms of a chain, from the run's checkpoint where there is one."""
    teacher = _teacher(base, config, data) if chain.needs_teacher() else None
    training = Training.start(model, config.recipe, run.checkpoint)
    ui.started(chain.label, config.max_epochs, len(training.history))
    train(
        training,
        chain,
        teacher,
        data.clips,
        epochs=config.max_epochs,
        target=config.target_metric if chain.trained.parts else None,
        seed=config.seed,
        report=ui.epoch,
    )
    run.save_history(training.history)
    return training


def _teacher(base: RunFolder, config: RunConfig, data: Data) -> Teacher:
    model, recipe = base.load_model(), config.recipe
    if recipe.teacher_ahead and recipe.versions:
        return Teacher.of_bank(model, data.clips.features.bank)
    return Teacher(model)


def _cost(model: KwsModel, shipped: nn.Module) -> dict[str, Any]:
    """Cost columns: counted on the float model, weighed on the form that ships."""
    # The reference of integer arithmetic is made to be read: its time says nothing of a device's.
    timed = not isinstance(shipped, IntegerKws)
    return (
        asdict(cost(model))
        | asdict(artifact(shipped))
        | {
            "size_kb": size_kb(shipped),
            "latency_ms": latency_ms(shipped, threads=1) if timed else float("nan"),
            "latency_threads": 1,
        }
    )


def _score(stage: Stage, shipped: nn.Module, data: Data) -> dict[str, Any]:
    """Quality columns, on validation and test; the scores of the clips are kept."""
    clips = data.clips
    alone = stage.chain.converts and not isinstance(shipped, IntegerKws)
    batch = 1 if alone else EVAL_BATCH
    scores: dict[str, Floats] = {
        name: keyword_probability(predict(shipped, clips.features.clean, rows, batch))
        for name, rows in (("validation", clips.validation), ("test", clips.test))
    }
    # Kept with the scores: from both a threshold can be chosen without the corpus.
    kept = {f"{name}_labels": clips.labels[getattr(clips, name)].astype(float) for name in scores}
    stage.run.save_scores(scores | kept)
    return quality_columns(
        quality(clips.labels[clips.test], scores["test"]),
        quality(clips.labels[clips.validation], scores["validation"]),
    )


def _ratios(record: RunRecord, base: RunRecord) -> dict[str, Any]:
    """How many times smaller than the base."""
    return {
        "macs_ratio": (base.macs or 0) / (record.macs or 1),
        "params_ratio": (base.params or 0) / (record.params or 1),
        "size_ratio": base.size_kb / record.size_kb,
    }
