"""ONNX files against the numbers that their operations stand for, and refusals of what is not whole."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.results.runs import RunFolder
from bench.ship.export import export_run
from bench.ship.onnx_export import DIGEST, KEY, OnnxFileError, _digest, read_onnx, to_bytes, write_onnx
from bench.ship.onnx_timing import timing_of
from bench.ship.onnx_weights import in_float, in_int8, of_float, of_integer
from compressors.chain import parse
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.front_end import FrontEnd
from models.integer.model import IntegerModel
from models.integer.ops import (
    Act,
    Add,
    Attend,
    Concat,
    Conv,
    Gives,
    Gru,
    Input,
    Last,
    MeanTime,
    Mul,
    Pool,
    Program,
    buffer_frames,
)
from models.shipped import shipped
from models.task import KeywordTask, WordsTask
from tests.programs import ATTENTION, CAUSAL, MELS, PROGRAMS, filled
from tests.random_programs import random_program
from tests.real_numbers import decisions_of, logits_of, real_numbers
from tests.zoo import SPECS, model_of, name_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from bench.ship.onnx_run import OnnxSpotter  # noqa: E402

FROZEN = Path(__file__).parents[2] / "frozen" / "sq_bits_4_ad_kd.kws"


def said(program: Program) -> Program:
    return (*program, Conv(inputs=(len(program) - 1,), rows=1, channels=2, gives=Gives.LOGITS))


# torch's pool knows no dilation.
MEAN_WITH_GAPS = "mean with gaps"
# Streams whose values come at odd moments.
ODD: dict[str, Program] = {
    # Two frames a step in GRUs: the first begins inside a step, the second with one.
    "gru in half a step": said(
        (
            Input(mels=MELS),
            Conv(inputs=(0,), rows=1, channels=4, kernel_time=2, before=1),
            Conv(inputs=(1,), channels=4, kernel_time=4, before=2),
            Gru(inputs=(2,), hidden=5),
            Gru(inputs=(3,), hidden=4),
            Conv(inputs=(4,), channels=3, kernel_time=4, stride_time=2, before=3),
            MeanTime(inputs=(5,)),
        )
    ),
    "gru with a step": said(
        (
            Input(mels=MELS),
            Conv(inputs=(0,), rows=1, channels=4, kernel_time=3, before=1),
            Conv(inputs=(1,), channels=4, kernel_time=2, before=1),
            Conv(inputs=(2,), channels=4, kernel_time=3),
            Gru(inputs=(3,), hidden=5),
            Pool(inputs=(4,), kernel_time=2, stride_time=2),
            Last(inputs=(5,)),
        )
    ),
    # The mel frames have two readers; one of them waits, also once it moves no longer.
    "no head": said(
        (
            Input(mels=MELS),
            Conv(inputs=(0,), rows=1, channels=3, kernel_time=4, stride_time=3, before=2),
            Pool(inputs=(0,), kernel_mel=5, stride_mel=5, kernel_time=2, before=1, after=1, largest=True),
            Conv(
                inputs=(2,),
                rows=1,
                channels=3,
                kernel_time=7,
                dilation_time=2,
                stride_time=3,
                before=6,
                after=4,
            ),
            MeanTime(inputs=(1,)),
            Add(inputs=(1, 3), act=Act.RELU),
            MeanTime(inputs=(5,)),
            Last(inputs=(1,)),
            Concat(inputs=(4, 6, 7)),
        )
    ),
    # Energies come later than what they weigh; two attentions; what begins with a mean waits for them.
    "late energies": said(
        (
            Input(mels=MELS),
            Conv(inputs=(0,), rows=1, channels=3, kernel_time=5, stride_time=7, act=Act.TANH),
            Conv(inputs=(1,), channels=1, kernel_time=3, before=1, after=1, gives=Gives.ENERGY),
            Conv(inputs=(1,), channels=1, gives=Gives.ENERGY),
            Attend(inputs=(2, 1)),
            Attend(inputs=(3, 1)),
            MeanTime(inputs=(1,)),
            Mul(inputs=(4, 5)),
            Add(inputs=(6, 7), minus=1),
        )
    ),
    # Zeros before windows that leave frames out.
    "gaps after zeros": said(
        (
            Input(mels=MELS),
            Conv(inputs=(0,), rows=1, channels=4, kernel_time=3, before=1),
            Conv(inputs=(1,), channels=4, kernel_time=2, before=1, stride_time=4),
            Pool(inputs=(2,), kernel_time=2, before=1, stride_time=3, largest=True),
            Conv(inputs=(3,), channels=3, act=Act.TANH),
            MeanTime(inputs=(4,)),
        )
    ),
    # Windows that leave frames out, padding wider than a kernel.
    "gaps": said(
        (
            Input(mels=MELS),
            Pool(inputs=(0,), kernel_mel=4, stride_mel=4, above=2, kernel_time=2, stride_time=3),
            Conv(inputs=(1,), channels=4, kernel_mel=2, kernel_time=1, stride_time=2, groups=0),
            Pool(inputs=(2,), kernel_time=3, before=2, after=2),
            Pool(inputs=(3,), kernel_mel=2, above=3, below=3),
            Pool(inputs=(4,), kernel_time=2, dilation_time=3, before=3, largest=True),
            Conv(inputs=(5,), rows=1, channels=3),
            Add(inputs=(6,), channels=3, rows=2),
            MeanTime(inputs=(7,)),
        )
    ),
    MEAN_WITH_GAPS: said(
        (
            Input(mels=MELS),
            Pool(
                inputs=(0,), kernel_mel=3, dilation_mel=2, kernel_time=3, dilation_time=2, before=4, after=4
            ),
            MeanTime(inputs=(1,)),
        )
    ),
}
ALL = PROGRAMS | ODD


def audio(batch: int = 3, frames: int = 101, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(batch, MELS, frames)) * 4 - 6).astype(np.float32)


def model(program: Program, bits: int = 8) -> IntegerModel:
    """Random integers whose scales keep real numbers at about 1: all that is heard is in the logits."""
    rng, integer = np.random.default_rng(0), filled(program, activations=16, bits=bits)
    tensors = []
    for op, own in zip(program, integer.tensors, strict=True):
        # Louder, a GRU makes of the last bit of single precision more than that.
        heard = 7 if 0 in op.inputs else 2 if isinstance(op, Gru) else 1
        size = heard * (2 ** (bits - 1) - 1) / 3
        tensors.append(
            tuple(
                one._replace(
                    scale=(rng.uniform(0.5, 2, len(one.scale)) / size / one.weight.shape[1] ** 0.5).astype(
                        "f2"
                    ),
                    bias=None if one.bias is None else rng.uniform(-1, 1, len(one.bias)).astype("f2"),
                )
                for one in own
            )
        )
    return replace(integer, tensors=tuple(tensors))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ALL)
def test_a_clip_is_what_the_operations_stand_for(name: str, bits: int) -> None:
    integer, log_mel = model(ALL[name], bits), audio(frames=90 + 7 * len(name) % 23)
    expected = logits_of(integer.program, real_numbers(integer), log_mel)
    for weights in (of_integer(integer), in_float(of_integer(integer))):
        found = OnnxSpotter(to_bytes(weights, "clip")).logits(log_mel)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(np.diff(expected, axis=0)).max() > 0.01


@pytest.mark.parametrize(("bits", "kept"), [(8, None), (8, 3), (4, 3)])
@pytest.mark.parametrize("name", ALL)
def test_each_decision_is_that_of_all_that_was_heard(name: str, bits: int, kept: int | None) -> None:
    """By definition and by torch's stream, from the first on."""
    frames = 50 + (7 * len(name) + bits + 3 * (kept or 0)) % 37
    integer, log_mel = model(ALL[name], bits), audio(frames=frames)
    found = OnnxSpotter(to_bytes(of_integer(integer), "stream", kept)).stream(log_mel)
    kept = kept or buffer_frames(integer.step_frames)
    expected = decisions_of(integer.program, real_numbers(integer), log_mel, kept)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    spotter = of_integer(integer).model()
    with torch.no_grad():
        stream, _ = spotter.stream(torch.from_numpy(log_mel), spotter.init_state(3, kept))
    np.testing.assert_allclose(found, stream, rtol=1e-5, atol=1e-5)
    assert np.abs(np.diff(found, axis=1)).max() > 0.01


