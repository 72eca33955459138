"""``bench export``: what is written where, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from bench.cli import main
from bench.ship.c_host import compile_host, find_compiler
from compressors.quantization.quantize import integer_spec, quantize
from models.crnn import CrnnSpec
from models.integer import IntegerModel
from models.integer import file as kws_file
from models.registry import build


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def model() -> IntegerModel:
    torch.manual_seed(0)
    spec = CrnnSpec(channels=2, hidden=5)
    values = {name: tensor.numpy() for name, tensor in build(spec).state_dict().items()}
    return quantize(values, spec, widths=dict.fromkeys(integer_spec(spec).shapes(), 4), conv_step=0.1)


@pytest.fixture
def run_folder(model: IntegerModel, tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "sq+kd-0123"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"chain": "sq+kd"}))
    kws_file.save(model, folder / "model.kws")
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
    np.testing.assert_array_equal(host.clip(clip), model.clip(clip[None])[0][0])


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
    (tmp_path / "config.json").write_text(json.dumps({"chain": "sq:fallback=true", "model": "gru"}))
    result = call("export", tmp_path)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "this one's model, gru, has no form in integers; crnn has" in result.stderr


def test_no_run_and_a_cut_file_are_one_line(run_folder: Path) -> None:
    missing = call("export", run_folder / "nothing")
    assert (missing.exit_code, "no run at" in missing.stderr) == (2, True)
    whole = (run_folder / "model.kws").read_bytes()
    (run_folder / "model.kws").write_bytes(whole[:-9])
    cut = call("export", run_folder, "--format", "c")
    assert (cut.exit_code, len(cut.stderr.splitlines())) == (2, 1)
    assert "bytes where its header says" in cut.stderr
