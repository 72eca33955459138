"""What is in a run, a file of weights or a ``.kws`` file: the text of ``bench import``."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from bench.reading import tensors_hash
from bench.request import TaskRequest
from bench.results.given import State, fits, listed, misfits, plain_name, read_given
from bench.results.open import folder_at
from bench.results.records import RunRecord, load_record
from bench.results.runs import RunFolder, load_integer
from models.base import count_params
from models.errors import ModelError, ResultsError
from models.integer.file import MAGIC
from models.integer.kws import KWS_FILE
from models.integer.model import IntegerModel
from models.numbers import shortest
from models.registry import base_spec, family, names
from models.task import Task

KEEP_ONE = "and so does another set in it; bench run takes a file with one"


def contents(path: Path, asked: TaskRequest) -> list[str]:
    """What is there, a line each.

    Args:
        path: A run folder, or a file.
        asked: The tasks that a file of weights may be for.

    Raises:
        KwsError: It is none of them, or damaged.
    """
    if path.is_dir():
        return _of_run(folder_at(path))
    if not path.is_file():
        raise ResultsError(f"nothing at {path}: give a run's folder, a file of weights or a .kws file")
    with path.open("rb") as file:
        integer = file.read(len(MAGIC)) == MAGIC
    if integer or path.suffix == ".kws":
        model = load_integer(path).integer
        return [f"{path}: integer model, {_bytes(path)}", *_of_task(model.task), *_of_kws(model, path)]
    return [f"{path}: weights, {_bytes(path)}", *_of_weights(path, asked)]


def _bytes(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes"


def _of_run(run: RunFolder) -> list[str]:
    model, chain = run.load_float_model()
    about, state, weights = run.config(), model.state_dict(), run.weights_file
    lines = [
        f"{run.path}: run",
        f"  model {about['model']}, chain {chain.text or 'base'}, {_row(load_record(run.path))}",
        *_of_task(run.task()),
        f"  {weights.name}, {_bytes(weights)}: {count_params(model):,} parameters",
        *_tensors(state),
        f"  sha256 of its content: {tensors_hash(state)}",
    ]
    kws = run.path / KWS_FILE
    if kws.exists():
        lines += [f"  {kws.name}, {_bytes(kws)}", *_of_kws(load_integer(kws).integer, kws)]
    return lines


def _row(record: RunRecord | None) -> str:
    """What a row says of how it went."""
    if record is None:
        return "not finished"
    given = f"base given ({record.base})" if record.base else "base trained"
    return f"{record.label}, seed {record.seed}, {given}, {record.epochs or 0} epochs, {record.status}"


def _of_task(task: Task) -> list[str]:
    return [f"  task: {task.text}; classes {', '.join(task.classes)}", f"  {_heard(task)}"]


def _heard(task: Task) -> str:
    front = task.front_end
    window, hop = shortest(front.window_ms), shortest(front.hop_ms)
    return f"clips of {shortest(task.clip_s)} s, {front.mels} mels, {window} ms every {hop} ms"


def _of_kws(integer: IntegerModel, path: Path) -> list[str]:
    """The operations of a file, with their weights."""
    rows, count = [], 0
    for at, (op, own) in enumerate(zip(integer.program, integer.tensors, strict=True)):
        for number, tensor in enumerate(own):
            biases = 0 if tensor.bias is None else tensor.bias.size
            count += tensor.weight.size + biases
            name = f"{at} {type(op).__name__}" + (f".{number}" if len(own) > 1 else "")
            rows.append((name, "x".join(map(str, tensor.weight.shape)), f"int{tensor.bits}"))
    return [
        f"  {len(integer.program)} operations, activations of {integer.activations} bits, "
        f"{count:,} parameters",
        *_columns(rows),
        f"  sha256 of the file: {hashlib.sha256(path.read_bytes()).hexdigest()}",
    ]


def _of_weights(path: Path, asked: TaskRequest) -> Iterator[str]:
    """Every set of tensors in a file, and what it fits."""
    sets = read_given(path)
    fitting = {
        task: {where: fits({where: state}, task) for where, state in sets.items()} for task in asked.tasks()
    }
    for where, state in sets.items():
        if where:
            yield f"  under {plain_name(where)}:"
        count = sum(tensor.numel() for tensor in state.values())
        yield from _tensors(state)
        yield f"  {len(state):,} tensors of {count:,} numbers"
        yield f"  sha256 of its content: {tensors_hash(state)}"
        for task, found in fitting.items():
            several = Counter(name for of_set in found.values() for name in of_set)
            for name, fitted in found[where].items():
                yield f"  fits {name} on {_asked(task)}, as the base {tensors_hash(fitted)[:16]}"
                yield f"    {_command(path, name, task, asked)}" if several[name] == 1 else f"    {KEEP_ONE}"
            if not found[where]:
                yield f"  fits no model on {_asked(task)}"
                yield from _closest(state, task)


def _asked(task: Task) -> str:
    return f"{task.text}, {_heard(task)}"


def _command(path: Path, name: str, task: Task, asked: TaskRequest) -> str:
    """How weights are taken as a base."""
    chain = "base" if family(name).of(task).student is None else "kd"
    words = ["bench", "run", "--model", name, *asked.options(), "--base", str(path), "--chain", chain]
    return shlex.join(words)


def _closest(state: State, task: Task) -> Iterator[str]:
    missed = {}
    for name in names():
        try:
            missed[name] = misfits({"": state}, base_spec(name, task))
        except ModelError:  # the task is none for it
            continue
    if missed:
        name = min(missed, key=lambda name: len(missed[name]))
        yield f"  closest is {name}: {listed(missed[name])}"


def _tensors(state: Mapping[str, Tensor]) -> Iterator[str]:
    rows = (
        (
            plain_name(name),
            "x".join(map(str, tensor.shape)) or "one",
            str(tensor.dtype).removeprefix("torch."),
        )
        for name, tensor in state.items()
    )
    return _columns(rows)


def _columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "    " + "  ".join(cells).rstrip()
