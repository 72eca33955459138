"""``bench export``: a run's model as files for other runtimes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bench.runs import KWS_FILE
from bench.ship import kws_file
from models.base import KwsModel
from models.errors import ResultsError
from models.integer import IntegerModel

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
    if not path.exists():
        raise ResultsError(f"no run at {path}: give a folder such as out/runs/<run id>, or a file in it")
    folder = path if path.is_dir() else path.absolute().parent
    if (folder / KWS_FILE).exists():
        return folder / KWS_FILE
    raise ResultsError(
        f"{folder} holds no {KWS_FILE}: .kws files and C code are made of chains that end in integers, "
        f"{_advice(folder)}"
    )


def _advice(folder: Path) -> str:
    try:
        about = json.loads((folder / "config.json").read_text())
        chain, model = str(about["chain"]), str(about["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return "such as sq+ad+kd or qat+ad+kd; give the folder of such a run"
    if model != "crnn":
        return f"and this one's model, {model}, has no form in integers; crnn has"
    trained = [part for part in chain.split("+") if part.partition(":")[0] not in ("base", "dq", "lr", "")]
    would = ["+".join([token, *trained]) for token in ("sq", "qat")]
    return f"and this one is {chain or 'base'}; run --chain {would[0]} or --chain {would[1]} first"


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
    model = kws_file.load(artifact)
    folder = out or artifact.parent / EXPORT_FOLDER / form
    folder.mkdir(parents=True, exist_ok=True)
    return FORMATS[form](model, folder, artifact.absolute().parent.name)


def _write_kws(model: IntegerModel, folder: Path, name: str) -> list[Path]:
    kws_file.save(model, folder / KWS_FILE)
    return [folder / KWS_FILE]


def _write_onnx(model: IntegerModel, folder: Path, name: str) -> list[Path]:
    return _write_both_forms(model, folder, "int8")


def _ends_in_float(path: Path) -> bool:
    folder = path if path.is_dir() else path.absolute().parent
    return path.suffix != ".kws" and (folder / "config.json").exists() and not (folder / KWS_FILE).exists()


def _write_float_onnx(path: Path, out: Path | None) -> list[Path]:
    """A run without an integer model: float weights, or those of ``dq`` rounded to int8."""
    from bench.stream.run import open_run

    run, _ = open_run(path)
    model, chain = run.load_float_model()
    folder = out or run.path / EXPORT_FOLDER / "onnx"
    folder.mkdir(parents=True, exist_ok=True)
    return _write_both_forms(model, folder, "int8" if chain.converts else "float")


def _write_both_forms(model: KwsModel | IntegerModel, folder: Path, weights: Weights) -> list[Path]:
    from bench.ship.onnx_export import write_onnx

    paths = [folder / "model.onnx", folder / "model_stream.onnx"]
    write_onnx(model, paths[0], form="clip", weights=weights)
    write_onnx(model, paths[1], form="stream", weights=weights)
    return paths


def _write_c(model: IntegerModel, folder: Path, name: str) -> list[Path]:
    from bench.ship.c_export import write_c

    return write_c(model, folder, name)


FORMATS: dict[str, Writer] = {"kws": _write_kws, "onnx": _write_onnx, "c": _write_c}
