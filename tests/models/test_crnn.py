import itertools

import pytest
import torch
from torch.nn import functional

from compressors.quantization.dynamic_quant import DynamicQuant
from compressors.structured_prune import StructuredPrune
from models.base import KwsModel, ModelOutput, count_params
from models.crnn import Crnn, CrnnSpec
from models.errors import ModelError
from models.registry import build

# Parameters as published; the pruned model by hand: 202 + 2592 + 1632 + 289 + 34, without the dead columns.
ARCHITECTURES = [
    (CrnnSpec(), 70443),
    (CrnnSpec(channels=4, kernel=(15, 5), hidden=21), 8329),
    (CrnnSpec(channels=4, kernel=(13, 5), hidden=12), 3915),
    (CrnnSpec(channels=2, hidden=10), 2445),
    (CrnnSpec(channels=2, hidden=16), 4749),
]


def model_of(spec: CrnnSpec, seed: int = 0) -> Crnn:
    torch.manual_seed(seed)
    model = build(spec).eval()
    assert isinstance(model, Crnn)
    return model


@pytest.mark.parametrize(("spec", "params"), ARCHITECTURES)
def test_parameters_are_the_published_ones(spec: CrnnSpec, params: int) -> None:
    assert count_params(build(spec)) == params


def test_forward_is_the_written_formula() -> None:
    model, log_mel = model_of(CrnnSpec(channels=2, hidden=5)), torch.randn(3, 40, 60)
    weights = dict(model.named_parameters())
    frames = functional.conv2d(log_mel[:, None], weights["conv.weight"], weights["conv.bias"], stride=(2, 8))
    inputs = torch.stack([frames[:, :, :, t].reshape(3, -1) for t in range(frames.shape[-1])], 1)
    for layer in range(2):
        inputs = _gru_by_hand(inputs, weights, layer)
    inner = torch.tanh(inputs @ weights["attention.0.weight"].T + weights["attention.0.bias"])
    energies = (inner @ weights["attention.2.weight"].T + weights["attention.2.bias"])[..., 0]
    share = torch.exp(energies) / torch.exp(energies).sum(1, keepdim=True)
    context = (share[..., None] * inputs).sum(1)
    logits = context @ weights["classifier.weight"].T + weights["classifier.bias"]
    output = model(log_mel)
    torch.testing.assert_close(output, ModelOutput(logits, energies), atol=1e-5, rtol=0)


