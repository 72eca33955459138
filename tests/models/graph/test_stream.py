from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressors.quantization.dynamic_quant import DynamicQuant
from compressors.quantization.weight_only import RoundedWeights
from examples.model_matchbox import MatchboxSpec
from models.base import KwsModel, ModelOutput, ModelSpec
from models.bc_resnet import BcResNetSpec
from models.ds_cnn import DsCnnSpec
from models.errors import ModelError
from models.graph.axes import TIME
from models.graph.stream import delay_frames
from models.graph.trace import graph_of
from models.tc_resnet import TcResNetSpec
from tests.zoo import (
    FACTORED,
    OWN,
    SPECS,
    CausalSpec,
    DepthwiseSpec,
    ResidualSpec,
    SplitSpec,
    model_of,
    name_of,
)

# Long enough for some decisions of what hears most ahead.
FRAMES = 151
CUTS = ([FRAMES], [1] * FRAMES, [0, 19, 1, 44, 87], [3, 145, 3])
# By hand, in mel frames: what lies ahead of a decision, the frame with which the first one comes, the step.
# residual: 1 + 4 + 2 * 4 + 2 * 2 behind the middle of its windows, and as much before the first decision.
# Of the families each sum has a term for each layer that pads: its frames times the step of what it reads.
TIMES = {
    ResidualSpec(): (17, 17, 2),
    DepthwiseSpec(): (1 + 2 + 2, 2 + 2 + 2, 4),
    CausalSpec(): (2, 2, 1),
    SplitSpec(): (0, 2 + 4, 1),
    DsCnnSpec(): (5 * 2 + 4 * 4, 1 + 5 * 2 + 4 * 4, 4),
    TcResNetSpec(): (1 + (4 + 8) + (8 + 16) + (16 + 32),) * 2 + (8,),
    BcResNetSpec(): (2 + 2 * 1 + 2 * 2 + 4 * 4 + 4 * 8 + 2,) * 2 + (1,),
    MatchboxSpec(): (5 + (6 + 7 + 8 + 14) * 2,) * 2 + (2,),
}
# What is one frame wide is so in two layers too.
TIMES |= {spec: TIMES[type(spec)()] for spec in FACTORED if type(spec)() in TIMES}


def run_stream(model: KwsModel, audio: Tensor, sizes: list[int], buffer: int | None) -> Tensor:
    state, logits = model.init_state(len(audio), buffer), []
    with torch.no_grad():
        for chunk in audio.split(sizes, dim=-1):
            found, state = model.stream(chunk, state)
            logits.append(found)
    return torch.cat(logits, 1)


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
@pytest.mark.parametrize("form", ["float", "dynamic", "rounded"])
def test_how_audio_is_cut_makes_no_difference(spec: ModelSpec, form: str) -> None:
    model, audio = model_of(spec), torch.randn(2, 40, FRAMES)
    if form == "rounded":
        model = RoundedWeights(model, 8).eval()
    elif form == "dynamic":
        if not any(isinstance(module, nn.Linear | nn.GRU) for module in model.modules()):
            pytest.skip("has no layer to quantize")
        converted = DynamicQuant().convert(model)
        assert isinstance(converted, KwsModel)
        model = converted
    whole = run_stream(model, audio, CUTS[0], 5)
    assert whole.shape[1] > 5
    for sizes in CUTS[1:]:
        assert torch.equal(run_stream(model, audio, sizes, 5), whole)


