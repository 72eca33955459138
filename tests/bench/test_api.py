"""``import bench`` against the command line."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import bench
from bench.cli import main
from bench.commands.compare import compare as compare_command
from bench.commands.run import run as run_command
from bench.results.table import load_results

OPTIONS = {"keyword": "start", "epochs": 1, "versions": 1}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    out = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        bench.run(["base", "dq+kd:hidden=8"], data=tone_folder, out=out, **OPTIONS)
    return out


def test_it_takes_what_the_command_takes() -> None:
    """But for names of repeatable options; and nothing that the command does not know but the progress."""
    taken = inspect.signature(bench.run).parameters
    options = {option.name: option for option in run_command.params}
    renamed = {"chains": "chain"}
    assert {renamed.get(str(name), name) for name in options} == set(taken) - {"progress"}
    for name, option in options.items():
        default = taken[renamed.get(str(name), str(name))].default
        if option.multiple:
            assert default == ()
        elif option.default is not None and "Sentinel" not in repr(option.default):
            assert str(default) == str(option.default), name
    known = {"measures": "measure", "labels": "test", "limits": "", "form": ""}
    compared = {known.get(str(option.name), option.name) for option in compare_command.params} - {""}
    assert compared == set(inspect.signature(bench.compare).parameters)


def test_rows_are_those_of_the_command(out: Path, tone_folder: Path, tmp_path: Path) -> None:
    arguments = [
        "run",
        "--chain",
        "base",
        "--chain",
        "dq+kd:hidden=8",
        "--data",
        tone_folder,
        "--out",
        tmp_path,
    ]
    for name, value in OPTIONS.items():
        arguments += [f"--{name}", value]
    assert CliRunner().invoke(main, [*map(str, arguments)]).exit_code == 0
    theirs = load_results(tmp_path / "results.csv")
    ours = bench.run(["base", "dq+kd:hidden=8"], data=tone_folder, out=out, **OPTIONS)
    same = ["run_id", "label", "chain", "au_fa_fr", "au_fa_fr_low", "macs", "params", "size_kb", "keyword"]
    pd.testing.assert_frame_equal(ours[same], theirs[same])
    assert list(ours.columns) == list(theirs.columns)


def test_only_the_rows_that_were_asked_for(
    out: Path, tone_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = bench.run("dq", data=tone_folder, out=out, **OPTIONS)
    assert list(rows["label"]) == ["B", "DQ+B"]
    assert len(load_results(out / "results.csv")) == 4
    assert capsys.readouterr() == ("", "")
    bench.run("dq", data=tone_folder, out=out, progress=True, **OPTIONS)
    assert "was there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 0}, "epochs: 0 is not in the range x>=1"),
        ({"epochs": 1.5}, "epochs: '1.5' is no whole number"),
        ({"split": "mine"}, "split: 'mine' is not one of 'speaker', 'random'"),
        ({"device": "tpu"}, "device: 'tpu' is not one of"),
        ({"versions": 5000}, "versions: 5000 is not in the range"),
        ({"jobs": 0}, "jobs: 0 is not in the range"),
        ({"keyword": ["a", "b"], "words": "c,d"}, "give one of them"),
        ({"words": ["yes"]}, "one word and nothing to tell it from"),
        ({"chain": "zz"}, "zz"),
        ({"data": "/nowhere"}, "no data"),
        ({"plugin": ["/nowhere.py"]}, "nowhere.py"),
    ],
)
def test_wrong_input_is_said_and_nothing_is_made(tmp_path: Path, given: dict[str, object], said: str) -> None:
    with pytest.raises(bench.KwsError, match=said.replace("(", r"\(")):
        bench.run(**{"chain": "kd", "out": tmp_path / "out", **given})
    assert not (tmp_path / "out").exists()


def test_tables_and_labels_are_compared(out: Path, tmp_path: Path) -> None:
    table = out / "results.csv"
    changes = bench.compare(table, table, measure=["size_kb", "au_fa_fr"])
    assert set(changes["measure"]) == {"size_kb", "au_fa_fr"}
    assert (changes["difference"] == 0).all()
    assert set(changes["label"]) == set(load_results(table)["label"])
    (pair,) = bench.compare(table, test=["B", "KD(hidden=8)"]).to_dict("records")
    assert (pair["a"], pair["b"]) == ("B", "KD(hidden=8)")
    scores = load_results(table).set_index("label")["one_minus_auc"]
    assert pair["difference"] == pytest.approx(scores["KD(hidden=8)"] - scores["B"])
    for wrong in (
        lambda: bench.compare(table),
        lambda: bench.compare(table, table, test="all"),
        lambda: bench.compare(table, table, measure="beauty"),
        lambda: bench.compare(tmp_path / "none.csv", table),
    ):
        with pytest.raises(bench.KwsError):
            wrong()


def test_what_there_is() -> None:
    listed = bench.list()
    printed = CliRunner().invoke(main, ["list"]).output
    assert list(listed) == [line for line in printed.splitlines() if line in listed]
    assert len(listed) == 8
    for name in (name for names in listed.values() for name in names):
        assert f"\n  {name} " in printed


def test_importing_it_is_cheap_and_what_it_lacks_is_an_error() -> None:
    code = "import sys, bench; assert 'torch' not in sys.modules; bench.run; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="there is: Found, KwsError, Spotter, compare, list, load, run"):
        bench.train  # noqa: B018
    assert set(bench.__all__) <= set(dir(bench))
    assert np.all([callable(getattr(bench, name)) for name in bench.__all__])