@pytest.mark.parametrize("seed", range(12))
def test_programs_drawn_at_random_are_what_they_stand_for(seed: int) -> None:
    program, log_mel = random_program(seed), audio(frames=100 + seed)
    weights, whole = of_integer(model(program)), real_numbers(model(program))
    for form, expected in (
        ("clip", logits_of(program, whole, log_mel)),
        ("stream", decisions_of(program, whole, log_mel, 1 + seed)),
    ):
        spotter = OnnxSpotter(to_bytes(weights, form, 1 + seed))  # type: ignore[arg-type]
        found = spotter.logits(log_mel) if form == "clip" else spotter.stream(log_mel)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
        assert found.size


@pytest.mark.parametrize("weights", ["float", "int8"])
@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_float_models_of_every_family_are_torch_s(spec: object, weights: str) -> None:
    """Whole clips and every step; rounded weights beside a model that holds the same numbers."""
    torch_model, log_mel = model_of(spec), audio(frames=117)  # type: ignore[arg-type]
    try:
        content = of_float(torch_model)
    except ModelError as error:
        pytest.skip(str(error))
    content = in_int8(content) if weights == "int8" else content
    clip = OnnxSpotter(to_bytes(content, "clip")).logits(log_mel)
    steps = OnnxSpotter(to_bytes(content, "stream", 5)).stream(log_mel)
    with torch.no_grad():
        expected = torch_model(torch.from_numpy(log_mel)).logits.numpy()
        stream, _ = torch_model.stream(torch.from_numpy(log_mel), torch_model.init_state(3, 5))
    if weights == "float":
        np.testing.assert_allclose(clip, expected, atol=1e-5)
        np.testing.assert_allclose(steps, stream, atol=1e-5)
        return
    whole = [[(one.real(), one.bias) for one in own] for own in content.matrices]
    np.testing.assert_allclose(clip, logits_of(content.program, whole, log_mel), atol=1e-5)
    assert 0 < np.abs(clip - expected).max() < 0.05


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
def test_weights_made_float_at_load_give_the_same(bits: int, unpacked: bool) -> None:
    integer, log_mel = model(ATTENTION, bits), audio()
    found = OnnxSpotter(to_bytes(of_integer(integer), "clip"), unpacked=unpacked).logits(log_mel)
    expected = logits_of(integer.program, real_numbers(integer), log_mel)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_streaming_ends_in_the_clip_s_logits() -> None:
    """Where nothing is put behind the last frame, and the buffer holds all."""
    for program in (ATTENTION, CAUSAL):
        weights, log_mel = of_integer(model(program)), audio()
        clip, stream = (OnnxSpotter(to_bytes(weights, form, 101)) for form in ("clip", "stream"))  # type: ignore[arg-type]
        expected = clip.logits(log_mel)
        np.testing.assert_allclose(stream.stream(log_mel)[:, -1], expected, rtol=1e-5, atol=1e-5)