@pytest.mark.parametrize("spec", OWN, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("buffer", [1, 4, None])
def test_a_stream_says_what_the_clips_frames_say(spec: type[ModelSpec], buffer: int | None) -> None:
    """The model's own frames of a whole clip, padding included, and its decision on the last ones of them."""
    model: Any = model_of(spec())
    audio = torch.randn(2, 40, FRAMES)
    _, first, step = TIMES[spec()]
    streamed = run_stream(model, audio, CUTS[2], buffer)
    assert streamed.shape == (2, (FRAMES - 1 - first) // step + 1, 2)
    with torch.no_grad():
        frames = model.frames(audio)
        time = 1 if isinstance(spec(), CausalSpec) else -1
        for at in range(streamed.shape[1]):
            start = 0 if buffer is None else max(0, at + 1 - buffer)
            expected = model.decide(frames.narrow(time, start, at + 1 - start))
            torch.testing.assert_close(streamed[:, at], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if TIMES.get(spec, (0,))[0] == 0], ids=name_of)
def test_without_padding_a_stream_ends_as_the_clip(spec: ModelSpec) -> None:
    model, audio = model_of(spec), torch.randn(2, 40, FRAMES)
    assert delay_frames(graph_of(model)) == 0
    streamed = run_stream(model, audio, CUTS[2], None)
    with torch.no_grad():
        torch.testing.assert_close(streamed[:, -1], model(audio).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("spec", TIMES, ids=name_of)
def test_what_lies_ahead_is_counted_by_hand(spec: ModelSpec) -> None:
    assert delay_frames(graph_of(model_of(spec))) == TIMES[spec][0]


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_a_state_can_be_used_twice_and_holds_no_more_with_time(spec: ModelSpec) -> None:
    model, audio = model_of(spec), torch.randn(1, 40, 400)
    with torch.no_grad():
        _, before = model.stream(audio[..., :200], model.init_state(1, 4))
        first, after = model.stream(audio[..., 200:], before)
        second, _ = model.stream(audio[..., 200:], before)
    assert torch.equal(first, second)
    held = [sum(tensor.untyped_storage().nbytes() for tensor in tensors(state)) for state in (before, after)]
    assert held[0] == pytest.approx(held[1], abs=4 * 40 * 20)


def tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from tensors(part)


class Rates(KwsModel):
    """Two branches, one of which comes half as often."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.fast, self.slow = nn.Conv1d(40, 2, 3), nn.Conv1d(40, 2, 3, stride=2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.fast(log_mel).mean(-1) + self.slow(log_mel).mean(-1), None)


class Frames(Rates):
    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.fast(log_mel).transpose(1, 2), None)


class Length(Rates):
    """A mean that is written out: its divisor is the length of the clip."""

    def forward(self, log_mel: Tensor) -> ModelOutput:
        heard = self.fast(log_mel)
        return ModelOutput(heard.sum(-1) / heard.shape[-1], None)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Rates, "add: what meets here comes at different rates"),
        (Frames, "logits of each frame cannot be streamed"),
        (Length, "truediv: it computes with the number of clips or of frames; use mean"),
    ],
)
def test_what_has_no_stream_is_refused(kind: type[KwsModel], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        kind(ModelSpec()).init_state(1)


def test_a_layer_over_the_last_frames_waits_until_there_are_enough() -> None:
    """A convolution behind a gate that takes all of time: over the buffer, as over a clip."""

    class Gated(Rates):
        def forward(self, log_mel: Tensor) -> ModelOutput:
            gated = log_mel * torch.sigmoid(log_mel.mean(-1, keepdim=True))
            return ModelOutput(self.fast(gated).mean(-1), None)

    model, audio = Gated(ModelSpec()).eval(), torch.randn(1, 40, 30)
    streamed = run_stream(model, audio, [30], 8)
    assert streamed.shape[1] == 30 - 2
    with torch.no_grad():
        torch.testing.assert_close(streamed[:, -1], model(audio[..., -8:]).logits, atol=1e-6, rtol=0)
        torch.testing.assert_close(streamed[:, 0], model(audio[..., :3]).logits, atol=1e-6, rtol=0)


def test_time_is_an_axis_like_any_other() -> None:
    """The convolution's time axis may be the first of the two it slides along."""

    class Turned(Rates):
        def __init__(self, spec: ModelSpec) -> None:
            super().__init__(spec)
            self.turned = nn.Conv2d(1, 2, (5, 40), (2, 1), (1, 0))

        def forward(self, log_mel: Tensor) -> ModelOutput:
            return ModelOutput(self.turned(log_mel.transpose(1, 2).unsqueeze(1)).mean((2, 3)), None)

    model, audio = Turned(ModelSpec()).eval(), torch.randn(1, 40, 30)
    node = next(node for node in graph_of(model).nodes if node.path == "turned")
    assert [own.kinds[0] for own in node.axes][2] == TIME
    assert delay_frames(graph_of(model)) == 1
    with torch.no_grad():
        frames = model.turned(audio.transpose(1, 2).unsqueeze(1))[..., 0]
        streamed = run_stream(model, audio, [7, 23], None)
    assert streamed.shape[1] == (29 - 3) // 2 + 1
    for at in range(streamed.shape[1]):
        torch.testing.assert_close(streamed[:, at], frames[..., : at + 1].mean(-1), atol=1e-6, rtol=0)


def test_a_layer_in_place_leaves_what_a_stream_remembers() -> None:
    """The state of a GRU, made positive for the decision alone."""

    class InPlace(Rates):
        def __init__(self, spec: ModelSpec) -> None:
            super().__init__(spec)
            self.gru, self.out = nn.GRU(40, 4, batch_first=True), nn.Linear(4, 2)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, log_mel: Tensor) -> ModelOutput:
            _, state = self.gru(log_mel.transpose(1, 2))
            return ModelOutput(self.out(self.relu(state[-1])), None)

    model, audio = InPlace(ModelSpec()).eval(), torch.randn(1, 40, 30)
    streamed = run_stream(model, audio, [30], None)
    with torch.no_grad():
        torch.testing.assert_close(streamed[:, -1], model(audio).logits, atol=1e-6, rtol=0)
