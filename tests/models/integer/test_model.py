"""The integer model against the document, written out once more in plain whole numbers, and against float."""

import contextlib
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import ModelError
from models.integer.file import from_bytes, load, to_bytes
from models.integer.fixed_point import Int
from models.integer.kws import IntegerKws
from models.integer.model import IntegerModel, Quantized, check, joining
from models.integer.ops import Act, Add, Concat, Conv, Gives, Input, Last, MeanTime, Mul, Op, Pick, Pool
from models.integer.real import run
from models.integer.run import clip, compute
from tests.by_the_document import Document, clip_by_the_document, stream_by_the_document
from tests.programs import ATTENTION, PROGRAMS, filled
from tests.random_programs import random_program

FROZEN = Path(__file__).parents[2] / "frozen"
STUDENT = FROZEN / "sq_ad_kd.kws"
KINDS = [(8, 8), (4, 8), (8, 16)]
RANDOM = 48


def clips(count: int, frames: int = 101, louder: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    level = rng.normal(-8, 3 * louder, (count, 40, 1)) + rng.normal(0, 2, (count, 1, frames))
    return (level + rng.normal(0, louder, (count, 40, frames))).astype(np.float32)


def values(model: IntegerModel, log_mel: np.ndarray) -> list[Int]:
    """Every value (B, T', numbers) of clips."""
    found = [model.quantize_input(log_mel)[:, None]]
    for at, op in enumerate(model.program[1:], 1):
        found.append(compute(op, model, at, [found[one] for one in op.inputs]))
    return [np.moveaxis(one.reshape(len(one), -1, one.shape[-1]), 1, 2) for one in found]


def streamed(model: IntegerModel, log_mel: np.ndarray, buffer: int | None, sizes: list[int]) -> list[Int]:
    """The logits of every decision of each stream, in their own units."""
    kws = IntegerKws(model)
    state, found = kws.init_state(len(log_mel), buffer), []
    for chunk in torch.split(torch.from_numpy(log_mel), sizes, -1):
        now, state = kws.stream(chunk, state)
        found.append(now)
    return torch.cat(found, 1).double().mul(65536).round().long().tolist()


def cut(frames: int, seed: int) -> list[int]:
    """Chunks of any size, none among them."""
    places = sorted(np.random.default_rng(seed).integers(0, frames + 1, 5).tolist())
    return [after - before for before, after in zip([0, *places], [*places, frames], strict=True)]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("bits", "activations"), KINDS)
@pytest.mark.parametrize("louder", [1.0, 8.0])
def test_every_value_is_what_the_document_says(name: str, bits: int, activations: int, louder: float) -> None:
    model = filled(PROGRAMS[name], activations, bits)
    heard = clips(2, model.least_frames + 11, louder)
    found = values(model, heard)
    for number, log_mel in enumerate(heard):
        for at, value in enumerate(Document(model, None).values(log_mel)):
            assert found[at][number].tolist() == value.frames, (at, model.program[at])
    assert clip(model, heard)[0].tolist() == [clip_by_the_document(model, one) for one in heard]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(("bits", "activations"), KINDS)
def test_a_stream_is_what_the_document_says(name: str, bits: int, activations: int) -> None:
    model = filled(PROGRAMS[name], activations, bits)
    frames = 2 * model.least_frames + 20
    heard = clips(2, frames, 2.0)
    expected = [stream_by_the_document(model, one, 3) for one in heard]
    assert len(expected[0]) > 3
    for seed in range(3):
        assert streamed(model, heard, 3, cut(frames, seed)) == expected


