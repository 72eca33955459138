"""What is made of times; no test depends on how long anything takes."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench.cli import main
from bench.runs import RunFolder
from bench.ship import latency
from bench.ship.extras import MissingExtraError
from bench.ship.latency import (
    FLOAT,
    INT8,
    ONNX,
    TORCH,
    UNPACKED,
    C,
    Latency,
    Runtime,
    Subject,
    measure,
    prepare,
)
from bench.ship.latency_run import as_csv, findings, latency_table
from bench.ship.onnx_weights import in_int8, of_float
from compressors.chain import parse
from models.crnn import Crnn, CrnnSpec
from models.registry import build


def subject() -> Subject:
    torch.manual_seed(0)
    model = build(CrnnSpec(channels=2, hidden=6)).eval()
    assert isinstance(model, Crnn)
    return Subject(model, in_int8(of_float(model)), None, None)


def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Callable[[], None]]:
    """A clock that only moves when something is called."""
    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])

    def lasting(seconds: float) -> Callable[[], None]:
        def call() -> None:
            now[0] += seconds

        return call

    return lasting


def test_times_and_ratios_are_those_of_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    lasting = clock(monkeypatch)
    runtimes = [
        Runtime(TORCH, FLOAT, lasting(800e-6), lasting(400e-6)),
        Runtime(ONNX, FLOAT, lasting(100e-6), lasting(50e-6)),
        Runtime(ONNX, INT8, lasting(120e-6), lasting(49e-6)),
        Runtime(ONNX, UNPACKED, lasting(10e-6), lasting(10e-6)),
        Runtime(C, INT8, lasting(200e-6), lasting(10e-6)),
    ]
    rows = {(row.runtime, row.weights, row.form): row for row in measure(runtimes, rounds=4)}
    assert rows[ONNX, INT8, "clip"].latency_us == pytest.approx(120)
    assert rows[ONNX, INT8, "clip"].ratio == pytest.approx(120 / 800)
    for name, weights in ((TORCH, FLOAT), (ONNX, UNPACKED)):
        assert rows[name, weights, "step"].faster_than_float == ""
    answers = {key: row.faster_than_float for key, row in rows.items() if key[1] == INT8}
    # 49 is no more than noise faster than 50; C is held against ONNX Runtime in float.
    assert answers == {
        (ONNX, INT8, "clip"): "no",
        (ONNX, INT8, "step"): "no",
        (C, INT8, "clip"): "no",
        (C, INT8, "step"): "yes",
    }
    lines = findings(list(rows.values()))
    assert "int8 is faster than float for a step: C, int8" in lines
    assert "int8 is not faster than float for a clip: ONNX Runtime, int8; C, int8" in lines


def test_rounds_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_repeats", lambda call: 1)
    called: list[str] = []
    runtimes = [
        Runtime(name, FLOAT, lambda name=name: called.append(f"{name} clip"), lambda: None)  # type: ignore[misc]
        for name in (TORCH, ONNX)
    ]
    measure(runtimes, rounds=3)
    assert called == [f"{TORCH} clip", f"{ONNX} clip"] * 3


def test_every_runtime_computes_the_model(tmp_path: Path) -> None:
    """The calls that are timed give the model's logits on silence."""
    pytest.importorskip("onnxruntime")
    model = subject()
    runtimes, skipped = prepare(model, tmp_path)
    assert {(row.runtime, row.reason[:35]) for row in skipped} == {(C, "its chain ends in floating point; C")}
    with torch.inference_mode():
        expected = model.float_model(torch.zeros(1, 40, 101)).logits.numpy()
        for each in runtimes:
            result = each.clip()
            found = np.asarray(getattr(result, "logits", result))
            np.testing.assert_allclose(found, expected, atol=0.01)
            each.step()


def test_a_missing_extra_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, name: str) -> None:
        raise MissingExtraError(f'{module} is not installed; pip install "kws-bench[{name}]"')

    monkeypatch.setattr("bench.ship.onnx_export.extra", missing)
    runtimes, skipped = prepare(subject(), tmp_path)
    assert [each.name for each in runtimes] == [TORCH]
    lines = findings(skipped)
    assert f'not measured: {ONNX}, {INT8}: onnx is not installed; pip install "kws-bench[onnx]"' in lines


def test_the_table_and_the_csv_hold_every_runtime() -> None:
    rows = [
        Latency(TORCH, FLOAT, "clip", 800.0, 1.0),
        Latency(TORCH, FLOAT, "step", 400.0, 1.0),
        Latency(C, INT8, "clip", reason="no C compiler"),
        Latency(C, INT8, "step", reason="no C compiler"),
    ]
    assert latency_table(rows, "any").row_count == 2
    written = list(csv.DictReader(as_csv(rows, 9).splitlines()))
    assert [line["runtime"] for line in written] == [TORCH, TORCH, C, C]
    assert (written[0]["latency_us"], written[0]["rounds"], written[2]["reason"]) == (
        "800.0",
        "9",
        "no C compiler",
    )


def test_the_command_writes_a_csv_beside_the_run(tmp_path: Path) -> None:
    run, model = RunFolder(tmp_path / "run"), subject().float_model
    run.path.mkdir()
    run.save_config("crnn", parse("dq+ad+kd", CrnnSpec()), model.spec, {})
    run.save_model(model, model)
    done = CliRunner().invoke(main, ["latency", str(run.path), "--rounds", "3"], catch_exceptions=False)
    assert done.exit_code == 0
    written = list(csv.DictReader((run.path / "latency.csv").read_text().splitlines()))
    assert {"float32", "int8 (dq)"} <= {line["weights"] for line in written if line["runtime"] == TORCH}
    assert all(float(line["latency_us"]) > 0 for line in written if not line["reason"])
    assert "one thread" in done.output
    none = CliRunner().invoke(main, ["latency", str(tmp_path / "no")])
    assert none.exit_code == 2
    assert "no run at" in none.output
