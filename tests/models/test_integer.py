"""The integer model against the document, written out once more in plain whole numbers, and against float."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from compressors.quantization.quantize import integer_spec, quantize
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.integer import IntegerModel, Quantized
from models.integer.kws import IntegerKws
from models.registry import build

TINY = CrnnSpec(channels=2, kernel=(7, 20), stride=(3, 8), hidden=4, attention=3, layers=2)
STUDENT = CrnnSpec(channels=2, hidden=10)


def clips(count: int, frames: int = 101) -> np.ndarray:
    rng = np.random.default_rng(0)
    level = rng.normal(-8, 3, (count, 40, 1)) + rng.normal(0, 2, (count, 1, frames))
    return (level + rng.normal(0, 1, (count, 40, frames))).astype(np.float32)


def integer(
    spec: CrnnSpec, bits: int = 8, activations: int = 8, louder: float = 1.0
) -> tuple[IntegerModel, Any]:
    torch.manual_seed(0)
    model = build(spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= louder
        step = model.conv(torch.from_numpy(clips(20)).unsqueeze(1)).abs().max().item()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    widths = dict.fromkeys(integer_spec(spec).shapes(), bits)
    step /= 2 ** (activations - 1)
    return quantize(weights, spec, widths=widths, conv_step=step, activations=activations), model


def clip_by_the_document(model: IntegerModel, log_mel: np.ndarray, buffer: int) -> list[int]:
    """docs/integer-model.md in whole numbers of Python, one number at a time."""
    spec, wide = model.spec, model.spec.activations
    frac = wide - 1

    def sat(value: int, bits: int) -> int:
        return min(max(value, -(1 << (bits - 1))), (1 << (bits - 1)) - 1)

    def rshift(value: int, bits: int) -> int:
        return (value + (1 << (bits - 1))) >> bits

    def sigmoid(value: int) -> int:
        def entry(i: int) -> int:
            return round(32768 / (1 + math.exp(-(i - 128) / 16)))

        at = value + 32768
        low, high = entry(at >> 8), entry((at >> 8) + 1)
        return low + (((high - low) * (at & 255) + 128) >> 8)

    def tanh(value: int) -> int:
        return 2 * sigmoid(sat(2 * value, 16)) - 32768

    def power(below: int) -> int:
        i, r = (below & 1023) >> 5, below & 31
        high, low = round(32768 * 2 ** (-i / 32)), round(32768 * 2 ** (-(i + 1) / 32))
        return (high - (((high - low) * r + 16) >> 5)) >> (below >> 10)

    def read(value: int) -> int:
        return sat(rshift(value, 8), 8) if wide == 8 else value

    state_step, conv = 2.0**-frac, float(model.conv_scale)

    def rows(name: str, x: list[int]) -> list[int]:
        step_in, step_out, bits = {
            "conv": (2.0**-3 if wide == 8 else 2.0**-10, conv, wide),
            "attention.energy": (state_step, 2.0**-10 / 1.4426950408889634, 16),
            "classifier": (2.0**-15, 2.0**-16, 32),
        }.get(name, (conv if name.startswith("gru.0.ih") else state_step, 2.0**-12, 16))
        tensor, out = model.tensors[name], []
        for row, scale in enumerate(map(float, tensor.scale)):
            weight = tensor.weight[row].tolist()
            bias = 0 if tensor.bias is None else round(float(tensor.bias[row]) / (scale * step_in))
            if name == "conv" and wide == 8:
                bias -= 40 * sum(weight)
            total = bias + sum(w * v for w, v in zip(weight, x, strict=True))
            fraction, exponent = math.frexp(scale * (step_in / step_out))
            out.append(sat(rshift(total * round(fraction * 2**31), 31 - exponent), bits))
        return out

    def quantized(value: float) -> int:
        return sat(round(8 * value) + 40, 8) if wide == 8 else sat(round(1024 * value), 16)

    hidden = [[0] * spec.hidden for _ in range(spec.layers)]
    kept: list[tuple[int, list[int]]] = []
    (tall, long), (down, along) = spec.kernel, spec.stride
    for start in range(0, log_mel.shape[1] - long + 1, along):
        tops = range(0, spec.n_mels - tall + 1, down)
        heard = [
            [quantized(float(log_mel[top + i, start + j])) for i in range(tall) for j in range(long)]
            for top in tops
        ]
        by_row = [rows("conv", window) for window in heard]
        frame = [row[channel] for channel in range(spec.channels) for row in by_row]
        for layer, state in enumerate(hidden):
            seen = [read(value) for value in state]
            ih = {gate: rows(f"gru.{layer}.ih.{gate}", frame) for gate in "rzn"}
            hh = {gate: rows(f"gru.{layer}.hh.{gate}", seen) for gate in "rzn"}
            for unit in range(spec.hidden):
                r, z = (sigmoid(sat(ih[gate][unit] + hh[gate][unit], 16)) for gate in "rz")
                n = tanh(sat(ih["n"][unit] + rshift(r * hh["n"][unit], 15), 16))
                state[unit] = rshift(z * state[unit] + (32768 - z) * n, 15)
            frame = [read(value) for value in state]
        inner = [read(tanh(value)) for value in rows("attention.inner", frame)]
        kept = [*kept, (rows("attention.energy", inner)[0], frame)][-buffer:]
    most = max(energy for energy, _ in kept)
    weights = [power(most - energy) for energy, _ in kept]
    total = sum(weights)
    context = []
    for unit in range(spec.hidden):
        summed = sum(weight * frame[unit] for weight, (_, frame) in zip(weights, kept, strict=True))
        size = ((abs(summed) << (15 - frac)) + (total >> 1)) // total
        context.append(sat(-size if summed < 0 else size, 16))
    return rows("classifier", context)


@pytest.mark.parametrize(("bits", "activations"), [(8, 8), (4, 8), (8, 16)])
@pytest.mark.parametrize("louder", [1.0, 8.0])  # loud enough for every limit to be reached
def test_it_is_what_the_document_says(bits: int, activations: int, louder: float) -> None:
    model, _ = integer(TINY, bits, activations, louder)
    heard = clips(2, 60)
    found, _ = model.clip(heard)
    assert found.tolist() == [clip_by_the_document(model, clip, 99) for clip in heard]
    state = model.init_state(2)
    for start in range(0, 41, 8):
        logits, state = model.step(heard[:, :, start : start + 20], state, 3)
    assert logits.tolist() == [clip_by_the_document(model, clip, 3) for clip in heard]


@pytest.mark.parametrize(
    ("bits", "activations", "rms"), [(8, 8, 0.003), (8, 16, 0.001), (4, 8, 0.06), (2, 8, 0.5)]
)
def test_logits_are_near_those_in_float(bits: int, activations: int, rms: float) -> None:
    model, floats = integer(STUDENT, bits, activations)
    heard = clips(100)
    logits, energies = model.clip(heard)
    with torch.inference_mode():
        exact = floats(torch.from_numpy(heard))
    assert np.sqrt(np.square(logits / 65536 - exact.logits.numpy()).mean()) < rms
    error = energies / 1024 / np.log2(np.e) - exact.energies.numpy()
    assert np.sqrt(np.square(error).mean()) < 5 * rms


def test_a_stream_skips_frames_between_windows_however_it_is_cut() -> None:
    """A stride of 9 and a kernel of 4: five frames of nine are never heard."""
    model = IntegerKws(integer(CrnnSpec(channels=2, kernel=(3, 4), stride=(5, 9), hidden=6))[0])
    heard = torch.from_numpy(clips(2, 103))
    for sizes in ([103], [1] * 103, [4, 1, 0, 7, 91]):
        state, logits = model.init_state(2, None), []
        for chunk in torch.split(heard, sizes, -1):
            now, state = model.stream(chunk, state)
            logits.append(now)
        streamed = torch.cat(logits, 1)
        assert streamed.shape == (2, 12, 2)
        for step in (0, 1, 11):
            assert torch.equal(streamed[:, step], model(heard[..., : 4 + 9 * step]).logits)


def test_a_bias_much_larger_than_its_weights_fits_32_bits() -> None:
    """A row of weights next to nothing: its scale grows until the bias fits 30 bits."""
    _, floats = integer(STUDENT)
    values = {name: tensor.numpy() for name, tensor in floats.state_dict().items()}
    values |= {
        "classifier.weight": np.full((2, 10), 1e-7, np.float32),
        "classifier.bias": np.float32([30, -7]),
    }
    widths = dict.fromkeys(integer_spec(STUDENT).shapes(), 8)
    logits, _ = quantize(values, STUDENT, widths=widths, conv_step=0.1).clip(clips(3))
    np.testing.assert_allclose(logits / 65536, [[30, -7]] * 3, rtol=1e-3)


@pytest.mark.parametrize("activations", [8, 16])
def test_clips_batches_and_streams_give_the_same_bits(activations: int) -> None:
    model = IntegerKws(integer(STUDENT, 4, activations)[0])
    heard = torch.from_numpy(clips(3, 133))
    whole = model(heard)
    alone = [model(clip[None]) for clip in heard]
    assert torch.equal(whole.logits, torch.cat([out.logits for out in alone]))
    assert whole.energies.shape == (3, 15)
    for sizes in ([133], [1] * 133, [19, 1, 7, 0, 50, 56]):
        state, logits = model.init_state(3, None), []
        for chunk in torch.split(heard, sizes, -1):
            now, state = model.stream(chunk, state)
            logits.append(now)
        assert torch.equal(torch.cat(logits, 1)[:, -1], whole.logits)
    seen, _ = model.stream(heard[..., :60], model.init_state(3, None))
    assert torch.equal(seen[:, -1], model(heard[..., :60]).logits)


@pytest.mark.parametrize(("activations", "low", "high"), [(8, -128, 127), (16, -32768, 32767)])
def test_input_beyond_all_bounds_is_limited(activations: int, low: int, high: int) -> None:
    model, _ = integer(STUDENT, activations=activations)
    extremes = np.array([-np.inf, -1e30, 1e30, np.inf], np.float32)
    assert model.quantize_input(extremes).tolist() == [low, low, high, high]


def test_what_a_model_cannot_do_is_refused() -> None:
    model, _ = integer(STUDENT)
    kws = IntegerKws(model)
    with pytest.raises(ModelError, match="clips of 19 frames; the model needs 20"):
        kws(torch.zeros(1, 40, 19))
    with pytest.raises(ModelError, match="at least 1"):
        kws.init_state(1, 0)
    wide = replace(integer_spec(STUDENT), hidden=600)
    tensor = Quantized(8, np.full((2, 600), 127, np.int8), np.ones(2, np.float16), np.zeros(2, np.float16))
    with pytest.raises(ModelError, match="classifier: a sum would not fit in 32 bits"):
        _ = IntegerModel(wide, np.float16(1), {"classifier": tensor}).layers
    halves, no_weights = np.full(2, 0.5, np.float16), np.zeros((2, 600), np.int8)
    heavy = Quantized(8, no_weights, scale=halves, bias=np.full(2, -65504, np.float16))
    with pytest.raises(ModelError, match="classifier: a sum would not fit in 32 bits"):
        _ = IntegerModel(wide, np.float16(1), {"classifier": heavy}).layers
