"""Exported C code against the integer model in NumPy and its stream, on this machine's compiler."""

import importlib.util
import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from bench.features import log_mel, to_float
from bench.files import write_atomically
from bench.ship.c_export import SOURCES, sizes, texts, write_c
from bench.ship.c_host import FLAGS, CompilerError, HostModel, Sizes, compile_host, find_compiler, sizes_in
from bench.ship.mcu import stream_logits
from models.errors import KwsError, ModelError
from models.integer.file import load, to_bytes
from models.integer.model import IntegerModel
from models.integer.ops import (
    Act,
    Attend,
    Concat,
    Conv,
    Gives,
    Gru,
    Input,
    Last,
    MeanTime,
    Pick,
    Pool,
    Program,
    buffer_frames,
)
from models.integer.run import clip as clip_logits
from tests.programs import ATTENTION, CAUSAL, PROGRAMS, RESIDUAL, filled
from tests.random_programs import random_program

FROZEN = Path(__file__).parents[2] / "frozen"
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
LOGITS = Conv(inputs=(0,), rows=1, channels=2, gives=Gives.LOGITS)


def logits_of(*ops: object) -> Program:
    """Those operations, and logits of the last."""
    return (Input(mels=40), *ops, replace(LOGITS, inputs=(len(ops),)))  # type: ignore[arg-type]


# What gathers comes at different times: its values wait for each other in a stream, and not at a clip's end.
APART = logits_of(
    Conv(inputs=(0,), rows=1, channels=4, kernel_time=3, before=1, after=1, act=Act.RELU),
    Conv(inputs=(1,), channels=3, kernel_time=9, before=2, after=6),
    Last(inputs=(1,)),
    MeanTime(inputs=(2,)),
    Conv(inputs=(1,), channels=1, gives=Gives.ENERGY),
    Attend(inputs=(5, 2)),
    Concat(inputs=(3, 4, 6), act=Act.SILU),
)
# Every frame has logits, and the last ones count; the input's last frame is not asked.
EACH: Program = (
    Input(mels=40),
    Conv(inputs=(0,), rows=1, channels=3, kernel_time=2, stride_time=5),
    Conv(inputs=(1,), channels=3, gives=Gives.LOGITS),
    Pick(inputs=(2,), order=(2, 0)),
    Last(inputs=(3,)),
)
# The input itself is gathered; rows of padding around what no longer moves; numbers of 16 bits in windows.
WHOLE = logits_of(
    Last(inputs=(0,)),
    MeanTime(inputs=(0,)),
    Concat(inputs=(1, 2)),
    Conv(inputs=(3,), rows=80, channels=2, kernel_mel=5, stride_mel=3, above=2, below=1, dilation_mel=2),
)
ENERGIES = logits_of(
    Conv(inputs=(0,), rows=1, channels=3, gives=Gives.ENERGY),
    Pool(inputs=(1,), kernel_time=3, before=2, largest=True),
    Conv(inputs=(2,), channels=2, kernel_time=4, dilation_time=3, before=4, after=5, gives=Gives.ENERGY),
    Conv(inputs=(2,), channels=1, gives=Gives.ENERGY),
    Attend(inputs=(4, 3)),
)
OTHERS = {"apart": APART, "each": EACH, "whole": WHOLE, "energies": ENERGIES}


def speech(count: int, frames: int = 101, seed: int = 1) -> np.ndarray:
    """Log-mel whose level differs by band, frame and clip, with the loudest and the faintest there are."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 3, (count, 40, 1)) + rng.normal(0, 3, (count, 1, frames))
    found = rng.normal(-5, 3, (count, 40, frames)) + level + rng.normal(0, 2, (count, 1, 1))
    found[..., :2], found[..., 5, -1], found[..., 7, -2] = 1e30, -np.inf, 25.0
    found[..., 40:43] = np.log(1e-9)
    return found.astype(np.float32)


def streamed(host: HostModel, clip: np.ndarray, cuts: list[int]) -> np.ndarray:
    stream = host.init_state()
    return np.concatenate([host.step(part, stream) for part in np.split(clip, cuts, axis=1)])


def expected_stream(model: IntegerModel, log_mel: np.ndarray, kept: int | None = None) -> np.ndarray:
    found = stream_logits(model, log_mel, kept)
    # More than that the stream's single-precision numbers do not hold.
    assert np.abs(found).max(initial=0) < 2**24
    return found


def check_clips_and_streams(model: IntegerModel, folder: Path, seed: int = 0, kept: int = 5) -> None:
    """Both with the code's own buffer and a short one; cuts are drawn."""
    cuts = sorted(np.random.default_rng(seed).integers(0, 330, 9).tolist())
    clips, (long,) = speech(4, seed=seed), speech(1, 330, seed + 1)
    host, short = (
        compile_host(model, folder / "own"),
        compile_host(model, folder / "short", max_buffer_len=kept),
    )
    np.testing.assert_array_equal(host.quantize(clips[0]).T, model.quantize_input(clips[0]))
    np.testing.assert_array_equal(np.stack([host.clip(one) for one in clips]), clip_logits(model, clips)[0])
    np.testing.assert_array_equal(streamed(host, long, cuts), expected_stream(model, long))
    np.testing.assert_array_equal(streamed(short, long, cuts), expected_stream(model, long, kept))