def test_a_stream_shorter_than_its_first_decision_says_nothing() -> None:
    for name, frames in (("attention", 19), ("residual", 8)):
        spotter = OnnxSpotter(to_bytes(of_integer(model(PROGRAMS[name])), "stream"))
        assert spotter.stream(audio(frames=frames)).shape == (3, 0, 2)
        assert spotter.stream(audio(frames=30)).shape[1] > 0


def test_rounding_is_to_the_nearest_of_127_steps() -> None:
    weights = in_float(of_integer(model(ATTENTION)))
    for own, before in zip(in_int8(weights).matrices, weights.matrices, strict=True):
        for matrix, real in zip(own, before, strict=True):
            assert matrix.scale is not None
            assert np.abs(matrix.weight).max() == 127
            error = np.abs(matrix.real() - real.weight)
            assert (error <= 0.5001 * matrix.scale[:, None] + 127 * 2**-11 * matrix.scale[:, None]).all()


def test_factors_that_read_the_state_are_multiplied_out() -> None:
    integer = model(CAUSAL)
    (at,) = (at for at, op in enumerate(CAUSAL) if isinstance(op, Gru))
    weights, tensors = of_integer(integer), real_numbers(integer)[at]
    assert [matrix.weight.shape for matrix in weights.matrices[at]] == [(5, 3)] * 3 + [(5, 5)] * 3
    for matrix, (factor, bias) in zip(weights.matrices[at][3:], tensors[4:], strict=True):
        np.testing.assert_allclose(matrix.real(), factor @ tensors[3][0], rtol=1e-5)
        assert (matrix.bias is None) == (bias is None)


