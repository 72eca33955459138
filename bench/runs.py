"""The run folder: the configuration, the history, the weights, the scores and the row of one model."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from bench.files import file_name, write_atomically, write_text_atomically
from bench.ship import kws_file
from bench.training import Epoch, save_atomically
from compressors.chain import Chain, parse
from models.base import KwsModel, ModelSpec, spec_values
from models.errors import ResultsError
from models.integer_kws import IntegerKws
from models.registry import build, family

KWS_FILE = "model.kws"


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
    def checkpoint(self) -> Path:
        """Where an unfinished training goes on from; gone once it is done."""
        return self.path / "checkpoint.pt"

    def beside(self, name: str, keywords: Iterable[str]) -> Path:
        """Where tables of several runs go: a folder beside ``runs/``, and in it one for a single keyword."""
        folder = self.path.absolute().parent
        words = set(keywords)
        inside = file_name(words.pop()) if len(words) == 1 else ""
        return (folder.parent if folder.name == "runs" else self.path) / name / inside

    def save_config(self, model: str, chain: Chain, spec: ModelSpec, config: Mapping[str, Any]) -> None:
        """Writes what a stranger needs to build the model again, and what it was trained with."""
        about = {"model": model, "chain": chain.text, "spec": spec_values(spec), "run": dict(config)}
        write_text_atomically(self.path / "config.json", json.dumps(about, indent=1, default=asdict))

    def save_history(self, history: Sequence[Epoch]) -> None:
        """Writes one line an epoch."""
        table = pd.DataFrame([asdict(epoch) for epoch in history])
        write_text_atomically(self.path / "history.csv", table.to_csv(index=False))

    def save_model(self, model: KwsModel, shipped: nn.Module) -> None:
        """Writes the float weights, and beside them those of the form that ships where that is another.

        An integer model is kept as its file, and read back from it. A converted state_dict holds objects
        that torch only reads by running code from the file, so it is kept for its bytes, and the model is
        made again from the float weights.
        """
        save_atomically(model.state_dict(), self.path / "weights.pt")
        if isinstance(shipped, IntegerKws):
            kws_file.save(shipped.integer, self.path / KWS_FILE)
        elif shipped is not model:
            save_atomically(shipped.state_dict(), self.path / "shipped.pt")

    def save_scores(self, scores: Mapping[str, npt.NDArray[Any]]) -> None:
        """Writes keyword probability, label and speaker of every clip, by split, in the corpus's order."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **dict(scores))
        write_atomically(self.path / "scores.npz", buffer.getvalue())

    def load_model(self) -> nn.Module:
        """The model as it ships, in evaluation mode.

        Raises:
            ResultsError: The folder holds no complete run.
        """
        if (self.path / KWS_FILE).exists():
            return IntegerKws(kws_file.load(self.path / KWS_FILE)).eval()
        model, chain = self.load_float_model()
        return chain.convert(model).eval()

    def load_float_model(self) -> tuple[KwsModel, Chain]:
        """The model before its conversion, in evaluation mode, and the chain; not for one of integers.

        Raises:
            ResultsError: The folder holds no complete run.
        """
        try:
            about = json.loads((self.path / "config.json").read_text())
            weights = torch.load(self.path / "weights.pt", weights_only=True)
        except FileNotFoundError as error:
            raise ResultsError(
                f"{self.path} holds no complete run: {Path(error.filename).name} is missing"
            ) from None
        spec = read_spec(about["model"], about["spec"])
        with torch.random.fork_rng(devices=[]):
            model: KwsModel = build(spec)
        model.load_state_dict(weights)
        return model.eval(), parse(about["chain"], family(about["model"]).default)


def read_spec(model: str, values: Mapping[str, Any]) -> ModelSpec:
    """A specification from the plain values that ``spec_values`` gave; JSON has made tuples lists."""
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return type(family(model).default)(**plain)
