import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save
from torch import Tensor

from bench.cli import main
from bench.config import RunConfig
from bench.results.table import load_results
from compressors.chain import Chain
from models.crnn import CrnnSpec
from models.registry import build

SMALL = ["--epochs", "1", "--keyword", "start"]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def finished(tone_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A whole run of the main job, on a small folder."""
    out = tmp_path_factory.mktemp("cli") / "out"
    os.environ["KWS_BENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    return out, call("run", "--chain", "dq+sp+ad+kd", "--data", tone_folder, "--out", out, *SMALL)


def test_the_main_job_leaves_table_figures_and_runs(finished: tuple[Path, Result]) -> None:
    out, result = finished
    assert result.exit_code == 0
    table = load_results(out / "results.csv")
    assert table["label"].tolist() == ["B", "SP+AD+KD", "DQ+SP+AD+KD"]
    assert sorted(p.name for p in (out / "runs").iterdir()) == sorted(table["run_id"])
    for kind in ("quantization", "distillation", "size_vs_epochs", "size_vs_macs"):
        for suffix in ("png", "svg"):
            assert (out / "figures" / f"{kind}.{suffix}").stat().st_size > 5000
    assert "left out" not in result.output
    assert "10.1x" in result.output
    assert "20.5x" in result.output
    assert "DQ+SP+AD+KD" in result.output


def test_the_table_fits_eighty_columns(finished: tuple[Path, Result]) -> None:
    lines = finished[1].output.splitlines()
    assert max(len(line) for line in lines if "KD" in line or "au_fa_fr" in line) <= 80
    assert not [line for line in lines if "…" in line]


HELP = "import sys; from bench.cli import main; sys.argv = ['bench', *{args}]; main(standalone_mode=False); "


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["data", "info", "--help"]])
def test_help_does_not_import_torch(args: list[str]) -> None:
    code = HELP.format(args=args) + "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: bench" in done.stdout


def test_list_shows_options_and_defaults() -> None:
    output = call("list").output
    assert "alpha=0.95" in output
    assert "keep=0.25" in output
    assert "kws-hw" in output
    assert "crnn" in output


def test_list_shows_one_section_alone() -> None:
    lines = call("list", "presets").output.splitlines()
    assert lines == ["presets", "  kws-hw  the ten rows of the reference study"]


def test_a_place_that_cannot_be_written_is_one_line(tone_folder: Path) -> None:
    result = call("run", "--chain", "dq", "--data", tone_folder, "--out", "/dev/null/x", *SMALL)
    assert result.exit_code == 2
    said = [line for line in result.stderr.splitlines() if "━" not in line]
    assert len(said) == 1
    assert "Not a directory: '/dev/null/x" in said[0]


def test_data_info_counts_clips(tone_folder: Path) -> None:
    result = call("data", "info", tone_folder)
    assert result.exit_code == 0
    all_line = next(line for line in result.output.splitlines() if line.split()[:1] == ["all"])
    assert all_line.split()[1:] == ["144", "0.04", "4", "12"]
    assert any(line.split() == ["start", "24", "6", "6"] for line in result.output.splitlines())


def test_data_commands_take_a_clip_length(tone_folder: Path) -> None:
    info = call("data", "info", tone_folder, "--clip-s", "0.5")
    assert info.exit_code == 0
    lines = [line.strip() for line in info.output.splitlines()]
    assert "clips of 0.5 s" in lines
    assert "recordings of 1.00 s (median) to 1.00 s" in lines
    assert any("half of the recordings last 1.00 s or more" in line for line in lines)
    assert any(line.endswith("--clip-s 1 takes more of them") for line in lines)
    all_line = next(line for line in lines if line.split()[:1] == ["all"])
    assert all_line.split()[1:3] == ["144", "0.02"]
    assert call("data", "leaks", tone_folder, "--clip-s", "1.5").exit_code == 0
    assert call("data", "info", tone_folder, "--clip-s", "5").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--chain", "kx"], "no compressor 'kx'"),
        (["--chain", "kd+dq"], "write dq+kd"),
        (["--chain", ""], "--chain '' is empty; write base for the base alone, or a chain such as kd"),
        (["--chain", "kd", "--chain", "  "], "--chain '  ' is empty; write base for the base alone"),
        (["--chain", "+"], "write dq+kd, or base for the base alone"),
        (["--chain", "kd+"], "write dq+kd, or base for the base alone"),
        (["--chain", ","], "no compressor ','; there is: ad, dq, fd, kd, lr, qat, sp, sq, and base"),
        (["--chain", "kd:temperature=1e300"], "kd: temperature=1e300 must be from 0.001 to 1000"),
        (["--chain", "kd:temperature=1e+3"], "write numbers without a plus, such as 1e3"),
        (["--chain", "kd:hidden=１２"], "kd: hidden=１２ must be a whole number such as 12"),
        (["--chain", "kd", "--chain", "kd:hiden=3"], "cannot read option"),
        (["--model", "rnn"], "no model named 'rnn'; there is: bc-resnet, crnn, ds-cnn, gru"),
        (["--recipe", "fast"], "no recipe named 'fast'; there is: default, kws-hw"),
        (["--keyword", "strat"], "no clips of the keyword 'strat'; did you mean: start"),
        (["--data", "/no/such/folder"], "no data '/no/such/folder': give a folder or one of"),
    ],
)
def test_bad_input_is_one_line_and_status_two(
    arguments: list[str], says: str, tone_folder: Path, tmp_path: Path
) -> None:
    keyword = [] if "--keyword" in arguments else ["--keyword", "start"]
    defaults = ["run", "--data", str(tone_folder), *keyword, "--out", str(tmp_path / "out")]
    result = call(*defaults, *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    lines = result.stderr.strip().splitlines()
    # A folder that is read for the first time shows its progress.
    assert [line for line in lines if not line.startswith(("reading", "decoding"))] == lines[-1:]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ("", "--chain '' is empty; write base for the base alone"),
        (" ", "--chain ' ' is empty; write base for the base alone"),
        ("+", "or base for the base alone"),
        ("kd+", "or base for the base alone"),
        (",", "and base, which stands alone"),
        ("base", "nothing to leave out of the base"),
    ],
)
def test_nothing_is_not_taken_apart(chain: str, says: str, tmp_path: Path) -> None:
    result = call("ablate", "--chain", chain, "--data", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def numeric_options() -> Iterator[tuple[str, click.Option]]:
    """Every option of every command that takes a number, by the command's name."""
    found = [(command.name or "", command) for command in main.commands.values()]
    for name, command in found:
        if isinstance(command, click.Group):
            found += [(f"{name} {inner.name}", inner) for inner in command.commands.values()]
        for option in command.params:
            if option.type.name.startswith(("integer", "float")):
                assert isinstance(option, click.Option)
                yield name, option


NUMERIC = list(numeric_options())


def test_options_that_take_numbers_are_found() -> None:
    names = {f"{command} {option.opts[0]}" for command, option in NUMERIC}
    assert {"run --seed", "operate --max-false-alarms", "stream --threshold", "mcu --clock-mhz"} <= names
    assert {"data leaks --pairs", "ablate --epochs", "stress --draws", "latency --rounds"} <= names


@pytest.mark.parametrize(
    ("command", "option"), NUMERIC, ids=[f"{command} {option.opts[0]}" for command, option in NUMERIC]
)
def test_only_plain_finite_numbers_are_read(command: str, option: click.Option) -> None:
    for text in ("nan", "inf", "-inf", "1e999", "１０", "1_0", " 1", "1\n", "", "9" * 400):
        with pytest.raises(click.BadParameter, match=r"is no (finite|whole) number") as refused:
            option.type.convert(text, option, None)
        assert "\n" not in refused.value.message
    assert isinstance(option.type, click.IntRange | click.FloatRange)
    in_range = int(option.type.min or 0) + 1
    assert option.type.convert(str(in_range), option, None) == in_range
    result = call(*command.split(), option.opts[0], "nan")
    assert result.exit_code == 2
    assert "'nan' is no " in result.stderr


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--epochs", "x"], ["--target-metric", "-1"]])
def test_numbers_out_of_range_are_status_two(arguments: list[str]) -> None:
    result = call("run", *arguments)
    assert result.exit_code == 2
    assert "Invalid value" in result.stderr


def test_augmentation_in_every_step_is_another_run(tone_folder: Path, tmp_path: Path) -> None:
    for versions in ("1", "0"):
        done = call(
            "run", "--chain", "base", "--data", tone_folder, "--out", tmp_path, "--versions", versions, *SMALL
        )
        assert done.exit_code == 0
        # Of the base alone there is nothing to compare.
        assert "quantization: no model is there both float and quantized\n" in done.output
    assert load_results(tmp_path / "results.csv")["run_id"].nunique() == 2


def test_the_cache_is_shown_and_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWS_BENCH_CACHE", str(tmp_path))
    for folder, size in (("features", 3 * 2**20), ("corpora/a-1", 2**20)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.npy").write_bytes(bytes(size))
    info = call("cache", "info").output.splitlines()
    assert info[0] == str(tmp_path)
    assert [line.split()[:4] for line in info[1:3]] == [
        ["corpora", "1", "entries", "1.0"],
        ["features", "1", "entries", "3.0"],
    ]
    assert call("cache", "clear", "features").output == "features: 3.0 MB freed\n"
    assert [path.name for path in tmp_path.rglob("*.npy")] == ["x.npy"]
    call("cache", "clear")
    assert not list(tmp_path.rglob("*.npy"))
    assert call("cache", "clear", "results").exit_code == 2


def test_what_only_draws_or_simulates_is_not_imported_to_run() -> None:
    """Each of these takes half a second or more, and a run that is there already takes two."""
    heavy = "('matplotlib', 'seaborn', 'scipy.stats')"
    code = f"import sys, bench.terminal.console; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_that_cannot_be_read_is_named(tone_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tones"
    shutil.copytree(tone_folder, folder)
    (folder / "left" / "s00_nohash_0.wav").write_bytes(b"no audio")
    result = call("run", "--chain", "dq", "--data", folder, "--out", tmp_path / "out", *SMALL)
    assert result.exit_code == 0
    assert "143 clips, 4 words, 12 speakers, 1 files skipped" in result.output
    assert "skipped left/s00_nohash_0.wav" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_goes_on_from_the_last_epoch(
    ended_by: signal.Signals, tone_folder: Path, tmp_path: Path, hears_ctrl_c: Callable[[], None]
) -> None:
    command = [sys.executable, "-m", "bench", "run", "--chain", "kd", "--data", str(tone_folder)]
    command += ["--keyword", "start", "--epochs", "60", "--out", str(tmp_path)]
    started = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=hears_ctrl_c
    )
    while not list(tmp_path.rglob("checkpoint.pt")):
        assert started.poll() is None
    started.send_signal(ended_by)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130
    last = errors.strip().splitlines()[-1]
    assert last == "stopped; what is finished stays, and the same command goes on from there"
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "goes on after epoch" in again.stdout
    assert load_results(tmp_path / "results.csv")["label"].tolist() == ["B", "KD"]


@pytest.mark.slow
def test_ended_from_outside_it_leaves_no_process_behind(
    tone_folder: Path, tmp_path: Path, gone: Callable[..., bool]
) -> None:
    command = [
        sys.executable,
        "-m",
        "bench",
        "run",
        "--chain",
        "kd",
        "--data",
        str(tone_folder),
        "--jobs",
        "2",
    ]
    command += ["--keyword", "start", "--keyword", "left", "--epochs", "200", "--out", str(tmp_path)]
    started = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    while not list(tmp_path.rglob("checkpoint.pt")):
        assert started.poll() is None
    started.terminate()
    assert started.wait(timeout=60) == 130
    assert gone(started.pid, within_s=2)
    assert not list(tmp_path.rglob(".kws-bench-*"))


def test_data_and_chains_are_checked_once_however_many_repeats(
    tone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bench.terminal.console as console

    checked: list[str] = []
    original = console.check

    def counted(config: RunConfig) -> Chain:
        checked.append(config.chain)
        return original(config)

    monkeypatch.setattr(console, "check", counted)
    many = ["run", "--chain", "kd", "--chain", "dq+kd", "--repeats", "10000", "--out", tmp_path / "out"]
    result = call(*many, "--keyword", "start", "--keyword", "strat", "--data", tone_folder)
    assert result.exit_code == 2
    assert "no clips of the keyword 'strat'; did you mean: start" in result.stderr
    assert checked == ["kd", "dq+kd"]
    assert not (tmp_path / "out").exists()
    for jobs in ("1", "2"):
        result = call(*many, "--data", tmp_path / "none", "--jobs", jobs)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_a_run_says_where_everything_is_and_git_does_not_see_it(
    tone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("run", "--chain", "base", "--data", tone_folder, *SMALL)
    assert result.output.splitlines()[-1] == (
        "out/results.csv, out/summary.csv, figures in out/figures, models in out/runs"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
    assert "/out/" in ignored


def altered(state: dict[str, Tensor], **tensors: Tensor | None) -> dict[str, Tensor]:
    changed = state | {name.replace("__", "."): value for name, value in tensors.items()}
    return {name: tensor for name, tensor in changed.items() if tensor is not None}


BAD_BASES: dict[str, tuple[Callable[[dict[str, Tensor]], bytes | None], str]] = {
    "nothing there": (lambda _: None, "no file "),
    "empty": (lambda _: b"", "cannot be read as weights"),
    "cut": (lambda state: save(state)[:-10], "cannot be read as weights"),
    "audio": (lambda _: b"RIFF" + bytes(100), "cannot be read as weights"),
    "another shape": (
        lambda state: save(altered(state, classifier__bias=torch.zeros(12))),
        "classifier.bias is 12, expected 2",
    ),
    "lacking": (lambda state: save(altered(state, classifier__bias=None)), "no classifier.bias, expected 2"),
    "beyond": (lambda state: save(altered(state, other=torch.zeros(3))), "unexpected other, 3"),
    "not finite": (
        lambda state: save(altered(state, classifier__bias=torch.tensor([0, float("nan")]))),
        "classifier.bias holds what is no finite number",
    ),
}


@pytest.mark.parametrize(("make", "said"), BAD_BASES.values(), ids=BAD_BASES)
def test_a_base_that_is_none_stops_a_run_before_anything_is_made(
    make: Callable[[dict[str, Tensor]], bytes | None], said: str, tone_folder: Path, tmp_path: Path
) -> None:
    content = make(build(CrnnSpec()).state_dict())
    path, out = tmp_path / "my.safetensors", tmp_path / "out"
    if content is not None:
        path.write_bytes(content)
    result = call("run", "--chain", "kd", "--base", path, "--data", tone_folder, "--out", out, *SMALL)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert str(path) in result.stderr
    assert said in result.stderr
    assert not out.exists()


def test_a_run_of_a_base_of_one_s_own_says_so(finished: tuple[Path, Result], tone_folder: Path) -> None:
    out = finished[0]
    (base,) = (out / "runs").glob("base-*")
    given = out.parent / "given"
    arguments = ("--base", base, "--data", tone_folder, "--out", given, *SMALL)
    refused = call("run", "--chain", "kd", *arguments)
    assert (refused.exit_code, refused.stderr.startswith(f"bench: no file {base}")) == (2, True)
    result = call("run", "--chain", "kd", "--base", base / "weights.safetensors", *arguments[2:])
    assert result.exit_code == 0
    assert " KB (no epoch of training)" in result.output
    assert "the base was given" in result.output
    table = load_results(given / "results.csv")
    assert table["label"].tolist() == ["B", "KD"]
    assert table["epochs"].tolist() == [0, 1]
    for kind in ("distillation", "size_vs_epochs", "size_vs_macs"):
        assert (given / "figures" / f"{kind}.png").stat().st_size > 5000
