"""What bench import says: counted by torch and hashlib; the command line that it gives is run."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from bench.cli import main
from bench.config import Recipe, RunConfig
from bench.reading import tensors_hash
from bench.results.table import load_results
from bench.running.pipeline import run_chain
from bench.threads import threads
from models.registry import base_spec, build
from models.task import KeywordTask, WordsTask

TASK = KeywordTask("start")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def shown(*arguments: str | Path) -> list[str]:
    result = call("import", *arguments)
    assert result.exit_code == 0, result.output
    return [line.strip() for line in result.output.splitlines()]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tone_folder: Path) -> Path:
    """A base, a student and its integers, and the student of the base as it is given."""
    folder = tmp_path_factory.mktemp("out")
    recipe = Recipe(versions=1, batch_size=64)
    config = RunConfig("sq+kd:hidden=4", data=str(tone_folder), task=TASK, recipe=recipe, epochs=1)
    with pytest.MonkeyPatch.context() as patch, threads(1):
        patch.setenv("KWS_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        base = run_chain(config, folder)[0]
        path = folder / "runs" / base.run_id / "weights.safetensors"
        run_chain(replace(config, chain="", base=str(path)), folder / "given")
    return folder


def run_of(out: Path, kind: str) -> Path:
    (made,) = (out / "runs").glob(f"{kind}-*")
    return made


def test_a_run_says_what_it_is(out: Path) -> None:
    run = run_of(out, "kd")
    state = load_file(run / "weights.safetensors")
    lines = shown(run)
    assert lines[0] == f"{run}: run"
    label = "KD(hidden=4)"
    assert lines[1] == f"model crnn, chain kd:hidden=4, {label}, seed 0, base trained, 1 epochs, ok"
    assert lines[2:4] == [
        "task: keyword start; classes _other_, start",
        "clips of 1 s, 40 mels, 25 ms every 10 ms",
    ]
    count = sum(tensor.numel() for tensor in state.values())
    size = (run / "weights.safetensors").stat().st_size
    assert lines[4] == f"weights.safetensors, {size:,} bytes: {count:,} parameters"
    found = {line.split()[0]: line.split()[1:] for line in lines[5 : 5 + len(state)]}
    assert found == {name: ["x".join(map(str, tensor.shape)), "float32"] for name, tensor in state.items()}
    assert lines[-1] == f"sha256 of its content: {tensors_hash(state)}"


def test_a_run_says_that_its_base_was_given_or_that_it_did_not_end(out: Path, tmp_path: Path) -> None:
    given = run_of(out / "given", "base")
    name = tensors_hash(load_file(given / "weights.safetensors"))[:16]
    assert shown(given)[1] == f"model crnn, chain base, B, seed 0, base given ({name}), 0 epochs, ok"
    for file in ("config.json", "weights.safetensors"):
        (tmp_path / file).write_bytes((given / file).read_bytes())
    assert shown(tmp_path)[1] == "model crnn, chain base, not finished"


def test_an_integer_model_says_what_it_is_alone_and_in_its_run(out: Path) -> None:
    run = run_of(out, "sq+kd")
    kws = run / "model.kws"
    alone, inside = shown(kws), shown(run)
    size = f"{kws.stat().st_size:,} bytes"
    assert alone[:3] == [
        f"{kws}: integer model, {size}",
        "task: keyword start; classes _other_, start",
        "clips of 1 s, 40 mels, 25 ms every 10 ms",
    ]
    assert alone[-1] == f"sha256 of the file: {hashlib.sha256(kws.read_bytes()).hexdigest()}"
    assert inside[inside.index(f"model.kws, {size}") + 1 :] == alone[3:]
    # Four channels of 15x5; two GRU layers of six matrices, the first on 13 bands; the attention; classes.
    # Two gates of each GRU layer add up their biases.
    floats = sum(tensor.numel() for tensor in load_file(run / "weights.safetensors").values())
    assert alone[3] == f"8 operations, activations of 8 bits, {floats - 2 * 2 * 4:,} parameters"
    shapes = [line.split()[-2] for line in alone[4:-1]]
    assert shapes == ["4x75", *["4x52"] * 3, *["4x4"] * 3, *["4x4"] * 6, "4x4", "1x4", "2x4"]
    assert {line.split()[-1] for line in alone[4:-1]} == {"int8"}


def test_weights_say_what_they_fit_and_the_line_works(out: Path, tone_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "my weights.safetensors"
    path.write_bytes((run_of(out, "base") / "weights.safetensors").read_bytes())
    state = load_file(path)
    lines = shown(path, "--keyword", "start")
    count = sum(tensor.numel() for tensor in state.values())
    assert lines[-4] == f"{len(state)} tensors of {count:,} numbers"
    assert lines[-3] == f"sha256 of its content: {tensors_hash(state)}"
    name = tensors_hash(state)[:16]
    heard = "keyword start, clips of 1 s, 40 mels, 25 ms every 10 ms"
    assert lines[-2] == f"fits crnn on {heard}, as the base {name}"
    words = shlex.split(lines[-1])
    assert words[0] == "bench"
    made = tmp_path / "out"
    result = call(*words[1:], "--data", tone_folder, "--epochs", "1", "--versions", "1", "--out", made)
    assert result.exit_code == 0, result.output
    table = load_results(made / "results.csv")
    assert table["base"].tolist() == [name, name]
    assert table["label"].tolist() == ["B", "KD"]


def test_the_line_asks_for_the_same_task(tmp_path: Path) -> None:
    task = WordsTask(("yes", "no"), with_unknown=True, clip_s=1.5)
    path = tmp_path / "my.pt"
    torch.save({"net": build(base_spec("bc-resnet", task)).state_dict()}, path)
    lines = shown("--words", "yes,no", "--unknown", "--clip-s", "1.5", path)
    assert lines[1] == "under net:"
    assert lines[-1] == (
        f"bench run --model bc-resnet --words yes,no --unknown --clip-s 1.5 --base {path} --chain kd"
    )
    assert [line for line in lines if line.split()[1:] == ["one", "int64"]]


def test_weights_that_fit_nothing_say_what_is_closest(out: Path) -> None:
    lines = shown(run_of(out, "kd") / "weights.safetensors", "--keyword", "start")
    assert lines[-2].startswith("fits no model on keyword start, clips of 1 s")
    assert lines[-1].startswith("closest is crnn: conv.weight is 4x1x15x5, expected 8x1x5x20; ")
    assert lines[-1].endswith("more")


def test_two_sets_that_fit_are_no_base(tmp_path: Path) -> None:
    state = build(base_spec("gru", TASK)).state_dict()
    torch.save({"model": state, "ema": state}, tmp_path / "my.pt")
    lines = shown(tmp_path / "my.pt")
    assert lines.count("and so does another set in it; bench run takes a file with one") == 2
    assert not [line for line in lines if line.startswith("bench run")]


def test_names_that_a_terminal_would_obey_are_quoted(tmp_path: Path) -> None:
    save_file({"\x07red": torch.zeros(2)}, tmp_path / "my.safetensors")
    lines = shown(tmp_path / "my.safetensors")
    assert all(map(str.isprintable, lines))
    assert lines[1].split()[1:] == ["2", "float32"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nothing", None, "nothing at "),
        ("folder", None, "holds no complete run: config.json is missing"),
        ("my.safetensors", b"[" * 1000, "cannot be read as weights"),
        ("my.pt", b"PK\x03\x04", "cannot be read as weights"),
        ("talk.wav", b"RIFF" + bytes(100), "cannot be read as weights"),
        ("model.kws", b"nothing", "is no .kws file"),
        ("other.kws", b"KWS\x1a" + bytes(40), "is of version 0"),
    ],
)
def test_anything_else_is_one_line(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    if name == "folder":
        path.mkdir()
    result = call("import", path)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert str(path) in result.stderr
    assert said in result.stderr