def test_factors_that_read_an_input_stay_two() -> None:
    """The input's matrices, 21 x 76 and 21 x 7, in rank 2."""

    def size(rank: int) -> int:
        spec = next(spec for spec in SPECS if name_of(spec) == "crnn-channels-hidden-attention-layers")
        return len(to_bytes(of_float(model_of(type(spec)(channels=2, hidden=7, input_rank=rank))), "clip"))

    fewer = 4 * sum(21 * width - 2 * (21 + width) for width in (36, 7))
    assert fewer - 500 < size(0) - size(2) < fewer


def test_the_reference_files_hold_little_beside_the_weights() -> None:
    """Files of an earlier writer for this family alone had 3,275 and 3,798 bytes."""
    from models.integer.file import load

    weights = of_integer(load(FROZEN))
    clip, stream = (to_bytes(weights, form) for form in ("clip", "stream"))  # type: ignore[arg-type]
    held = sum(
        (one.weight.size * one.bits + 7) // 8 + 2 * 2 * len(one.weight)
        for own in weights.matrices
        for one in own
    )
    assert held < len(clip) < 1.03 * 3275
    assert len(clip) < len(stream) < 1.03 * 3798
    graph = onnx.load_model_from_string(stream).graph
    assert [entry.name for entry in graph.input] == ["window", "hidden_0", "hidden_1", "energies", "outputs"]
    assert [entry.name for entry in graph.output][1:] == [
        f"next_{name}" for name in ("hidden_0", "hidden_1", "energies", "outputs")
    ]


def test_integers_take_a_byte_or_half_a_byte() -> None:
    for program in PROGRAMS.values():
        sizes = [len(to_bytes(of_integer(model(program, bits)), "clip")) for bits in (8, 4)]
        whole = len(to_bytes(in_float(of_integer(model(program))), "clip"))
        stored = [
            matrix
            for own in of_integer(model(program)).matrices
            for matrix in own
            if matrix.scale is not None
        ]
        count = sum(matrix.weight.size for matrix in stored)
        assert sizes[0] - sizes[1] == pytest.approx(count / 2, abs=3 * len(stored) + 20)
        rows = sum(len(matrix.weight) for matrix in stored)
        assert 3 * count - 100 * len(stored) < whole - sizes[0] + 2 * rows


def test_written_files_pass_the_checker_and_name_their_opset() -> None:
    for name, bits, opset in (("attention", 8, 17), ("attention", 4, 21), (MEAN_WITH_GAPS, 8, 21)):
        written = onnx.load_model_from_string(to_bytes(of_integer(model(ALL[name], bits)), "clip"))
        assert [(entry.domain, entry.version) for entry in written.opset_import] == [("", opset)]


def test_a_stranger_finds_how_windows_lie_in_the_file() -> None:
    """By hand: 4 frames of zeros to a stem of 3, 3 to one of 9 ahead of a stride of 2."""

    def about(name: str) -> str:
        written = onnx.load_model_from_string(to_bytes(of_integer(model(PROGRAMS[name])), "stream"))
        (entry,) = written.metadata_props
        assert entry.key == "kws_bench"
        return str(entry.value).rpartition(" ")[0]

    assert about("attention") == "2 hop=8 ahead=0 skip=0"
    assert about("causal") == "2 hop=1 ahead=4 skip=0"


def test_what_meets_at_different_rates_is_not_streamed(tmp_path: Path) -> None:
    program = said(
        (
            Input(mels=MELS),
            Conv(inputs=(0,), rows=1, channels=2, kernel_time=2, stride_time=2),
            MeanTime(inputs=(0,)),
            MeanTime(inputs=(1,)),
            Concat(inputs=(2, 3)),
        )
    )
    write_onnx(model(program), tmp_path / "clip.onnx")
    with pytest.raises(ModelError, match="operation 4: what meets here comes at different rates"):
        write_onnx(model(program), tmp_path / "stream.onnx", form="stream")
    with pytest.raises(ModelError, match="logits of each frame cannot be streamed"):
        timing_of((Input(mels=MELS), Conv(inputs=(0,), rows=1, channels=2)))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.onnx"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98, 0.999])
def test_a_cut_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_onnx(model(ATTENTION), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(OnnxFileError, match=r"cut|altered") as refused:
        read_onnx(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8, 0.9])
def test_an_altered_byte_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    size = write_onnx(model(ATTENTION), path)
    data = bytearray(path.read_bytes())
    data[int(share * size)] ^= 1
    path.write_bytes(data)
    with pytest.raises(OnnxFileError, match=r"altered|cut"):
        read_onnx(path)


