"""A row of the table for tests: a finished student, of whichever task."""

from __future__ import annotations

from dataclasses import replace

from bench.results.records import RunRecord, no_quality, task_columns
from models.task import KeywordTask, Task

START = KeywordTask("start")


def row_of(task: Task = START, **quality: float) -> RunRecord:
    """A row with these figures and no others; ``replace`` changes the rest of it."""
    return RunRecord(
        run_id="kd-1",
        label="KD",
        chain="kd",
        model="crnn",
        data="tones",
        corpus_hash="0",
        **task_columns(task),
        recipe="default",
        seed=0,
        quality=no_quality(task) | quality,
        macs=305719,
        size_kb=37.5,
        best_epoch=7,
    )


def failed(task: Task = START) -> RunRecord:
    """A row of a training that diverged."""
    bare = replace(row_of(task), macs=None, size_kb=float("nan"), best_epoch=None)
    return replace(bare, status="diverged", reason="the loss was nan")
