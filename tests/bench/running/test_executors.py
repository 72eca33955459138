import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import bench.running.executors as subject
from bench.config import Recipe, Repeats, RunConfig
from bench.results.records import RunRecord
from bench.results.table import load_results
from bench.running.executors import Job, Outcome, run_all
from bench.running.ui import Ui
from models.crnn import CrnnSpec
from models.errors import CorpusError, ResultsError
from models.registry import build
from models.task import KeywordTask

RECIPE = Recipe(versions=1, batch_size=64)


class Told(Ui):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, label: str, epochs: int, done: int, job: int = 0) -> None:
        self.lines.append(f"started {label}")

    def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
        self.lines.append(f"finished {record.label}")


def configs(folder: Path, *chains: str, keyword: str = "start") -> list[RunConfig]:
    return [
        RunConfig(chain=chain, data=str(folder), task=KeywordTask(keyword), recipe=RECIPE, epochs=1)
        for chain in chains
    ]


@pytest.mark.slow
def test_two_at_once_give_the_rows_of_one_after_the_other(tone_folder: Path, tmp_path: Path) -> None:
    work = configs(tone_folder, "dq", "kd", "dq+kd", "ad+kd")
    together, alone = Told(), Told()
    parallel = run_all(work, tmp_path / "two", together, jobs=2)
    one = run_all(work, tmp_path / "one", alone, jobs=1)
    assert parallel.failures == one.failures == []
    tables = [load_results(tmp_path / name / "results.csv").set_index("run_id") for name in ("one", "two")]
    assert set(tables[0].index) == set(tables[1].index) == set(parallel.records)
    for column in ("label", "params", "macs", "size_kb"):
        assert (tables[0][column] == tables[1][column].reindex(tables[0].index)).all()
    assert together.lines.count("started B") == 1, "the base is trained once"
    assert {f"finished {label}" for label in ("B", "DQ+B", "KD", "DQ+KD", "AD+KD")} <= set(together.lines)


@pytest.mark.slow
def test_workers_share_the_base_that_is_given(tone_folder: Path, tmp_path: Path) -> None:
    (base,) = run_all(configs(tone_folder, ""), tmp_path / "trained", Told()).records
    path = tmp_path / "trained" / "runs" / base / "weights.safetensors"
    given = [replace(each, base=str(path)) for each in configs(tone_folder, "kd", "qat")]
    work = list(Repeats(2).of(given))
    told = Told()
    two, one = run_all(work, tmp_path / "two", told, jobs=2), run_all(work, tmp_path / "one", Told())
    assert two.failures == one.failures == []
    assert set(two.records) == set(one.records)
    assert len(one.records) == 1 + 2 * 2
    assert "started B" not in told.lines


