"""From a forward in torch to a program; that it computes the same is in tests/test_every_family.py."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import KwsModel, ModelOutput, ModelSpec
from models.crnn import CrnnSpec
from models.errors import ModelError
from models.graph.fold import folded
from models.integer.lower import lowered
from models.integer.lowering import Dropout
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
    Op,
    Pick,
    Pool,
)
from models.integer.real import run
from models.registry import build


class Small(KwsModel):
    """A convolution, something in the middle, a classifier behind a mean."""

    def __init__(self, middle: Callable[[Any, Tensor], Tensor], width: int = 4) -> None:
        super().__init__(ModelSpec())
        self.first = nn.Conv2d(1, 4, (4, 3), (4, 1))
        self.second = nn.Conv2d(1, 4, (4, 3), (4, 1))
        self.middle = middle
        self.scale = nn.Parameter(torch.rand(4, 1, 1) + 0.5)
        self.everywhere = nn.Parameter(torch.rand(4, 10, 1))
        self.gru = nn.GRU(40, 5, batch_first=True)
        self.energy = nn.Linear(5, 1)
        self.turned = nn.Conv2d(1, 2, (3, 5), padding=(1, 2))
        self.out = nn.Linear(width, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.out(self.middle(self, log_mel)), None)


def over_time(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def image(model: Any, heard: Tensor) -> Tensor:
    found: Tensor = model.first(heard.unsqueeze(1))
    return found


def attended(model: Any, x: Tensor, how: str) -> Tensor:
    outputs, _ = model.gru(x.transpose(1, 2))
    shares = torch.softmax(model.energy(outputs) / 2, 1)
    if how == "bmm":
        return torch.bmm(shares.transpose(1, 2), outputs).squeeze(1)
    if how == "matmul":
        return torch.matmul(outputs.transpose(1, 2), shares).squeeze(-1)
    return (outputs * shares).sum(1)


FORWARDS: dict[str, tuple[Callable[[Any, Tensor], Tensor], int, list[type[Op]]]] = {
    "twice read": (
        lambda m, x: over_time(torch.relu(y := image(m, x)) + y),
        4,
        [Conv, Add, Add, Pool, MeanTime, Conv],
    ),
    "minus": (
        lambda m, x: over_time(functional.silu(m.first(x[:, None]) - m.second(x[:, None]))),
        4,
        [Conv, Conv, Add, Pool, MeanTime, Conv],
    ),
    "numbers": (
        lambda m, x: over_time(1 - image(m, x) / 2 * 3 + 0.5),
        4,
        [Conv, Conv, Conv, Conv, Conv, Pool, MeanTime, Conv],
    ),
    "parameters": (
        lambda m, x: over_time(image(m, x) * m.scale + m.everywhere),
        4,
        [Conv, Conv, Conv, Pool, MeanTime, Conv],
    ),
    "gate": (
        lambda m, x: over_time(
            (y := image(m, x)) * torch.sigmoid(m.second(x[:, None]).mean(2, keepdim=True)) + y
        ),
        4,
        [Conv, Conv, Pool, Mul, Add, Pool, MeanTime, Conv],
    ),
    "a number a row of a square": (
        lambda m, x: over_time((y := image(m, x)[:, :, :4]) * torch.sigmoid(y[:, :1])),
        4,
        [Conv, Pick, Pick, Add, Pick, Mul, Pool, MeanTime, Conv],
    ),
    "rows behind channels": (
        lambda m, x: functional.relu6(image(m, x).permute(0, 3, 2, 1).flatten(2)).mean(1)[:, 5:9],
        4,
        [Conv, Pick, Add, MeanTime, Pick, Conv],
    ),
    "concatenated": (
        lambda m, x: over_time(torch.cat([image(m, x), torch.tanh(m.second(x[:, None]))], 1))[:, 2:6],
        4,
        [Conv, Conv, Concat, Pool, MeanTime, Pick, Conv],
    ),
    "concatenated rows": (
        lambda m, x: over_time(torch.cat([image(m, x), m.second(x[:, None])], 2)),
        4,
        [Conv, Conv, Concat, Pick, Pool, MeanTime, Conv],
    ),
    "last": (lambda m, x: m.gru(x.transpose(1, 2))[0][:, -1, :4], 4, [Gru, Last, Pick, Conv]),
    "state": (lambda m, x: m.gru(x.transpose(1, 2))[1][-1], 5, [Gru, Last, Conv]),
    "only state": (lambda m, x: m.gru(x.transpose(1, 2))[1].squeeze(0), 5, [Gru, Last, Conv]),
    "bmm": (lambda m, x: attended(m, x, "bmm"), 5, [Gru, Conv, Conv, Attend, Conv]),
    "matmul": (lambda m, x: attended(m, x, "matmul"), 5, [Gru, Conv, Conv, Attend, Conv]),
    "written out": (lambda m, x: attended(m, x, "sum"), 5, [Gru, Conv, Conv, Attend, Conv]),
    "padded": (
        lambda m, x: over_time(m.first(functional.pad(x[:, None], (2, 0, 4, 0)))),
        4,
        [Conv, Pool, MeanTime, Conv],
    ),
    "padded twice": (
        lambda m, x: over_time(m.first(functional.pad(functional.pad(x[:, None], (0, 1)), (1, 0, 2, 2)))),
        4,
        [Conv, Pool, MeanTime, Conv],
    ),
    "largest row": (lambda m, x: image(m, x).amax(2).mean(-1), 4, [Conv, Pool, MeanTime, Conv]),
    "time first": (
        lambda m, x: m.turned(x.transpose(1, 2).unsqueeze(1)).mean((2, 3)),
        2,
        [Conv, Pool, MeanTime, Conv],
    ),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_forwards_by_hand(name: str, device: torch.device) -> None:
    torch.manual_seed(0)
    middle, width, kinds = FORWARDS[name]
    model = Small(middle, width).eval()
    heard = torch.randn(3, 40, 30)
    form = lowered(model)
    assert [type(op) for op in form.program] == [Input, *kinds]
    expected = model(heard).logits
    found, _ = run(form.program, form.matrices(model.to(device)), heard.to(device))
    assert found.device == device
    torch.testing.assert_close(found.cpu(), expected, atol=1e-5, rtol=0)
    assert form.program[-1].gives is Gives.LOGITS  # type: ignore[attr-defined]


def test_the_reference_family_by_hand() -> None:
    model = build(CrnnSpec(channels=2, hidden=10)).eval()
    form = lowered(folded(model))
    assert form.program == (
        Input(mels=40),
        Conv(inputs=(0,), channels=2, kernel_mel=5, kernel_time=20, stride_mel=2, stride_time=8),
        Gru(inputs=(1,), hidden=10),
        Gru(inputs=(2,), hidden=10),
        Conv(inputs=(3,), channels=10, act=Act.TANH),
        Conv(inputs=(4,), channels=1, gives=Gives.ENERGY),
        Attend(inputs=(5, 3)),
        Conv(inputs=(6,), channels=2, gives=Gives.LOGITS),
    )
    assert form.names[:6] == ("input", "conv", "gru.0", "gru.1", "attention.0", "attention.2")
    assert form.names[7] == "classifier"
    assert form.dropouts == {2: Dropout(0.1, False)}


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "gelu has no integer form": (lambda m, x: over_time(functional.gelu(image(m, x))), "gelu"),
    "channels": (
        lambda m, x: image(m, x).mean(1).mean(-1)[:, :4],
        "a mean over channels has no integer form",
    ),
    "quotient": (lambda m, x: over_time(image(m, x) / m.second(x[:, None])), "truediv has no integer form"),
    "sum": (lambda m, x: image(m, x).sum((2, 3)), "sum has no integer form"),
    "class softmax": (
        lambda m, x: torch.softmax(over_time(image(m, x)), 1),
        "a softmax that is not over time",
    ),
    "excite": (
        lambda m, x: over_time(image(m, x) * torch.sigmoid(image(m, x).mean((2, 3), keepdim=True))),
        "what moves meets what does not",
    ),
    "padding alone": (
        lambda m, x: over_time(functional.pad(image(m, x), (1, 2))),
        "frames of zeros must stand right before a window over time",
    ),
    "parameters alone": (
        lambda m, x: over_time(image(m, x) * (m.scale * 0.5)),
        "arithmetic on parameters alone",
    ),
    "by nothing": (lambda m, x: over_time(image(m, x) / 0), "truediv has no integer form"),
    "a list": (lambda m, x: over_time(image(m, x))[:, [0, 2, 1, 3]], "a choice by a list or a tensor"),
    "two maxima": (lambda m, x: image(m, x).amax((2, 3)), "amax has no integer form"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_integer_form_is_named(name: str) -> None:
    middle, says = REFUSED[name]
    with pytest.raises(ModelError, match=says):
        lowered(Small(middle).eval())


def test_logits_of_each_frame_are_refused() -> None:
    class Each(Small):
        def forward(self, log_mel: Tensor) -> ModelOutput:
            return ModelOutput(self.energy(self.gru(log_mel.transpose(1, 2))[0]), None)

    with pytest.raises(ModelError, match="logits of each frame"):
        lowered(Each(over_time).eval())  # type: ignore[arg-type]


class Dropped(Small):
    """What training leaves out: channels of a value, numbers behind a curve, and what another reads too."""

    def __init__(self) -> None:
        super().__init__(over_time)
        self.whole, self.some = nn.Dropout2d(0.25), nn.Dropout(0.5)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        x = self.whole(image(self, log_mel)).relu()
        y = torch.tanh(self.some(self.second(log_mel[:, None])))
        return ModelOutput(self.out(over_time(x + self.some(y) + y)), None)


def test_what_training_leaves_out_is_known() -> None:
    form = lowered(Dropped().eval())
    assert [type(op) for op in form.program[1:5]] == [Conv, Conv, Add, Add]
    assert form.dropouts == {1: Dropout(0.25, True)}
