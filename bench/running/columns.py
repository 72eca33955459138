"""The columns of a row that are measured on a finished model: cost, quality with its intervals, ratios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from bench.cost import BYTES_PER_KB, cost, latency_ms
from bench.data.clips import Clips
from bench.quality.intervals import intervals
from bench.quality.metrics import Floats, quality
from bench.quality.score import EVAL_BATCH, keyword_probability, predict
from bench.results.records import RunRecord
from bench.results.runs import RunFolder
from models.base import KwsModel
from models.shipped import Shipped

HELD_OUT = ("validation", "test")


def cost_columns(model: KwsModel, made: nn.Module, form: Shipped) -> dict[str, Any]:
    """Counted on the float model, weighed on the form that ships."""
    return {
        **asdict(cost(model)),
        **asdict(form.sizes),
        "size_kb": form.sizes.artifact_bytes / BYTES_PER_KB,
        "latency_ms": latency_ms(made, threads=1) if form.timed else float("nan"),
        "latency_threads": 1,
    }


def quality_columns(
    run: RunFolder, shipped: nn.Module, clips: Clips, speakers: npt.NDArray[np.str_], *, alone: bool
) -> dict[str, Any]:
    """On validation and test, with 95 % intervals; the scores of the clips are kept in the run folder.

    A figure that is not defined (scores that are no numbers, one class only) makes the row's status
    ``undefined``, with the reason.

    Args:
        run: Where the scores are kept.
        shipped: The form that ships.
        clips: Of the run.
        speakers: Who speaks, shape (N,), of all clips.
        alone: Score one clip a call, as a device would: scales depend on the whole call.
    """
    scores: dict[str, Floats] = {}
    labels: dict[str, npt.NDArray[np.int64]] = {}
    by: dict[str, npt.NDArray[np.str_]] = {}
    for name in HELD_OUT:
        rows = getattr(clips, name)
        logits = predict(shipped, clips.features.clean, rows, 1 if alone else EVAL_BATCH)
        scores[name], labels[name] = keyword_probability(logits), clips.labels[rows]
        by[name] = speakers[rows]
    # Kept with the scores: from these a threshold can be chosen, and rows compared, without the corpus.
    kept = {f"{name}_labels": labels[name].astype(float) for name in HELD_OUT}
    kept_speakers = {f"{name}_speakers": by[name] for name in HELD_OUT}
    run.save_scores(dict[str, npt.NDArray[Any]]() | scores | kept | kept_speakers)
    columns: dict[str, Any] = {}
    for name, prefix in (("test", ""), ("validation", "validation_")):
        columns |= dict(_of_split(prefix, labels[name], scores[name], by[name]))
    return columns


def _of_split(
    prefix: str, labels: npt.NDArray[np.int64], scores: Floats, speakers: npt.NDArray[np.str_]
) -> Iterator[tuple[str, Any]]:
    where = "validation" if prefix else "test"
    if not np.isfinite(scores).all():
        yield from _undefined(f"the model's scores of {where} clips are no numbers")
        return
    for name, value in asdict(quality(labels, scores)).items():
        yield f"{prefix}{name}", value
    for name, interval in intervals(labels, scores, speakers).items():
        yield f"{prefix}{name}_low", interval.low
        yield f"{prefix}{name}_high", interval.high
    if len(np.unique(labels)) < 2:
        yield from _undefined(f"the {where} clips are all of one class")


def _undefined(reason: str) -> Iterator[tuple[str, Any]]:
    yield from (("status", "undefined"), ("reason", reason))


def ratio_columns(record: RunRecord, base: RunRecord) -> dict[str, Any]:
    """How many times smaller than the base."""
    return {
        "macs_ratio": (base.macs or 0) / (record.macs or 1),
        "params_ratio": (base.params or 0) / (record.params or 1),
        "size_ratio": base.size_kb / record.size_kb,
    }
