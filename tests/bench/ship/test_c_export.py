"""Exported C code against the integer model in NumPy, on this machine's compiler."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from bench.features import log_mel, to_float
from bench.ship.c_export import SOURCES, weights, write_c
from bench.ship.c_host import FLAGS, CompilerError, HostModel, compile_host, find_compiler, sizes_in
from bench.ship.mcu import stream_logits
from compressors.quantization.quantize import integer_spec, quantize
from models.crnn import CrnnSpec
from models.errors import KwsError
from models.integer import IntegerModel
from models.integer import file as kws_file
from models.registry import build

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
STUDENT = CrnnSpec(channels=2, hidden=10)


def model_of(spec: CrnnSpec, bits: int | None = 8, activations: int = 8, louder: float = 4.0) -> IntegerModel:
    """Random weights, loud enough to saturate now and then; without ``bits`` of all widths from 2 to 8."""
    torch.manual_seed(0)
    values = {name: tensor.numpy() * louder for name, tensor in build(spec).state_dict().items()}
    names = integer_spec(spec).shapes()
    widths = {name: bits or 2 + at % 7 for at, name in enumerate(names)}
    return quantize(
        values, spec, widths=widths, conv_step=8 / 2 ** (activations - 2), activations=activations
    )


def clips(count: int, frames: int = 101) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.normal(-5, 4, (count, 40, frames)) + rng.normal(0, 4, (count, 1, 1))).astype(np.float32)


def streamed(host: HostModel, clip: np.ndarray, cuts: list[int]) -> np.ndarray:
    stream = host.init_state()
    return np.concatenate([host.step(part, stream) for part in np.split(clip, cuts, axis=1)])


@needs_compiler
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model_of(STUDENT), id="student"),
        pytest.param(model_of(STUDENT, bits=4), id="two weights a byte"),
        pytest.param(
            model_of(CrnnSpec(channels=3, kernel=(7, 5), hidden=7, attention=5), bits=None), id="odd, mixed"
        ),
        pytest.param(model_of(STUDENT, activations=16), id="16 bits"),
        pytest.param(
            model_of(CrnnSpec(channels=1, stride=(3, 4), hidden=5, layers=3), 4, 16), id="three layers"
        ),
        pytest.param(
            model_of(CrnnSpec(channels=2, kernel=(3, 4), stride=(5, 9), hidden=6, layers=1), bits=None),
            id="frames between windows",
        ),
    ],
)
def test_clips_and_streams_equal_numpy_bit_for_bit(model: IntegerModel, tmp_path: Path) -> None:
    host = compile_host(model, tmp_path)
    short, (long,) = clips(12), clips(1, 450)
    np.testing.assert_array_equal(host.quantize(short[0]).T, model.quantize_input(short[0]))
    whole = np.stack([host.clip(clip) for clip in short])
    expected, _ = model.clip(short)
    if model.spec.stride[1] == 8:  # otherwise there are more windows than the buffer holds
        np.testing.assert_array_equal(whole, expected)
    assert len(np.unique(whole[:, 0])) > 6
    # Longer than the buffer: attention forgets, and the ring of frames goes round.
    np.testing.assert_array_equal(streamed(host, long, [3, 3, 50, 51, 199]), stream_logits(model, long))
    np.testing.assert_array_equal(host.clip(long), stream_logits(model, long)[-1])


@needs_compiler
def test_a_multiplier_that_needs_all_bits_makes_all_wide(tmp_path: Path) -> None:
    model = model_of(STUDENT)
    classifier = model.tensors["classifier"]
    large = classifier._replace(scale=np.full(2, 60000, np.float16))
    model = replace(model, tensors={**model.tensors, "classifier": large})
    assert "ALL_WIDE 1" in weights(model)
    host = compile_host(model, tmp_path)
    expected, _ = model.clip(clips(4))
    np.testing.assert_array_equal(np.stack([host.clip(clip) for clip in clips(4)]), expected)


@needs_compiler
def test_input_is_rounded_to_the_nearest_ties_to_even_and_limited(tmp_path: Path) -> None:
    host = compile_host(model_of(STUDENT), tmp_path)
    values = np.zeros((40, 1), np.float32)
    values[:8, 0] = [0.0625, 0.1875, -0.0625, -0.1875, 0.07, 1e30, -np.inf, -5.0]
    expected = [40, 42, 40, 38, 41, 127, -128, 0]
    assert host.quantize(values)[0, :8].tolist() == expected


@needs_compiler
def test_a_shorter_buffer_and_a_short_clip(tmp_path: Path) -> None:
    model = model_of(STUDENT)
    host = compile_host(model, tmp_path, max_buffer_len=3)
    (long,) = clips(1, 300)
    np.testing.assert_array_equal(streamed(host, long, []), stream_logits(model, long, 3))
    with pytest.raises(ValueError, match="shorter than a window"):
        host.clip(long[:, :19])
    assert host.step(long[:, :19], host.init_state()).shape == (0, 2)


@needs_compiler
def test_streams_share_weights_and_nothing_else(tmp_path: Path) -> None:
    model = model_of(STUDENT)
    host = compile_host(model, tmp_path)
    one, two = clips(2)
    streams = host.init_state(), host.init_state()
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for at in range(101):
        for clip, stream, logits in zip((one, two), streams, found, strict=True):
            logits.append(host.step(clip[:, at : at + 1], stream))
    np.testing.assert_array_equal(np.concatenate(found[0]), stream_logits(model, one))
    np.testing.assert_array_equal(np.concatenate(found[1]), stream_logits(model, two))


def test_a_folder_holds_all_sources_with_nothing_left_open(tmp_path: Path) -> None:
    model = model_of(CrnnSpec(channels=3, kernel=(7, 5), stride=(3, 8), hidden=7, attention=5, layers=1))
    paths = write_c(model, tmp_path / "new", "a run */ of mine")
    assert [path.name for path in paths] == list(SOURCES)
    assert not [path for path in paths if "/*{" in path.read_text()]
    assert sizes_in(tmp_path / "new" / "kws_model.h") == model.spec
    # By hand: 3 conv rows, 7 units of six rows, 5 of attention, its energy, 2 classes.
    count = 3 + 7 * 6 + 5 + 1 + 2
    assert f"kws_shift[{count}]" in (tmp_path / "new" / "kws_model.c").read_text()
    # Rows r and z of the recurrence have no bias.
    assert f"kws_bias[{count - 2 * 7}]" in (tmp_path / "new" / "kws_model.c").read_text()


@needs_compiler
def test_a_kws_file_and_an_exported_folder_compile_too(tmp_path: Path) -> None:
    model = model_of(STUDENT, bits=4)
    kws_file.save(model, tmp_path / "model.kws")
    write_c(model, tmp_path / "exported")
    expected = model.clip(clips(1))[0][0]
    for at, artifact in enumerate((tmp_path / "model.kws", tmp_path / "exported")):
        host = compile_host(artifact, tmp_path / f"host{at}")
        np.testing.assert_array_equal(host.clip(clips(1)[0]), expected)


@needs_compiler
def test_a_folder_can_be_compiled_into_again(tmp_path: Path) -> None:
    """A library that is loaded already is not loaded again under the same name."""
    found = []
    for model in (model_of(STUDENT), model_of(STUDENT, bits=4)):
        logits = compile_host(model, tmp_path).clip(clips(1)[0])
        np.testing.assert_array_equal(logits, model.clip(clips(1))[0][0])
        found.append(logits.tolist())
    assert found[0] != found[1]


def test_what_the_compiler_refuses_is_one_line(tmp_path: Path) -> None:
    if find_compiler() is None:
        pytest.skip("no C compiler")
    with pytest.raises(CompilerError, match=r"refuses the exported code: .*error") as caught:
        compile_host(model_of(STUDENT), tmp_path, max_buffer_len=300)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, KwsError)


@needs_compiler
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="no ziglang")
def test_another_compiler_gives_the_same(tmp_path: Path) -> None:
    model = model_of(STUDENT)
    host = compile_host(model, tmp_path, compiler=[sys.executable, "-m", "ziglang", "cc"])
    expected, _ = model.clip(clips(5))
    np.testing.assert_array_equal(np.stack([host.clip(clip) for clip in clips(5)]), expected)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
def test_the_whole_validation_split_is_equal_bit_for_bit(bits: int, arabic: Path, tmp_path: Path) -> None:
    """2,400 recordings, clip by clip: logits as integers."""
    model = model_of(STUDENT, bits=bits, louder=2)
    host = compile_host(model, tmp_path)
    names = (arabic / "validation_list.txt").read_text().split()
    waves = np.stack([sf.read(arabic / name, dtype="int16", frames=16000, fill_value=0)[0] for name in names])
    for start in range(0, len(waves), 400):
        features = log_mel(to_float(waves[start : start + 400])).numpy()
        expected, _ = model.clip(features)
        np.testing.assert_array_equal(np.stack([host.clip(clip) for clip in features]), expected)


PRELUDE = """#include "kws_frontend.h"
#include "kws_model.h"
#define THRESHOLD 143999
void on_keyword(void);
void on_samples(const int16_t *samples, size_t count);
"""


def compiled(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [*(find_compiler() or []), *FLAGS, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@needs_compiler
def test_the_example_says_what_the_model_does(tmp_path: Path) -> None:
    model = model_of(STUDENT, louder=2)
    write_c(model, tmp_path)
    compiled(tmp_path, "kws_model.c", "kws_frontend.c", "example_main.c", "-o", "spotter")
    samples = np.random.default_rng(0).normal(0, 900, 24000).astype(np.int16)
    said = subprocess.run(
        [tmp_path / "spotter"], input=samples.tobytes(), capture_output=True, check=True
    ).stdout
    host = compile_host(tmp_path, tmp_path / "host")
    logits = stream_logits(model, host.log_mel(samples))
    scores = [int(line.split()[2]) for line in said.decode().splitlines()]
    assert scores == (logits[:, 1] - logits[:, 0]).tolist()
    assert [line.split()[0] for line in said.decode().splitlines()[:2]] == ["0.20", "0.28"]


@needs_compiler
def test_the_loop_in_the_documentation_compiles(tmp_path: Path) -> None:
    write_c(model_of(STUDENT), tmp_path)
    page = Path(__file__).parents[3] / "docs" / "shipping.md"
    (tmp_path / "loop.c").write_text(PRELUDE + page.read_text().split("```c\n")[1].split("```")[0])
    compiled(tmp_path, "-c", "loop.c")