@pytest.mark.parametrize("activations", [8, 16])
@pytest.mark.parametrize("act", Act)
def test_steps_of_any_size_are_what_the_document_says(act: Act, activations: int) -> None:
    """Factors of 15 bits and of none, shifts up to their limits, ReLU6 that ends between two integers."""
    program = (
        Input(mels=40),
        Add(inputs=(0, 0, 0), minus=4, act=act),
        Pool(inputs=(0,), act=act),
        Concat(inputs=(1, 0, 2), act=act),
        Mul(inputs=(0, 0), act=act),
        MeanTime(inputs=(3,)),
        MeanTime(inputs=(4,)),
        Concat(inputs=(5, 6)),
        Conv(inputs=(7,), channels=2, biased=False, gives=Gives.LOGITS),
    )
    model, heard = filled(program, activations, 2), clips(1, 2, 4.0)
    heard[0, :20] *= -1
    valid = []
    for seed in range(40):
        sizes = np.random.default_rng(seed).uniform(-20, 15, len(program))
        one = replace(model, steps={at: np.float16(2.0 ** sizes[at]) for at in model.steps})
        with contextlib.suppress(ModelError):
            check(one)
            valid.append(one)
    assert len(valid) >= 10
    for one in valid:
        found = values(one, heard)
        for at, value in enumerate(Document(one, None).values(heard[0])):
            assert found[at][0].tolist() == value.frames, (one.steps, at)


def test_shifts_of_sums_end_at_46() -> None:
    """Units of 2^-16 in those of 2^15: ratios of 2^-31 have the exponent -30, and a shift of 45."""
    program = (Input(mels=40), Add(inputs=(0,)), Add(inputs=(1,)), MeanTime(inputs=(2,)))
    for exponent, expected in ((-16, (45, 2**14)), (-17, (46, 2**14)), (-18, (46, 2**13)), (-24, (46, 2**7))):
        model = IntegerModel(program, 16, {1: np.float16(2.0**exponent), 2: np.float16(2.0**15)}, ((),) * 4)
        shift, factor = expected
        assert joining(model, 2) == ((factor,), shift)


def test_limits_are_reached_on_the_way() -> None:
    """Else the tests above would say little: every format at both of its ends, the input too."""
    for activations in (8, 16):
        seen = set()
        for name, program in PROGRAMS.items():
            model = filled(program, activations)
            found = values(model, clips(2, model.least_frames + 11, 8.0))
            for value, form in zip(found, model.formats, strict=True):
                top = 2 ** (form.bits - 1)
                seen |= {(name, end) for end in (-top, top - 1) if (value == end).any()}
        narrow = 2 ** (activations - 1)
        assert {(name, -narrow) for name in PROGRAMS} | {(name, narrow - 1) for name in PROGRAMS} <= seen


@pytest.mark.parametrize("path", sorted(FROZEN.glob("*.kws")), ids=lambda path: path.stem)
def test_models_that_were_trained_are_what_the_document_says(path: Path) -> None:
    model, heard = load(path), clips(1, 60)
    assert clip(model, heard)[0].tolist() == [clip_by_the_document(model, heard[0])]
    assert streamed(model, heard, 3, [60]) == [stream_by_the_document(model, heard[0], 3)]


@pytest.mark.parametrize("seed", range(RANDOM))
def test_programs_by_chance_are_what_the_document_says(seed: int) -> None:
    """As they come out of a file, as clips and as streams."""
    bits, activations = KINDS[seed % 3]
    data = to_bytes(filled(random_program(seed), activations, bits, seed))
    model = from_bytes(data)
    assert to_bytes(model) == data
    frames = model.least_frames + 9
    heard = clips(2, frames, 2.0)
    assert clip(model, heard)[0].tolist() == [clip_by_the_document(model, one) for one in heard]
    expected = [stream_by_the_document(model, one, 2) for one in heard]
    assert streamed(model, heard, 2, cut(frames, seed)) == expected


def test_programs_by_chance_hold_every_operation_and_field() -> None:
    programs = [random_program(seed) for seed in range(RANDOM)]
    ops = [op for program in programs for op in program]
    for kind in {type(op) for program in PROGRAMS.values() for op in program}:
        own = [op for op in ops if type(op) is kind]
        fields = set(vars(own[0])) if own else set()
        varied = {name for name in fields if len({getattr(op, name) for op in own}) > 1}
        assert own, kind
        fixed = {"mels"} if kind is Input else {"gives"} if kind is not Conv else set()
        assert fields - varied <= fixed | {"inputs", "channels", "rows"}, kind
    assert random_program(3) == random_program(3)


def real_logits(model: IntegerModel, heard: np.ndarray) -> np.ndarray:
    """With the real numbers that the stored ones stand for, and nothing rounded on the way."""
    matrices = [
        tuple(
            (
                torch.from_numpy(one.weight * one.scale.astype(np.float64)[:, None]),
                None if one.bias is None else torch.from_numpy(one.bias.astype(np.float64)),
            )
            for one in own
        )
        for own in model.tensors
    ]
    found: np.ndarray = run(model.program, matrices, torch.from_numpy(heard).double())[0].numpy()
    return found