def test_a_base_s_file_is_read_once_however_many_runs_there_are(
    tone_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def with_base(config: RunConfig) -> RunConfig:
        read.append(config.task.text)
        return replace(config, base_hash=f"of {config.task.text}")

    monkeypatch.setattr(subject, "with_base", with_base)
    work = [*configs(tone_folder, "kd", "dq"), *configs(tone_folder, "kd", keyword="stop")]
    found = subject._with_bases([replace(each, base="my.pt") for each in work])
    assert read == ["keyword start", "keyword stop"]
    assert [each.base_hash for each in found] == ["of keyword start"] * 2 + ["of keyword stop"]
    assert [each.chain for each in found] == ["kd", "dq", "kd"]


def test_a_base_s_file_must_not_change_between_runs(tone_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "my.pt"

    class Changes(Ui):
        """Another base stands in the file once the first is measured."""

        def finished(self, record: RunRecord, reused: bool, job: int = 0) -> None:
            torch.save(build(CrnnSpec()).state_dict(), path)

    torch.save(build(CrnnSpec()).state_dict(), path)
    work = [replace(each, base=str(path)) for each in configs(tone_folder, "", "dq")]
    with pytest.raises(ResultsError, match="other weights than when this command began"):
        run_all(work, tmp_path / "out", Changes())


def test_a_chain_that_fails_does_not_stop_the_rest(
    tone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = subject.run_chain

    def sometimes(config: RunConfig, out: Path, ui: Ui, progress: bool) -> list[RunRecord]:
        if config.chain == "kd":
            raise RuntimeError("out of\nluck")
        return original(config, out, ui)

    monkeypatch.setattr(subject, "run_chain", sometimes)
    outcome = run_all(configs(tone_folder, "kd", "dq"), tmp_path, Told())
    assert outcome.failures == ["KD: RuntimeError: out of luck"]
    assert [record.label for record in outcome.records.values()] == ["B", "DQ+B"]


@pytest.mark.slow
def test_in_processes_too(tone_folder: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    example = Path(__file__).parents[3] / "examples" / "compressor_half.py"
    broken = (
        "def explode(self, model):\n    raise RuntimeError('no luck')\n\nHalfPrecision.convert = explode\n"
    )
    plugin.write_text(f"{example.read_text()}\n\n{broken}")
    command = [sys.executable, "-m", "bench", "run", "--plugin", str(plugin), "--data", str(tone_folder)]
    options = ["--keyword", "start", "--epochs", "1", "--jobs", "2", "--out", str(tmp_path / "out")]
    chains = ["--chain", "hf", "--chain", "dq", "--chain", "kd"]
    done = subprocess.run([*command, *options, *chains], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "failed: HF+B: RuntimeError: no luck" in done.stdout
    assert set(load_results(tmp_path / "out" / "results.csv")["label"]) == {"B", "DQ+B", "KD"}


@pytest.mark.slow
def test_killed_it_takes_its_workers_along_and_the_same_command_goes_on(
    tone_folder: Path, tmp_path: Path, gone: Callable[..., bool]
) -> None:
    command = [sys.executable, "-m", "bench", "run", "--chain", "base", "--data", str(tone_folder)]
    command += ["--keyword", "start", "--keyword", "left", "--versions", "1", "--epochs", "5000"]
    command += ["--jobs", "2", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as started:
        while len(list(tmp_path.glob("runs/*/checkpoint.pt"))) < 2:
            assert started.poll() is None
        started.kill()
        assert gone(started.pid, within_s=2)
    cache = Path(os.environ["KWS_BENCH_CACHE"])
    assert not [*tmp_path.rglob(".kws-bench-*"), *cache.rglob(".kws-bench-*")]
    for path in tmp_path.rglob("*.pt"):
        assert torch.load(path, weights_only=True), "whole"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as again:
        assert again.stdout is not None
        for _ in range(2):
            assert next(line for line in again.stdout if "B: goes on after epoch" in line)
        again.terminate()
        assert again.wait(timeout=60) == 130
        assert gone(again.pid, within_s=2)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_wrong_data_ends_all_at_once(jobs: int, tone_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="did you mean: start"):
        run_all(configs(tone_folder, "kd", "dq", keyword="strat"), tmp_path, Told(), jobs=jobs)


def test_jobs_are_handed_out_as_they_are_done_however_many_there_are() -> None:
    outcome = Outcome()

    def work() -> Iterator[Job]:
        for number in range(50):
            assert number - len(outcome.failures) <= 3, "two at work, and one that waits"
            yield Job((RunConfig(chain="kd", seed=number),), Path())

    class Pool:
        def submit(self, function: object, job: Job) -> Future[Outcome]:
            done: Future[Outcome] = Future()
            done.set_result(Outcome(failures=[str(job.configs[0].seed)]))
            return done

    subject._collect(Pool(), work(), 2, outcome)  # type: ignore[arg-type]
    assert sorted(map(int, outcome.failures)) == list(range(50))


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_chain_and_those_after_it(
    tone_folder: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "deadly.py"
    example = Path(__file__).parents[3] / "examples" / "compressor_half.py"
    deadly = "import os\ndef end(self, model):\n    os.kill(os.getpid(), 9)\n\nHalfPrecision.convert = end\n"
    plugin.write_text(f"{example.read_text()}\n\n{deadly}")
    command = [sys.executable, "-m", "bench", "run", "--plugin", str(plugin), "--data", str(tone_folder)]
    command += ["--keyword", "start", "--epochs", "1", "--jobs", "2", "--out", str(tmp_path / "out")]
    chains = ["--chain=hf", *(f"--chain=hf+kd:hidden={hidden}" for hidden in range(6, 10))]
    done = subprocess.run([*command, *chains], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("failed: ") == 5
    assert done.stdout.count("BrokenProcessPool") == 5
