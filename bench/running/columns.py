"""The columns of a row that are measured on a finished model: cost, quality with its intervals, ratios."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from bench.cost import BYTES_PER_KB, cost, latency_ms
from bench.data.clips import Clips
from bench.quality.confusion import confusion, save_confusion
from bench.quality.measures import ENDS, VALIDATION, Scored, measures
from bench.quality.score import EVAL_BATCH, predict, probabilities
from bench.results.records import RunRecord, no_quality
from bench.results.runs import RunFolder
from models.base import KwsModel
from models.shipped import Shipped
from models.task import KeywordTask, Task

HELD_OUT = ("validation", "test")


def cost_columns(model: KwsModel, made: nn.Module, form: Shipped, task: Task) -> dict[str, Any]:
    """Counted on the float model, weighed on the form that ships."""
    return {
        **asdict(cost(model, task.front_end)),
        **asdict(form.sizes),
        "size_kb": form.sizes.artifact_bytes / BYTES_PER_KB,
        "latency_ms": latency_ms(made, task.frames) if form.timed else float("nan"),
        "latency_threads": 1,
    }


def quality_columns(
    run: RunFolder, shipped: nn.Module, clips: Clips, speakers: npt.NDArray[np.str_], *, alone: bool
) -> dict[str, Any]:
    """On validation and test, with 95 % intervals; the scores of the clips are kept in the run folder.

    A figure that is not defined (scores that are no numbers, one class only) makes the row's status
    ``undefined``, with the reason.

    Args:
        run: Where the scores are kept, and of a task of several words its confusion table.
        shipped: The form that ships.
        clips: Of the run.
        speakers: Who speaks, shape (N,), of all clips.
        alone: Score one clip a call, as a device would: scales depend on the whole call.
    """
    scored: dict[str, Scored] = {}
    for name in HELD_OUT:
        rows = getattr(clips, name)
        logits = predict(shipped, clips.features.clean, rows, 1 if alone else EVAL_BATCH)
        scored[name] = Scored(clips.task, clips.labels[rows], probabilities(logits), speakers[rows])
    # Kept with the scores: from these a threshold can be chosen, and rows compared, without the corpus.
    kept: dict[str, npt.NDArray[Any]] = {}
    for name, of_split in scored.items():
        kept |= {name: of_split.probabilities, f"{name}_labels": of_split.labels}
        kept[f"{name}_speakers"] = of_split.speakers
    run.save_scores(kept)
    if not isinstance(clips.task, KeywordTask):
        save_confusion(run.path, confusion(scored["test"]))
    found = no_quality(clips.task)
    reasons = [
        _fill(found, prefix, scored[name]) for name, prefix in (("test", ""), ("validation", VALIDATION))
    ]
    said = [reason for reason in reasons if reason]
    return {"quality": found} | ({"status": "undefined", "reason": said[-1]} if said else {})


def _fill(quality: dict[str, float | int], prefix: str, scored: Scored) -> str:
    """Fills in the columns of a split; gives the reason where its figures are not defined."""
    where = "validation" if prefix else "test"
    if not np.isfinite(scored.probabilities).all():
        return f"the model's scores of {where} clips are no numbers"
    for measure in measures(scored.task):
        figure, interval = float(measure.value(scored)), measure.interval(scored)
        ends = zip(ENDS, (interval.low, interval.high), strict=True)
        for end, value in (("", figure), *ends):
            quality[f"{prefix}{measure.name}{end}"] = value if math.isfinite(value) else math.nan
    quality[f"{prefix}clips"] = len(scored.labels)
    if isinstance(scored.task, KeywordTask):
        quality[f"{prefix}keyword_clips"] = int(scored.labels.sum())
    return "" if len(np.unique(scored.labels)) > 1 else f"the {where} clips are all of one class"


def ratio_columns(record: RunRecord, base: RunRecord) -> dict[str, Any]:
    """How many times smaller than the base."""
    return {
        "macs_ratio": (base.macs or 0) / (record.macs or 1),
        "params_ratio": (base.params or 0) / (record.params or 1),
        "size_ratio": base.size_kb / record.size_kb,
    }
