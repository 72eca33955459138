"""What is made of times; no test depends on how long anything takes."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench.cli import main
from bench.results.runs import RunFolder
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
    measure_run,
    prepare,
)
from bench.ship.latency_run import as_csv, findings, latency_table
from bench.ship.onnx_weights import of_integer
from compressors.chain import parse
from models.base import KwsModel, ModelOutput, ModelSpec
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.integer.kws import IntegerKws
from models.integer.run import clip
from models.shipped import shipped
from models.task import KeywordTask
from tests.programs import ATTENTION, PROGRAMS, filled
from tests.real_numbers import logits_of, real_numbers
from tests.zoo import OWN, model_of, name_of


def subject() -> Subject:
    return Subject(model_of(CrnnSpec(channels=2, hidden=6)))


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


@pytest.mark.parametrize("spec", [CrnnSpec(channels=2, hidden=6), *(spec() for spec in OWN)], ids=name_of)
def test_every_runtime_computes_a_model_in_float(spec: ModelSpec, tmp_path: Path) -> None:
    """The calls that are timed give the model's logits on silence, and one decision a step."""
    pytest.importorskip("onnxruntime")
    model = model_of(spec)
    runtimes, skipped = prepare(Subject(model, converted=("dq", model)), tmp_path)
    reasons = {(row.runtime, row.weights): row.reason for row in skipped}
    assert reasons.pop((C, INT8)).startswith("its chain ends in floating point; C is made of chains")
    names = [(each.name, each.weights) for each in runtimes]
    assert names[:2] == [(TORCH, FLOAT), (TORCH, "int8 (dq)")]
    # Those that have no form in ONNX say which operation is the reason.
    assert names[2:] == [(ONNX, kind) for kind in (FLOAT, INT8, UNPACKED)] or set(reasons) == {
        (ONNX, kind) for kind in (FLOAT, INT8, UNPACKED)
    }
    with torch.inference_mode():
        expected = model(torch.zeros(1, 40, 101)).logits.numpy()
        for each in runtimes:
            result = each.clip()
            found = np.asarray(getattr(result, "logits", result))
            np.testing.assert_allclose(found, expected, atol=0.01 * max(1, np.abs(expected).max()))
            logits = each.step()[0]  # type: ignore[index]
            assert logits.size if isinstance(logits, np.ndarray) else logits.shape == (1, 1, 2)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_runtime_computes_an_integer_model(name: str, tmp_path: Path) -> None:
    """Torch and ONNX on the real numbers of its weights, the C code its integers."""
    pytest.importorskip("onnxruntime")
    integer = filled(PROGRAMS[name], activations=16)
    runtimes, skipped = prepare(Subject(of_integer(integer).model(), integer), tmp_path)
    names = [(each.name, each.weights) for each in runtimes]
    assert [*names, *{(row.runtime, row.weights) for row in skipped}] == [
        (TORCH, FLOAT),
        *((ONNX, kind) for kind in (FLOAT, INT8, UNPACKED)),
        (C, INT8),
    ]
    silence = np.zeros((1, 40, 101), np.float32)
    expected = logits_of(PROGRAMS[name], real_numbers(integer), silence)
    for each in runtimes:
        with torch.inference_mode():
            result = each.clip()
        found = np.asarray(getattr(result, "logits", result))
        if each.name == C:
            np.testing.assert_array_equal(found[None], clip(integer, silence)[0])
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        each.step()


def test_a_run_in_integers_is_timed_in_every_runtime(tmp_path: Path) -> None:
    run, model = RunFolder(tmp_path / "run"), subject().model
    run.path.mkdir()
    run.save_config("crnn", parse("sq+ad+kd", CrnnSpec()), model.spec, {"keyword": "start"})
    run.save_model(model, shipped(IntegerKws(filled(ATTENTION)), converted=True, task=KeywordTask()))
    rows = measure_run(run, rounds=3)
    assert {(row.runtime, row.weights) for row in rows} == {
        (TORCH, FLOAT),
        *((ONNX, kind) for kind in (FLOAT, INT8, UNPACKED)),
        (C, INT8),
    }
    assert all(row.latency_us > 0 for row in rows if not row.reason)
    assert not any(row.reason for row in rows if row.runtime == TORCH)


def test_a_model_that_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    class Each(KwsModel):
        def forward(self, log_mel: torch.Tensor) -> ModelOutput:
            return ModelOutput(log_mel[:, :2].transpose(1, 2), None)

    with pytest.raises(ModelError, match="cannot be streamed"):
        prepare(Subject(Each(CrnnSpec()).eval()), tmp_path)


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
    run, model = RunFolder(tmp_path / "run"), subject().model
    run.path.mkdir()
    run.save_config("crnn", parse("dq+ad+kd", CrnnSpec()), model.spec, {"keyword": "start"})
    run.save_model(model, shipped(model, converted=False, task=KeywordTask()))
    done = CliRunner().invoke(main, ["latency", str(run.path), "--rounds", "3"], catch_exceptions=False)
    assert done.exit_code == 0
    written = list(csv.DictReader((run.path / "latency.csv").read_text().splitlines()))
    assert {"float32", "int8 (dq)"} <= {line["weights"] for line in written if line["runtime"] == TORCH}
    assert all(float(line["latency_us"]) > 0 for line in written if not line["reason"])
    assert "one thread" in done.output
    none = CliRunner().invoke(main, ["latency", str(tmp_path / "no")])
    assert none.exit_code == 2
    assert "no run at" in none.output
