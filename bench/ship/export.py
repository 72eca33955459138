"""``bench export``: a run's model as files for other runtimes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bench.files import write_atomically
from bench.reading import is_text
from bench.results.open import folder_at, open_run
from bench.results.runs import RunFolder
from compressors.chain import parse
from compressors.quantization.dynamic_quant import DynamicQuant
from models.base import KwsModel
from models.errors import KwsError, ResultsError
from models.integer import file as kws_file
from models.integer.kws import KWS_FILE
from models.integer.model import IntegerModel
from models.registry import base_spec
from models.task import UNNAMED, Task

Writer = Callable[[IntegerModel, Path, str], list[Path]]
Weights = Literal["float", "int8"]
EXPORT_FOLDER = "export"


def find_artifact(path: Path) -> Path:
    """The ``.kws`` file of a run folder, of any file in it, or the file itself.

    Raises:
        ResultsError: There is no run, or its chain ends in floating point; the message says which would do.
    """
    if path.suffix == ".kws" and not path.is_dir():
        return path
    folder = folder_at(path).path
    if (folder / KWS_FILE).exists():
        return folder / KWS_FILE
    raise ResultsError(
        f"{folder} holds no {KWS_FILE}: .kws files and C code are made of chains that end in integers, "
        f"{_advice(folder)}"
    )


def _advice(folder: Path) -> str:
    try:
        about = RunFolder(folder).config()
    except ResultsError:
        about = {}
    chain, model = about.get("chain"), about.get("model")
    if not is_text(chain) or not is_text(model):
        return "such as sq+ad+kd or qat+ad+kd; give the folder of such a run"
    task = _task_of(RunFolder(folder))
    if refused := _refusal(model, "sq", task):
        return f"and this one's model has none: {refused}"
    # What can stand under integers: no other converter, nothing whose layers have no such form.
    pieces = [
        piece
        for piece in chain.split("+")
        if piece not in ("base", "") and not _refusal(model, f"sq+{piece}", task)
    ]
    would = ["+".join([token, *pieces]) for token in ("sq", "qat")]
    return f"and this one is {chain or 'base'}; run --chain {would[0]} or --chain {would[1]} first"


def _refusal(model: str, chain: str, task: Task) -> str:
    """Why a chain cannot work on a model; empty where it can."""
    try:
        parse(chain, base_spec(model, task))
    except KwsError as error:
        return str(error)
    return ""


def export_run(path: Path, form: str, out: Path | None) -> list[Path]:
    """Writes the model of a run in another form.

    Args:
        path: Run folder, a file in it, or a ``.kws`` file.
        form: A key of ``FORMATS``; ``onnx`` also takes runs that end in floating point.
        out: Folder for the files; None for ``export/FORMAT`` beside the ``.kws`` file.

    Returns:
        The files written.

    Raises:
        KwsError: There is no such run, its model cannot be exported, or an extra is missing.
    """
    if form == "onnx" and _ends_in_float(path):
        return _write_float_onnx(path, out)
    artifact = find_artifact(path)
    model = of_run(kws_file.load(artifact), RunFolder(artifact.absolute().parent))
    folder = out or artifact.parent / EXPORT_FOLDER / form
    folder.mkdir(parents=True, exist_ok=True)
    return FORMATS[form](model, folder, artifact.absolute().parent.name)


def of_run(model: IntegerModel, run: RunFolder) -> IntegerModel:
    """An integer model with the task of its run where its file is of a version that does not say it."""
    return replace(model, task=_task_of(run)) if model.task == UNNAMED else model


def _task_of(run: RunFolder) -> Task:
    try:
        return run.task()
    except ResultsError:
        return UNNAMED


def _write_kws(model: IntegerModel, folder: Path, name: str) -> list[Path]:
    write_atomically(folder / KWS_FILE, kws_file.to_bytes(model))
    return [folder / KWS_FILE]


def _write_onnx(model: IntegerModel, folder: Path, name: str) -> list[Path]:
    return _write_both_forms(model, folder, "int8", model.task)


def _ends_in_float(path: Path) -> bool:
    folder = path if path.is_dir() else path.absolute().parent
    return path.suffix != ".kws" and (folder / "config.json").exists() and not (folder / KWS_FILE).exists()


def _write_float_onnx(path: Path, out: Path | None) -> list[Path]:
    """A run without an integer model: float weights, or those of dynamic quantization rounded to int8."""
    run, _ = open_run(path)
    model, chain = run.load_float_model()
    dynamic = any(isinstance(part, DynamicQuant) for part in chain.parts)
    if chain.converts and not dynamic:
        raise ResultsError(
            f"{run.run_id} ships in a form that ONNX files have no weights for; "
            f"export a run of {chain.trained.text or 'base'}"
        )
    folder = out or run.path / EXPORT_FOLDER / "onnx"
    folder.mkdir(parents=True, exist_ok=True)
    return _write_both_forms(model, folder, "int8" if dynamic else "float", run.task())


def _write_both_forms(
    model: KwsModel | IntegerModel, folder: Path, weights: Weights, task: Task
) -> list[Path]:
    from bench.ship.onnx_export import write_onnx

    paths = [folder / "model.onnx", folder / "model_stream.onnx"]
    write_onnx(model, paths[0], form="clip", weights=weights, task=task)
    write_onnx(model, paths[1], form="stream", weights=weights, task=task)
    return paths


def _write_c(model: IntegerModel, folder: Path, name: str) -> list[Path]:
    from bench.ship.c_export import write_c

    return write_c(model, folder, name)


FORMATS: dict[str, Writer] = {"kws": _write_kws, "onnx": _write_onnx, "c": _write_c}
