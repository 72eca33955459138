"""What is written as C code, what of it the compiler takes, and what is refused."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.files import write_atomically
from bench.ship.c_export import SOURCES, sizes, texts, write_c
from bench.ship.c_host import FLAGS, CompilerError, Sizes, compile_host, find_compiler, sizes_in
from models.errors import KwsError, ModelError
from models.integer.file import to_bytes
from models.integer.ops import (
    Concat,
    Conv,
    Gru,
    Input,
    Last,
    MeanTime,
    Program,
    buffer_frames,
)
from models.integer.run import clip as clip_logits
from tests.c_programs import LOGITS, expected_stream, logits_of, speech
from tests.programs import ATTENTION, CAUSAL, RESIDUAL, filled

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


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
