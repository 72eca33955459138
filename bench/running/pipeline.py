"""From a configuration to rows: the base, the trained student, and the form that ships."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from bench.config import RunConfig, content_hash
from bench.data.clips import Data
from bench.data.corpora import open_corpus
from bench.data.features import VERSION as FEATURES_VERSION
from bench.device import repeatable, torch_device
from bench.quality.measures import measure_of
from bench.quality.score import predict
from bench.results.records import RunRecord, load_record
from bench.results.runs import RunFolder
from bench.results.table import append_record
from bench.running.stages import Stage, make_stage, with_base
from bench.running.ui import Ui
from bench.threads import TRAINING_THREADS, threads
from bench.training.state import forget
from compressors.chain import Chain, parse
from compressors.taps import listening
from models.base import KwsModel, spec_values
from models.budget import MOST_TRAINING_BYTES, training_bytes
from models.errors import ChainError, ModelError
from models.registry import base_spec, build
from models.task import Task

# Raised whenever the same configuration would train to another result.
STAGE_VERSION = 3


def check(config: RunConfig) -> Chain:
    """The chain of a configuration; refuses what cannot work before anything is made.

    Raises:
        KwsError: The chain or the model is wrong.
    """
    for name in (config.task.headline, config.task.tested):
        measure_of(config.task, name)
    default = base_spec(config.model, config.task)
    chain = parse(config.chain, default)
    # What only shows in a built model: widths to cut, a kernel longer than a clip, what a step takes.
    with torch.random.fork_rng(devices=[]):
        trained = chain.prepare(build(chain.student(default)))
        student = chain.surgery(trained)
    _refuse_short(student, config.task)
    _refuse_deaf(trained, chain, config.task)
    with_base(config)
    if trained.spec != default:
        _refuse_costly(trained, config)
    return chain


def _refuse_short(student: KwsModel, task: Task) -> None:
    """Refuses a model that has no use for a clip as short as the task's, or not as many classes."""
    try:
        logits = predict(student, _silence(1, task), np.zeros(1, np.int64))
    except RuntimeError as error:
        reason, name = " ".join(str(error).split())[:100], type(student).__name__
        raise ModelError(f"{name} hears no clip of {task.frames} frames ({reason})") from None
    if logits.shape[1] != len(task.classes):
        raise ModelError(f"{type(student).__name__} has {logits.shape[1]} classes, not {len(task.classes)}")


def _silence(clips: int, task: Task) -> Tensor:
    """Clips of zeros, shape (B, M, T)."""
    return torch.zeros(clips, task.front_end.mels, task.frames)


def _refuse_deaf(trained: KwsModel, chain: Chain, task: Task) -> None:
    """Refuses a chain whose terms hear layers that a model in training does not have."""
    if taps := chain.student_taps(trained.spec):
        with torch.no_grad(), listening(trained, taps):
            trained.eval()(_silence(2, task))


def _refuse_costly(student: KwsModel, config: RunConfig) -> None:
    """Refuses a student that takes more memory than a compressed model can be worth."""
    needed = training_bytes(student, config.recipe.batch_size, config.task.frames)
    if needed > MOST_TRAINING_BYTES:
        raise ChainError(
            f"{config.chain}: training the student takes some {needed / 1e9:.1f} GB, more than "
            f"{MOST_TRAINING_BYTES / 1e9:g} GB; give smaller sizes"
        )


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
    config = with_base(config)
    chain = check(config)
    corpus = open_corpus(config.data, config.task, split=config.split, progress=progress)
    ui.opened(corpus.hash, corpus.about())
    # The base may have another seed, and hence another bank of features.
    data = {each: Data(corpus, each) for each in (base_config(config), config)}
    stages = plan(config, chain, corpus.hash, out / "runs")
    records: list[RunRecord] = []
    device = torch_device(config.device)
    for stage in stages:
        how = made_with(stage.chain, config)
        stage.run.path.mkdir(parents=True, exist_ok=True)
        with FileLock(stage.run.path / ".lock"), threads(TRAINING_THREADS), repeatable(device):
            found = load_record(stage.run.path)
            record = found or make_stage(stage, stages[0].run, how, data[how], ui)
            forget(stage.run.checkpoint)
        named = bool(config.label) and stage is stages[-1]
        if named:
            record = replace(record, label=config.label)
        record = append_record(out, record, named=named)
        ui.finished(record, reused=found is not None)
        records.append(record)
        if record.status != "ok":
            break
    return records


def base_config(config: RunConfig) -> RunConfig:
    """The configuration that the base, and its conversions, are made with."""
    seed = config.seed if config.teacher_seed is None else config.teacher_seed
    return config if seed == config.seed else replace(config, seed=seed, teacher_seed=None)


def made_with(chain: Chain, config: RunConfig) -> RunConfig:
    """The configuration that a stage is made with: students, and what trains on from a given base, have
    seeds of their own.
    """
    own = chain.trained.parts or (config.base is not None and chain.tuning.parts)
    return config if own else base_config(config)


def plan(config: RunConfig, chain: Chain, corpus_hash: str, runs: Path) -> list[Stage]:
    """The stages of a chain: base, trained, converted, without repetition."""
    stages: dict[str, Stage] = {}
    for part in (parse("", base_spec(config.model, config.task)), chain.trained, chain):
        slug = "+".join(piece.token for piece in reversed(part.parts)) or "base"
        how = made_with(part, config)
        run = RunFolder(runs / f"{slug}-{content_hash(_identity(part, how, corpus_hash))}")
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
    if settled.teacher_seed is None or config.base is not None:
        settled = replace(settled, teacher_seed=settled.seed)
    elsewhere = ("split", "task", "base", "base_hash")
    plain = {name: value for name, value in asdict(settled).items() if name not in elsewhere}
    if config.device == "cpu":
        del plain["device"]  # so runs of versions that knew no other keep their names
    given = {} if config.base is None else {"base": config.base_hash}
    return (
        plain
        | given
        | config.task.identity()
        | {
            # The text of a chain omits its defaults, its parts hold them.
            "chain": [(type(part).__name__, part.settings()) for part in chain.parts],
            "spec": spec_values(base_spec(config.model, config.task)),
            "version": [STAGE_VERSION, FEATURES_VERSION],
        }
    )