QUICK = {("attention", 8, 4), ("causal", 16, 8), ("split", 8, 8)}
CASES = [
    pytest.param(name, *widths, marks=() if (name, *widths) in QUICK else pytest.mark.slow)
    for name in {**PROGRAMS, **OTHERS}
    for widths in itertools.product((8, 16), (8, 4))
]


@needs_compiler
@pytest.mark.parametrize(("name", "activations", "bits"), CASES)
def test_clips_and_streams_equal_numpy_bit_for_bit(
    name: str, activations: int, bits: int, tmp_path: Path
) -> None:
    model = filled({**PROGRAMS, **OTHERS}[name], activations, bits)
    found = clip_logits(model, speech(12))[0]
    assert len(np.unique(found[:, 0])) > 6
    check_clips_and_streams(model, tmp_path)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_programs_drawn_at_random(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    model = filled(random_program(seed), int(rng.choice([8, 16])), int(rng.choice([2, 4, 8])), seed)
    check_clips_and_streams(model, tmp_path, seed, kept=int(rng.choice([1, 2, 7, 300])))


@needs_compiler
def test_the_frozen_student(tmp_path: Path) -> None:
    for path in sorted(FROZEN.glob("*.kws")):
        check_clips_and_streams(load(path), tmp_path / path.stem)


@needs_compiler
def test_matrices_of_different_widths_and_numbers_of_all_lengths(tmp_path: Path) -> None:
    model, widths, tensors = filled(ATTENTION), itertools.cycle((2, 8, 4, 5, 3)), []
    for own in model.tensors:
        tensors.append(
            tuple(tensor._replace(bits=next(widths), weight=tensor.weight // 64) for tensor in own)
        )
    # Biases of 40,000 units, which is more than 16 bits hold.
    scale, (last,) = np.full(2, 2.0**-6, np.float16), tensors[-1]
    bias = np.array([40000, -40000]) * 2.0 ** -(6 + 15)
    tensors[-1] = (last._replace(scale=scale, bias=bias.astype(np.float16)),)
    model = replace(model, tensors=tuple(tensors))
    lines = texts(model)["program"].splitlines()
    kinds = [
        int(line.split("{.kind = ")[1].split(",")[0]) for line in lines if "static const conv_op" in line
    ]
    # Two weights a byte or one; biases of 16 and 32 bits; multipliers of 11, 27 and 31 bits.
    assert {kind & 1 for kind in kinds} == {0, 1}
    assert {kind & 6 for kind in kinds} == {2, 4}
    assert {kind & 24 for kind in kinds} == {8, 16}
    assert any(".ih = " in line and not int(line.split(".ih = ")[1].split(",")[0]) & 24 for line in lines)
    check_clips_and_streams(model, tmp_path)


@needs_compiler
def test_input_is_rounded_to_the_nearest_ties_to_even_and_limited(tmp_path: Path) -> None:
    host = compile_host(filled(ATTENTION), tmp_path)
    values = np.zeros((40, 1), np.float32)
    values[:8, 0] = [0.0625, 0.1875, -0.0625, -0.1875, 0.07, 1e30, -np.inf, -5.0]
    expected = [40, 42, 40, 38, 41, 127, -128, 0]
    assert host.quantize(values)[0, :8].tolist() == expected


@needs_compiler
def test_buffers_of_one_frame_and_of_more_than_a_byte_counts(tmp_path: Path) -> None:
    model, (long,) = filled(CAUSAL), speech(1, 700)
    for kept in (1, 300, 600):
        host = compile_host(model, tmp_path, max_buffer_len=kept)
        np.testing.assert_array_equal(streamed(host, long, []), expected_stream(model, long, kept))


@needs_compiler
def test_a_clip_that_is_too_short_has_no_decision(tmp_path: Path) -> None:
    host = compile_host(filled(ATTENTION), tmp_path)
    (long,) = speech(1, 300)
    with pytest.raises(ValueError, match="too short for a decision"):
        host.clip(long[:, :19])
    assert host.clip(long[:, :20]).shape == (2,)
    assert host.step(long[:, :19], host.init_state()).shape == (0, 2)


@needs_compiler
@pytest.mark.parametrize("program", [ATTENTION, RESIDUAL], ids=["attention", "residual"])
def test_the_shortest_clips_equal_numpy(program: Program, tmp_path: Path) -> None:
    model = filled(program)
    host = compile_host(model, tmp_path)
    for frames in range(model.least_frames, model.least_frames + 12):
        (short,) = speech(1, frames + 50)[..., 44 : 44 + frames]
        np.testing.assert_array_equal(host.clip(short), clip_logits(model, short[None])[0][0])


@needs_compiler
def test_streams_share_weights_and_nothing_else(tmp_path: Path) -> None:
    model = filled(RESIDUAL)
    host = compile_host(model, tmp_path)
    one, two = speech(2)
    streams = host.init_state(), host.init_state()
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for at in range(101):
        for clip, stream, logits in zip((one, two), streams, found, strict=True):
            logits.append(host.step(clip[:, at : at + 1], stream))
    np.testing.assert_array_equal(np.concatenate(found[0]), expected_stream(model, one))
    np.testing.assert_array_equal(np.concatenate(found[1]), expected_stream(model, two))


def test_a_folder_holds_all_sources_with_nothing_left_open(tmp_path: Path) -> None:
    model = filled(
        logits_of(
            Conv(inputs=(0,), channels=3, kernel_mel=7, kernel_time=5, stride_mel=3, stride_time=8),
            Gru(inputs=(1,), hidden=7),
            Last(inputs=(2,)),
        )
    )
    paths = write_c(model, tmp_path / "new", "a run */ of mine")
    assert [path.name for path in paths] == list(SOURCES)
    assert not [path for path in paths if "/*{" in path.read_text()]
    assert sizes_in(tmp_path / "new" / "kws_model.h") == Sizes(40, 2, 8, 8, 24)
    text = (tmp_path / "new" / "kws_model.c").read_text()
    # By hand: 12 rows of 3 channels are read by 3 gates of 7 units, which read 7; 2 classes of them.
    assert f"kws_weight[{3 * 35 + 21 * 36 + 21 * 7 + 2 * 7}]" in text
    # Multipliers of conv 3 words, of ih 2, of hh and classes 1; biases of 1 word, but for r and z of hh.
    assert f"kws_scale[{3 * 4 + 21 * 3 + 21 * 1 + 7 + 2 * 2}]" in text


@pytest.mark.parametrize(
    ("program", "there", "missing"),
    [
        (
            ATTENTION,
            ("conv(", "gru(", "attend(", "kws_table_sigmoid", "kws_table_power"),
            ("pool(", "join(", "mean("),
        ),
        (RESIDUAL, ("join(", "mean(", "wait_for("), ("kws_table", "gru(", "attend(", "mul(", "collect(")),
    ],
    ids=["attention", "residual"],
)
def test_only_what_the_program_has_is_written(
    program: Program, there: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    text = texts(filled(program))["layers"]
    assert all(word in text for word in there)
    assert not any(word in text for word in missing)


def test_what_no_stream_has_is_refused() -> None:
    rates = logits_of(
        Conv(inputs=(0,), rows=1, channels=2, stride_time=2),
        Conv(inputs=(0,), rows=1, channels=2, stride_time=3),
        MeanTime(inputs=(1,)),
        MeanTime(inputs=(2,)),
        Concat(inputs=(3, 4)),
    )
    with pytest.raises(ModelError, match="different rates"):
        texts(filled(rates))
    large = logits_of(Conv(inputs=(0,), channels=1000), MeanTime(inputs=(1,)))
    with pytest.raises(ModelError, match="operation 1 gives 40000 numbers"):
        texts(filled(large))
    wide = logits_of(
        Conv(inputs=(0,), channels=800, kernel_time=3), Conv(inputs=(1,), channels=2, kernel_time=3)
    )
    with pytest.raises(ModelError, match="by_group is 96000; the C code counts up to 65535"):
        texts(filled((*wide[:-1], MeanTime(inputs=(2,)), replace(LOGITS, inputs=(3,)))))
    with pytest.raises(ModelError, match="no logits"):
        texts(filled((Input(mels=40), MeanTime(inputs=(0,)))))


@pytest.mark.parametrize(("program", "frames"), [(ATTENTION, 24), (RESIDUAL, 96), (CAUSAL, 192)])
def test_all_look_back_as_long(program: Program, frames: int) -> None:
    model = filled(program)
    assert texts(model)["buffer"] == str(frames) == str(buffer_frames(model.step_frames))
    assert f"STEP_FRAMES {192 // frames}" in sizes(model)


@needs_compiler
def test_a_kws_file_and_an_exported_folder_compile_too(tmp_path: Path) -> None:
    model = filled(ATTENTION, bits=4)
    write_atomically(tmp_path / "model.kws", to_bytes(model))
    write_c(model, tmp_path / "exported")
    expected = clip_logits(model, speech(1))[0][0]
    for at, artifact in enumerate((tmp_path / "model.kws", tmp_path / "exported")):
        host = compile_host(artifact, tmp_path / f"host{at}")
        np.testing.assert_array_equal(host.clip(speech(1)[0]), expected)


@needs_compiler
def test_a_folder_can_be_compiled_into_again(tmp_path: Path) -> None:
    """A library that is loaded already is not loaded again under the same name."""
    found = []
    for model in (filled(ATTENTION), filled(ATTENTION, bits=4)):
        logits = compile_host(model, tmp_path).clip(speech(1)[0])
        np.testing.assert_array_equal(logits, clip_logits(model, speech(1))[0][0])
        found.append(logits.tolist())
    assert found[0] != found[1]


def test_what_the_compiler_refuses_is_one_line(tmp_path: Path) -> None:
    if find_compiler() is None:
        pytest.skip("no C compiler")
    with pytest.raises(CompilerError, match=r"refuses the exported code: .*error") as caught:
        compile_host(filled(ATTENTION), tmp_path, max_buffer_len=70000)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, KwsError)


@needs_compiler
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="no ziglang")
@pytest.mark.parametrize("name", [*PROGRAMS, *OTHERS])
def test_another_compiler_gives_the_same(name: str, tmp_path: Path) -> None:
    model = filled({**PROGRAMS, **OTHERS}[name], bits=4)
    host = compile_host(model, tmp_path, compiler=[sys.executable, "-m", "ziglang", "cc"])
    expected = clip_logits(model, speech(5))[0]
    np.testing.assert_array_equal(np.stack([host.clip(clip) for clip in speech(5)]), expected)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O3", "-Os"])
def test_no_level_of_optimization_warns(level: str, tmp_path: Path) -> None:
    for name, program in {**PROGRAMS, **OTHERS}.items():
        flags = [flag for flag in FLAGS if not flag.startswith("-O")]
        compile_host(filled(program), tmp_path / name, flags=[*flags, level])


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({path.name for path in FROZEN.glob("*.kws")}))
def test_the_whole_validation_split_is_equal_bit_for_bit(name: str, arabic: Path, tmp_path: Path) -> None:
    """2,400 recordings, clip by clip: logits as integers."""
    model = load(FROZEN / name)
    host = compile_host(model, tmp_path)
    names = (arabic / "validation_list.txt").read_text().split()
    waves = np.stack([sf.read(arabic / name, dtype="int16", frames=16000, fill_value=0)[0] for name in names])
    for start in range(0, len(waves), 400):
        features = log_mel(to_float(waves[start : start + 400])).numpy()
        expected, _ = clip_logits(model, features)
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
    model = filled(ATTENTION)
    write_c(model, tmp_path)
    compiled(tmp_path, "kws_model.c", "kws_frontend.c", "example_main.c", "-o", "spotter")
    samples = np.random.default_rng(0).normal(0, 900, 24000).astype(np.int16)
    said = subprocess.run(
        [tmp_path / "spotter"], input=samples.tobytes(), capture_output=True, check=True
    ).stdout
    host = compile_host(tmp_path, tmp_path / "host")
    logits = expected_stream(model, host.log_mel(samples))
    scores = [int(line.split()[2]) for line in said.decode().splitlines()]
    assert scores == (logits[:, 1] - logits[:, 0]).tolist()
    assert [line.split()[0] for line in said.decode().splitlines()[:2]] == ["0.20", "0.28"]


@needs_compiler
def test_the_loop_in_the_documentation_compiles(tmp_path: Path) -> None:
    write_c(filled(ATTENTION), tmp_path)
    page = Path(__file__).parents[3] / "docs" / "shipping.md"
    (tmp_path / "loop.c").write_text(PRELUDE + page.read_text().split("```c\n")[1].split("```")[0])
    compiled(tmp_path, "-c", "loop.c")
