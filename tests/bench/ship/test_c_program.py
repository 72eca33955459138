"""Exported C code of every operation against the integer model in NumPy and its stream, bit for bit."""

import importlib.util
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from bench.data.features import log_mel, to_float
from bench.ship.c_export import texts
from bench.ship.c_host import FLAGS, compile_host, find_compiler
from models.integer.file import load
from models.integer.ops import (
    Program,
)
from models.integer.run import clip as clip_logits
from tests.c_programs import (
    OTHERS,
    check_clips_and_streams,
    expected_stream,
    speech,
    streamed,
)
from tests.programs import ATTENTION, CAUSAL, PROGRAMS, RESIDUAL, filled
from tests.random_programs import random_program

FROZEN = Path(__file__).parents[2] / "frozen"
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


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