def test_other_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(OnnxFileError, match="cannot be read: No such file"):
        read_onnx(path)
    write_onnx(model(ATTENTION), path)
    newer = onnx.load_model_from_string(path.read_bytes())
    newer.metadata_props[-1].value = "3" + newer.metadata_props[-1].value[1:]
    body = newer.SerializeToString()[:-DIGEST]
    path.write_bytes(body + _digest(body))
    with pytest.raises(OnnxFileError, match="of version 3 and this toolkit reads up to 2"):
        read_onnx(path)
    del newer.metadata_props[:]
    path.write_bytes(newer.SerializeToString())
    with pytest.raises(OnnxFileError, match="not written by bench export"):
        read_onnx(path)


def test_a_stream_of_version_1_is_run_step_by_step_alone(tmp_path: Path) -> None:
    """Those files do not say how their windows lie."""
    path = tmp_path / "m.onnx"
    write_onnx(model(ATTENTION), path, form="stream")
    older = onnx.load_model_from_string(path.read_bytes())
    older.metadata_props[-1].value = "1 " + "0" * DIGEST
    body = older.SerializeToString()[:-DIGEST]
    path.write_bytes(body + _digest(body))
    spotter = OnnxSpotter.open(path)
    assert spotter.step(audio(1, 20), spotter.init_state())[0].shape == (1, 2)
    with pytest.raises(OnnxFileError, match="how far its windows are apart; export it again"):
        spotter.stream(audio())


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a Linear cannot be written as ONNX"):
        write_onnx(torch.nn.Linear(2, 2), tmp_path / "m.onnx")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="holds nothing"):
        write_onnx(model(ATTENTION), tmp_path / "m.onnx", form="stream", max_buffer_len=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("chain", "exact"), [("kd", True), ("dq+kd", False)])
def test_runs_in_floating_point_are_exported(chain: str, exact: bool, tmp_path: Path) -> None:
    """A float run as it is; one of dq with the int8 weights that are nearest."""
    run, spotter, log_mel = RunFolder(tmp_path / "run"), model_of(CrnnSpec(channels=2, hidden=10)), audio()
    run.path.mkdir()
    run.save_config("crnn", parse(chain, CrnnSpec()), spotter.spec, {"keyword": "start"})
    run.save_model(spotter, shipped(spotter, converted=False, task=KeywordTask()))
    clip, stream = export_run(run.path, "onnx", None)
    with torch.no_grad():
        expected = spotter(torch.from_numpy(log_mel)).logits.numpy()
    difference = np.abs(OnnxSpotter.open(clip).logits(log_mel) - expected).max()
    assert (difference < 1e-5) == exact
    assert difference < 0.02
    streamed = OnnxSpotter.open(stream).stream(log_mel)[:, -1]
    np.testing.assert_allclose(streamed, OnnxSpotter.open(clip).logits(log_mel), atol=1e-5)
    assert stream.parent == run.path / "export" / "onnx"


def test_a_file_says_what_is_asked_of_it_to_any_tool(tmp_path: Path) -> None:
    """By onnx alone, and by the toolkit; a float model says what it is told, an integer one its own task."""
    path, front = tmp_path / "m.onnx", FrontEnd(window_ms=32, hop_ms=10.5)
    task = WordsTask(("yes", "\u0646\u0639\u0645"), clip_s=1.25, front_end=front)
    for told in (replace(model(ATTENTION), task=task), model_of(CrnnSpec(channels=2, hidden=10))):
        write_onnx(told, path, form="stream", task=task)
        held = {one.key: one.value for one in onnx.load(path).metadata_props}
        assert list(held)[-1] == KEY
        assert json.loads(held["classes"]) == ["yes", "\u0646\u0639\u0645"]
        numbers = ("clip_s", "sample_rate_hz", "mels", "window_ms", "hop_ms")
        assert [float(held[name]) for name in numbers] == [1.25, 16000, 40, 32, 10.5]
        assert OnnxSpotter.open(path).asked == (task.text, task.classes, 1.25, front)
    write_onnx(replace(model(ATTENTION), task=task), path)
    assert OnnxSpotter.open(path).asked == (task.text, task.classes, 1.25, front)
    write_onnx(model_of(CrnnSpec(channels=2, hidden=10)), path)
    assert OnnxSpotter.open(path).asked is None