@pytest.mark.parametrize(
    ("name", "rms"),
    [
        ("sq_ad_kd", 0.003),
        ("sq_bits_4_ad_kd", 0.003),
        ("sq_bits_8_gru_hh_4_activations_16_sp", 0.0005),
    ],
)
def test_logits_are_near_those_in_float(name: str, rms: float) -> None:
    model, heard = load(FROZEN / f"{name}.kws"), clips(100)
    error = clip(model, heard)[0] / 65536 - real_logits(model, heard)
    assert np.sqrt(np.square(error).mean()) < rms


@pytest.mark.parametrize("name", ["depthwise", "residual", "split"])
def test_sixteen_bits_of_any_operation_are_near_float(name: str) -> None:
    """Where no value leaves its range; the logits of 50 clips differ by 50 times as much."""
    model, heard = filled(PROGRAMS[name], 16), clips(50)
    exact = real_logits(model, heard)
    error = np.abs(clip(model, heard)[0] / 65536 - exact)
    assert (error.mean(0) < exact.std(0) / 50).all()


@pytest.mark.parametrize("buffer", [1, 4, None])
def test_a_stream_without_padding_is_the_clip_of_what_its_buffer_reaches(buffer: int | None) -> None:
    """Without a state before: the logits of each decision are those of a clip that is cut accordingly."""
    program = (
        Input(mels=40),
        # A stride of 9 and a kernel of 4: five frames of nine are never heard.
        Conv(inputs=(0,), channels=2, kernel_mel=5, stride_mel=5, kernel_time=4, stride_time=9),
        MeanTime(inputs=(1,)),
        Last(inputs=(1,)),
        Add(inputs=(2, 3)),
        Conv(inputs=(4,), rows=1, channels=2, gives=Gives.LOGITS),
    )
    model, heard = filled(program), clips(2, 103)
    for sizes in ([103], [1] * 103, [4, 1, 0, 7, 91]):
        found = np.array(streamed(model, heard, buffer, sizes))
        assert found.shape == (2, 12, 2)
        for step in range(12):
            first = 0 if buffer is None else max(0, step + 1 - buffer)
            alone = clip(model, heard[..., 9 * first : 4 + 9 * step])[0]
            assert found[:, step].tolist() == alone.tolist()


@pytest.mark.parametrize("activations", [8, 16])
@pytest.mark.parametrize("name", ["attention", "causal"])
def test_clips_batches_and_streams_give_the_same_bits(name: str, activations: int) -> None:
    """Of models that nothing lies ahead of."""
    model = filled(PROGRAMS[name], activations, 4)
    kws, heard = IntegerKws(model), clips(3, 133)
    whole = kws(torch.from_numpy(heard))
    alone = [kws(torch.from_numpy(one[None])) for one in heard]
    assert torch.equal(whole.logits, torch.cat([out.logits for out in alone]))
    logits, energies = clip(model, heard)
    assert whole.logits.double().mul(65536).tolist() == logits.tolist()
    assert energies is not None
    assert whole.energies.shape == energies.shape == (3, 15 if name == "attention" else 133)
    np.testing.assert_allclose(whole.energies, energies * 2.0**-10 / np.log2(np.e), rtol=1e-6)
    for sizes in ([133], [1] * 133, [19, 1, 7, 0, 50, 56]):
        found = np.array(streamed(model, heard, None, sizes))
        assert found[:, -1].tolist() == logits.tolist()
    ends = list(accumulate([60, 73]))
    found = np.array(streamed(model, heard[..., : ends[0]], None, [60]))
    assert found[:, -1].tolist() == clip(model, heard[..., : ends[0]])[0].tolist()


def test_clips_are_computed_in_blocks_that_change_nothing() -> None:
    model, heard = filled(ATTENTION), clips(130, 30)
    assert IntegerKws(model)(torch.from_numpy(heard)).logits.double().mul(65536).tolist() == (
        clip(model, heard)[0].tolist()
    )


