"""Making one stage of a chain: train or convert it, measure it, and leave its run folder complete."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.config import RunConfig, seed_from
from bench.cost import peak_memory_mb
from bench.data.clips import Data
from bench.device import placed, torch_device
from bench.reading import AGAIN, tensors_hash
from bench.results.given import given_base
from bench.results.records import ROW_FILE, RunRecord, load_record, no_quality, save_record, task_columns
from bench.results.runs import RunFolder
from bench.running.columns import cost_columns, quality_columns, ratio_columns
from bench.running.ui import Ui
from bench.training.choice import Choice, audit_choice
from bench.training.loop import DivergedError, train
from bench.training.state import Training, cut, going_on
from bench.training.teacher import Teacher
from compressors.chain import Chain
from models.base import KwsModel
from models.errors import ResultsError
from models.registry import base_spec, build
from models.shipped import shipped

# What a base took that was given.
NO_EFFORT: dict[str, Any] = {"epochs": 0, "train_seconds": 0.0}


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


def make_stage(stage: Stage, base: RunFolder, config: RunConfig, data: Data, ui: Ui) -> RunRecord:
    """Trains or converts, measures, and leaves the run folder complete; its checkpoint is no more needed."""
    record = RunRecord(
        run_id=stage.run.run_id,
        label=stage.chain.label,
        chain=stage.chain.text,
        model=config.model,
        data=data.corpus.name,
        corpus_hash=data.corpus.hash,
        **task_columns(config.task),
        recipe=config.recipe.name,
        seed=config.seed,
        teacher_seed=None if config.base is not None else config.teacher_seed,
        base=config.base_hash,
        split=config.split,
        quality=no_quality(config.task),
        target_metric=config.target_metric if stage.chain.trained.parts else None,
        max_epochs=config.max_epochs,
        versions=config.recipe.versions,
        device=config.device,
        threads=torch.get_num_threads(),
        torch_version=str(torch.__version__),
        bench_version=version("kws-bench"),
    )
    try:
        model, effort = _float_model(stage, base, config, data, ui)
    except DivergedError as error:
        record = replace(record, status="diverged", reason=str(error))
    else:
        made, model = stage.chain.convert(model), model.float_form()
        form = shipped(made, converted=stage.chain.converts, task=config.task)
        # What a converter makes is for the CPU.
        scorer = made if stage.chain.converts else placed(made, torch_device(config.device))
        scored = quality_columns(stage.run, scorer, data.clips, data.speakers, alone=form.alone)
        record = replace(record, **effort, **cost_columns(model, made, form, config.task), **scored)
        ratios = ratio_columns(record, load_record(base.path) or record)
        record = replace(record, **ratios, peak_memory_mb=peak_memory_mb())
        stage.run.save_config(config.model, stage.chain, model.spec, config.values())
        stage.run.save_model(model, form)
    save_record(stage.run.path, record)
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
        if row is None or row.epochs is None:
            raise ResultsError(
                f"{stage.source.path / ROW_FILE} does not say how long it was trained; {AGAIN}"
            )
        names = ("epochs", "best_epoch", "epochs_to_target", "train_seconds", *Choice._fields)
        before = {name: getattr(row, name) for name in names}
        model = chain.calibrate(model, data.calibration())
        if not chain.tuning.parts:
            return model, before
        training = _train(stage.run, chain.tuning, model, base, config, data, ui)
        target = config.target_metric if chain.trained.parts else None
        effort = _effort(training, target, before["epochs"], before["train_seconds"])
        choice = audit_choice(training, chain.tuning, data.clips, data.speakers)
        return training.best_model, effort | choice._asdict()
    if config.base is not None and not chain.parts:
        return given(config), NO_EFFORT
    training = _train(stage.run, chain, chain.prepare(_student(chain, base, config)), base, config, data, ui)
    effort = _effort(training, config.target_metric if chain.parts else None)
    choice = audit_choice(training, chain, data.clips, data.speakers)
    return chain.surgery(training.best_model), effort | choice._asdict()


def given(config: RunConfig) -> KwsModel:
    """The base that a configuration names a file for.

    Raises:
        ResultsError: It cannot be read or does not fit, or holds other weights than when it was first read.
    """
    assert config.base is not None
    model = given_base(Path(config.base), config.model, config.task)
    if config.base_hash not in ("", base_hash(model)):
        raise ResultsError(f"{config.base} holds other weights than when this command began")
    return model


def base_hash(model: KwsModel) -> str:
    """What a run knows a given base by."""
    return tensors_hash(model.state_dict())[:16]


def with_base(config: RunConfig) -> RunConfig:
    """A configuration that says which weights its base's file holds, where it names one.

    Raises:
        ResultsError: As ``given`` does.
    """
    return config if config.base is None else replace(config, base_hash=base_hash(given(config)))


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
    spec = base_spec(config.model, config.task)
    torch.manual_seed(seed_from("model", config.seed))
    model = build(chain.student(spec))
    if config.recipe.warm_start and chain.parts:
        model.start_from(base.load_model())
    return model


def _train(
    run: RunFolder, chain: Chain, model: KwsModel, base: RunFolder, config: RunConfig, data: Data, ui: Ui
) -> Training:
    """Trains a prepared model under the terms of a chain, from the run's checkpoint where there is one."""
    teacher = _teacher(chain, base, config, data) if chain.needs_teacher() else None
    training = Training.start(model.to(torch_device(config.device)), config.recipe, run.checkpoint)
    if training.history:
        with going_on(run.checkpoint):  # what it says of units to keep shows when they are cut out
            for weights in (training.model, training.best_model):
                cut(weights, chain)
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


def _teacher(chain: Chain, base: RunFolder, config: RunConfig, data: Data) -> Teacher:
    model, recipe = base.load_model().to(torch_device(config.device)), config.recipe
    assert isinstance(model, KwsModel)
    taps = chain.teacher_taps(model.spec)
    if recipe.teacher_ahead and recipe.versions:
        return Teacher.of_bank(model, data.clips.features.bank, taps)
    return Teacher(model, taps=taps)
