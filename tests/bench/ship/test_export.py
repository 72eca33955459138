"""``bench export``: what is written where, and what is refused."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.ship.c_host import compile_host, find_compiler
from models.integer.file import to_bytes
from models.integer.model import IntegerModel
from models.integer.run import clip as clip_logits
from tests.programs import ATTENTION, filled


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def model() -> IntegerModel:
    return filled(ATTENTION, bits=4)


@pytest.fixture
def run_folder(model: IntegerModel, tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "sq+kd-0123"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"chain": "sq+kd"}))
    (folder / "model.kws").write_bytes(to_bytes(model))
    return folder


@pytest.mark.parametrize("given", ["", "config.json", "model.kws"])
def test_a_run_is_its_folder_or_a_file_in_it(given: str, run_folder: Path) -> None:
    result = call("export", run_folder / given)
    assert result.exit_code == 0
    copy = run_folder / "export" / "kws" / "model.kws"
    assert copy.read_bytes() == (run_folder / "model.kws").read_bytes()
    assert result.output.split() == [f"{copy.stat().st_size:,}", "bytes", str(copy)]


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
def test_c_is_written_where_asked_and_computes_the_model(
    model: IntegerModel, run_folder: Path, tmp_path: Path
) -> None:
    result = call("export", run_folder, "--format", "c", "--out", tmp_path / "mine")
    assert result.exit_code == 0
    assert "The model of sq+kd-0123." in (tmp_path / "mine" / "kws_model.h").read_text()
    clip = np.random.default_rng(0).normal(-4, 4, (40, 101)).astype(np.float32)
    host = compile_host(tmp_path / "mine", tmp_path / "host")
    np.testing.assert_array_equal(host.clip(clip), clip_logits(model, clip[None])[0][0])


@pytest.mark.parametrize(
    ("chain", "would"),
    [
        ("dq+ad+kd:hidden=4", "--chain sq+ad+kd:hidden=4 or --chain qat+ad+kd:hidden=4"),
        ("base", "--chain sq or --chain qat"),
    ],
)
def test_a_run_in_floating_point_is_told_what_would_ship(chain: str, would: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"chain": chain, "model": "crnn"}))
    result = call("export", tmp_path, "--format", "c")
    assert result.exit_code == 2
    assert f"this one is {chain}" in result.stderr
    assert would in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "export").exists()


def test_a_model_without_a_form_in_integers_is_not_told_to_run_again(tmp_path: Path) -> None:
    """The example's operation is known to graphs, not to integers."""
    (tmp_path / "config.json").write_text(json.dumps({"chain": "sq:fallback=true", "model": "prelu"}))
    importlib.import_module("examples.operation_prelu")  # which another test may have done before
    result = call("export", tmp_path)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "this one's model has none: sq: in Prelu, PReLU (act) has no integer form" in result.stderr


def test_no_run_and_a_cut_file_are_one_line(run_folder: Path) -> None:
    missing = call("export", run_folder / "nothing")
    assert (missing.exit_code, "no run at" in missing.stderr) == (2, True)
    whole = (run_folder / "model.kws").read_bytes()
    (run_folder / "model.kws").write_bytes(whole[:-9])
    cut = call("export", run_folder, "--format", "c")
    assert (cut.exit_code, len(cut.stderr.splitlines())) == (2, 1)
    assert "bytes where its header says" in cut.stderr