def _gru_by_hand(inputs: torch.Tensor, weights: dict[str, torch.Tensor], layer: int) -> torch.Tensor:
    """The equations of torch's documentation, gates in the order r, z, n."""
    w_in, w_rec, b_in, b_rec = (
        weights[f"gru.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden = torch.zeros(inputs.shape[0], w_rec.shape[1])
    outputs = []
    for frame in inputs.unbind(1):
        in_r, in_z, in_n = (frame @ w_in.T + b_in).chunk(3, 1)
        rec_r, rec_z, rec_n = (hidden @ w_rec.T + b_rec).chunk(3, 1)
        reset, update = torch.sigmoid(in_r + rec_r), torch.sigmoid(in_z + rec_z)
        hidden = (1 - update) * torch.tanh(in_n + reset * rec_n) + update * hidden
        outputs.append(hidden)
    return torch.stack(outputs, 1)


def forms() -> dict[str, KwsModel]:
    whole = model_of(CrnnSpec(channels=2, hidden=6))
    prune = StructuredPrune(keep=0.5)
    quantized = DynamicQuant().convert(whole)
    assert isinstance(quantized, KwsModel)
    return {"float": whole, "pruned": prune.surgery(prune.prepare(whole)), "quantized": quantized}


@pytest.mark.parametrize("form", ["float", "pruned", "quantized"])
@pytest.mark.parametrize("buffer", [None, 3])
def test_stream_does_not_depend_on_the_cutting(form: str, buffer: int | None) -> None:
    model, audio = forms()[form], torch.randn(2, 40, 157)
    whole = run_stream(model, audio, [157], buffer)
    assert whole.shape == (2, (157 - 20) // 8 + 1, 2)
    for sizes in ([1] * 157, [8] * 19 + [5], [0, 19, 1, 100, 37], [3, 150, 4]):
        torch.testing.assert_close(run_stream(model, audio, sizes, buffer), whole, atol=1e-5, rtol=0)


def run_stream(model: KwsModel, audio: torch.Tensor, sizes: list[int], buffer: int | None) -> torch.Tensor:
    state, logits = model.init_state(audio.shape[0], buffer), []
    with torch.no_grad():
        for chunk in audio.split(sizes, dim=-1):
            frames, state = model.stream(chunk, state)
            logits.append(frames)
    return torch.cat(logits, 1)


@pytest.mark.parametrize("form", ["float", "pruned"])
def test_unbounded_stream_ends_in_the_offline_result(form: str) -> None:
    model, audio = forms()[form], torch.randn(2, 40, 101)
    with torch.no_grad():
        streamed = run_stream(model, audio, [17] * 5 + [16], None)
        for frames in (20, 60, 101):
            offline = model(audio[..., :frames]).logits
            torch.testing.assert_close(streamed[:, (frames - 20) // 8], offline, atol=1e-5, rtol=0)


def test_the_buffer_forgets() -> None:
    model, audio = model_of(CrnnSpec(channels=2, hidden=6)), torch.randn(1, 40, 157)
    with torch.no_grad():
        frames = model.conv(audio.unsqueeze(1)).flatten(1, 2).transpose(1, 2)
        outputs, _ = model.gru(frames)
        energies = model.attention(outputs).squeeze(-1)
        last = (torch.softmax(energies[:, -3:], 1)[..., None] * outputs[:, -3:]).sum(1)
        expected = model.classifier(last)
    torch.testing.assert_close(run_stream(model, audio, [157], 3)[:, -1], expected, atol=1e-5, rtol=0)


def test_streams_share_a_model_without_mixing() -> None:
    model = model_of(CrnnSpec(channels=2, hidden=6))
    one, two = torch.randn(1, 40, 90), torch.randn(1, 40, 90)
    states = {name: model.init_state(1) for name in ("one", "two")}
    logits: dict[str, list[torch.Tensor]] = {"one": [], "two": []}
    with torch.no_grad():
        for start in range(0, 90, 9):
            for name, audio in (("one", one), ("two", two)):
                frames, states[name] = model.stream(audio[..., start : start + 9], states[name])
                logits[name].append(frames)
    torch.testing.assert_close(torch.cat(logits["one"], 1), run_stream(model, one, [90], 24))
    torch.testing.assert_close(torch.cat(logits["two"], 1), run_stream(model, two, [90], 24))


def test_a_state_can_be_used_twice() -> None:
    model, audio = model_of(CrnnSpec(channels=2, hidden=6)), torch.randn(1, 40, 90)
    with torch.no_grad():
        _, state = model.stream(audio[..., :50], model.init_state(1))
        first, _ = model.stream(audio[..., 50:], state)
        second, _ = model.stream(audio[..., 50:], state)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"hidden": 0}, "at least 1"), ({"kernel": (50, 5)}, "mel bands"), ({"stride": (0, 1)}, "at least 1")],
)
def test_impossible_specifications_are_refused(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        CrnnSpec(**wrong)  # type: ignore[arg-type]


def test_too_short_clips_and_empty_buffers_are_refused() -> None:
    model = model_of(CrnnSpec())
    with pytest.raises(ModelError, match="needs 20"):
        model(torch.zeros(1, 40, 19))
    with pytest.raises(ModelError, match="at least 1"):
        model.init_state(1, 0)


@pytest.mark.parametrize(("frames", "channels"), list(itertools.product((20, 27, 28, 101), (1, 3))))
def test_attention_weighs_the_windows_that_fit(frames: int, channels: int) -> None:
    spec = CrnnSpec(channels=channels, hidden=4)
    energies = model_of(spec)(torch.randn(1, 40, frames)).energies
    assert energies is not None
    assert energies.shape[1] == (frames - 20) // 8 + 1


def test_a_stride_longer_than_the_kernel_skips_the_same_frames_in_streams() -> None:
    """The study's student of kernel 15x5 with stride 8: three frames in eight are in no window."""
    torch.manual_seed(0)
    model = build(CrnnSpec(channels=4, kernel=(15, 5), hidden=6)).eval()
    log_mel = torch.randn(2, 40, 101)
    state, logits = model.init_state(2, None), []
    for chunk in torch.split(log_mel, [1] * 30 + [3, 0, 8, 60], -1):
        found, state = model.stream(chunk, state)
        logits.append(found)
    steps = torch.cat(logits, 1)
    assert steps.shape == (2, 13, 2)
    torch.testing.assert_close(steps[:, -1], model(log_mel).logits)
