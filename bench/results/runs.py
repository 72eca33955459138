"""The run folder: the configuration, the history, the weights, the scores and the row of one model."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from bench.files import file_name, write_atomically, write_text_atomically
from bench.reading import AGAIN, is_text, read_object, reading
from bench.results.scores import SCORES_FILE
from bench.results.weights import SAFETENSORS, load_state, read_state, save_state
from compressors.chain import Chain, parse
from models.base import KwsModel, ModelSpec, spec_values
from models.budget import refuse_larger
from models.integer import file as kws_file
from models.integer.kws import IntegerKws
from models.registry import base_spec, build, family
from models.shipped import FORMS, Shipped
from models.task import KeywordTask, Task
from models.tasks import task_from

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


# Many words make a long text, and file systems take names of 255 bytes.
LONGEST_NAME = 100


@dataclass(frozen=True)
class RunFolder:
    """``OUT/runs/<run id>/``; the row, written last, marks it complete.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name, which ends in a hash of all that determines the result."""
        return self.path.name

    @property
    def config_file(self) -> Path:
        """What the model is, and what it was trained with."""
        return self.path / "config.json"

    @property
    def weights_file(self) -> Path:
        """The float weights; earlier versions kept them as torch saves them."""
        new, old = self.path / f"weights{SAFETENSORS}", self.path / "weights.pt"
        return old if old.exists() and not new.exists() else new

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished training goes on from; gone once it is done."""
        return self.path / "checkpoint.pt"

    def beside(self, name: str, tasks: Iterable[str]) -> Path:
        """Where tables of several runs go: a folder beside ``runs/``, and in it one for a single task."""
        folder = self.path.absolute().parent
        texts = set(tasks)
        inside = file_name(texts.pop())[:LONGEST_NAME] if len(texts) == 1 else ""
        return (folder.parent if folder.name == "runs" else self.path) / name / inside

    def save_config(self, model: str, chain: Chain, spec: ModelSpec, config: Mapping[str, Any]) -> None:
        """Writes what a stranger needs to build the model again, and what it was trained with."""
        about = {"model": model, "chain": chain.text, "spec": spec_values(spec), "run": dict(config)}
        write_text_atomically(self.config_file, json.dumps(about, indent=1, default=asdict))

    def save_history(self, history: Sequence[DataclassInstance]) -> None:
        """Writes one line an epoch."""
        table = pd.DataFrame([asdict(epoch) for epoch in history])
        write_text_atomically(self.path / "history.csv", table.to_csv(index=False))

    def save_model(self, model: KwsModel, form: Shipped) -> None:
        """Writes the float weights, and beside them the file of the form that ships where that is another.

        A model whose file holds all of it is read back from there. A converted state_dict holds objects
        that torch only reads by running code from the file, so it is kept for its bytes, and the model is
        made again from the float weights.
        """
        save_state(model.state_dict(), self.path / f"weights{SAFETENSORS}")
        if form.file:
            write_atomically(self.path / form.file, form.content())

    def save_scores(self, scores: Mapping[str, npt.NDArray[Any]]) -> None:
        """Writes keyword probability, label and speaker of every clip, by split, in the corpus's order."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **dict(scores))
        write_atomically(self.path / SCORES_FILE, buffer.getvalue())

    def config(self) -> dict[str, Any]:
        """What ``save_config`` wrote.

        Raises:
            ResultsError: The file is missing or damaged.
        """
        with reading(self.config_file):
            return read_object(self.config_file)

    def task(self) -> Task:
        """What was asked of the model; versions that knew one kind of task kept a keyword.

        Raises:
            ResultsError: The file is missing or damaged.
        """
        with reading(self.config_file, f"{AGAIN}, or give the --plugin that it was made with"):
            about = self.config()["run"]
            task = task_from(about["task"]) if "task" in about else KeywordTask(about["keyword"])
            if not all(map(is_text, (*task.classes, task.text))):
                raise ValueError("the words of its task are no texts")
            return task

    def load_model(self) -> nn.Module:
        """The model as it ships, in evaluation mode.

        Raises:
            KwsError: The folder holds no complete run, or its files are damaged.
        """
        for name, read in FORMS.items():
            if (self.path / name).exists():
                whole = read(self.path / name)
                with reading(self.path / name):
                    refuse_strange(whole, self.task())
                return whole.eval()
        model, chain = self.load_float_model()
        with reading(self.weights_file):
            shipped = chain.convert(model).eval()
            refuse_strange(shipped, self.task())
        return shipped

    def load_float_model(self) -> tuple[KwsModel, Chain]:
        """The model before its conversion, in evaluation mode, and the chain; not for one of integers.

        Raises:
            ResultsError: The folder holds no complete run, or its files are damaged.
        """
        about = self.config()
        with reading(self.config_file, f"{AGAIN}, or give the --plugin that it was made with"):
            default = base_spec(about["model"], self.task())
            spec = read_spec(about["model"], about["spec"])
            refuse_larger(spec, default)
            chain = parse(about["chain"], default)
            with torch.random.fork_rng(devices=[]):
                model: KwsModel = build(spec)
            refuse_strange(model, self.task())
        with reading(self.weights_file):
            load_state(model, read_state(self.weights_file))
        return model.eval(), chain


def load_integer(path: Path) -> IntegerKws:
    """The model of a ``.kws`` file, in evaluation mode.

    Raises:
        KwsError: It cannot be read, or is no model of a clip.
    """
    model = IntegerKws(kws_file.load(path))
    with reading(path):
        refuse_strange(model, model.integer.task)
    return model.eval()


def read_spec(model: str, values: Mapping[str, Any]) -> ModelSpec:
    """A specification from the plain values that ``spec_values`` gave; JSON has made tuples lists."""
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return type(family(model).default)(**plain)


def refuse_strange(model: nn.Module, task: Task) -> None:
    """Refuses a model that does not do a task on one clip; use it inside ``reading``."""
    mels, classes = task.front_end.mels, len(task.classes)
    of_model = getattr(getattr(model, "spec", None), "n_mels", mels)
    if of_model != mels:
        raise ValueError(f"a model of {of_model} mel bands, and features have {mels}")
    model.eval()
    with torch.inference_mode():
        logits = model(torch.zeros(1, mels, task.frames)).logits
    if logits.shape != (1, classes):
        raise ValueError(f"a model of {logits.shape[-1]} classes, and there are {classes}")
    if not logits.isfinite().all():
        raise ValueError("the model's outputs are no numbers")
