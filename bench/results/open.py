"""Opening a run: its folder, its row, its model, its corpus; whatever is damaged is one line."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from bench.results.records import ROW_FILE, RunRecord, load_record
from bench.results.runs import RunFolder
from models.errors import ResultsError


def folder_at(path: Path) -> RunFolder:
    """The run folder at a path, from the folder or any file in it.

    Raises:
        ResultsError: There is nothing.
    """
    if not path.exists():
        raise ResultsError(f"no run at {path}: give a folder such as out/runs/<run id>, or a file in it")
    return RunFolder(path if path.is_dir() else path.absolute().parent)


def open_run(path: Path) -> tuple[RunFolder, nn.Module]:
    """A run and its model as it ships, from the run folder or any file in it.

    Raises:
        KwsError: There is no complete run, or its files are damaged.
    """
    run = folder_at(path)
    return run, run.load_model()


def run_at(path: Path) -> tuple[RunFolder, RunRecord]:
    """A finished run and its row, from the run folder or any file in it.

    Raises:
        ResultsError: There is none, it did not end well, or its row is damaged.
    """
    run = folder_at(path)
    record = load_record(run.path)
    if record is None:
        raise ResultsError(f"{run.path} holds no complete run: {ROW_FILE} is missing")
    if record.status != "ok":
        raise ResultsError(f"{run.path} did not end well: {record.status}, {record.reason}")
    return run, record