def test_a_bias_much_larger_than_its_weights_fits_32_bits() -> None:
    """A row of weights next to nothing: its scale is that of the bias, which then takes 2^29 units."""
    model = load(STUDENT)
    last = Quantized(
        8, np.zeros((2, 10), np.int8), np.full(2, 2.0**-9, np.float16), np.array([30, -7], np.float16)
    )
    heavy = replace(model, tensors=(*model.tensors[:-1], (last,)))
    assert heavy.layers[-1][0].bias.tolist() == [30 << 24, -7 << 24]
    assert clip(heavy, clips(3))[0].tolist() == [[30 << 16, -7 << 16]] * 3


@pytest.mark.parametrize(("activations", "low", "high"), [(8, -128, 127), (16, -32768, 32767)])
def test_input_beyond_all_bounds_is_limited(activations: int, low: int, high: int) -> None:
    extremes = np.array([-np.inf, -1e30, 1e30, np.inf], np.float32)
    assert filled(ATTENTION, activations).quantize_input(extremes).tolist() == [low, low, high, high]
    # Halves to the even number; 8 bits have 40 added.
    ties = np.array([0.5, 1.5, 2.5, -0.5], np.float32) * 2.0 ** -(3 if activations == 8 else 10)
    zero = 40 if activations == 8 else 0
    assert filled(ATTENTION, activations).quantize_input(ties).tolist() == [zero + n for n in (0, 2, 2, 0)]


def test_what_a_model_cannot_do_is_refused() -> None:
    kws = IntegerKws(load(STUDENT))
    for run_clip in (lambda heard: kws(heard), lambda heard: clip(kws.integer, heard.numpy())):
        with pytest.raises(ModelError, match="clips of 19 frames; the model needs 20"):
            run_clip(torch.zeros(1, 40, 19))
    with pytest.raises(ModelError, match="at least 1"):
        kws.init_state(1, 0)


def pointed(scale: float, bias: float, weight: int, columns: int = 600) -> IntegerModel:
    """Logits of so many means over time, all of whose weights are one number."""
    program: tuple[Op, ...] = (
        Input(mels=40),
        Pick(inputs=(0,), order=tuple(i % 40 for i in range(columns))),
        MeanTime(inputs=(1,)),
        Conv(inputs=(2,), channels=2, gives=Gives.LOGITS),
    )
    numbers = (np.full(2, scale, np.float16), np.full(2, bias, np.float16))
    tensor = Quantized(8, np.full((2, columns), weight, np.int8), *numbers)
    return IntegerModel(program, 8, {}, ((), (), (), (tensor,)))


def test_sums_that_could_leave_32_bits_are_refused() -> None:
    """127 x 2^15 x 516 is below 2^31, x 517 is not; a bias takes its part."""
    check(pointed(1, 0, 127, 516))
    for model in (pointed(1, 0, 127, 517), pointed(2.0**-10, -65504, 0), pointed(1, 60000, 127, 516)):
        with pytest.raises(ModelError, match="a sum would not fit in 32 bits"):
            check(model)
    for scale, says in ((0, "a scale is not above 0"), (np.inf, "a scale"), (np.nan, "a scale")):
        with pytest.raises(ModelError, match=says):
            check(pointed(scale, 0, 1))
    with pytest.raises(ModelError, match="a bias is no number"):
        check(pointed(1, np.nan, 1))


def test_steps_too_far_apart_are_refused() -> None:
    """A factor has 15 bits, a shift one at least: a ratio of 2^14 is too much."""
    program = (
        Input(mels=40),
        Add(inputs=(0,), rows=40),
        Pool(inputs=(1,), rows=40, kernel_mel=20, stride_mel=20),
        MeanTime(inputs=(2,)),
        Add(inputs=(3,), gives=Gives.LOGITS),
    )
    model = filled(program)
    check(replace(model, steps={1: np.float16(2.0**-16), 2: np.float16(0.01)}))
    with pytest.raises(ModelError, match="operation 1: what it adds is too coarse for its result"):
        check(replace(model, steps={1: np.float16(2.0**-17), 2: np.float16(0.01)}))
    with pytest.raises(ModelError, match="a scale is too large"):
        check(replace(model, steps={1: np.float16(60000), 2: np.float16(2.0**-24)}))
