from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressors.base import TrainStep
from compressors.chain import Chain, parse
from compressors.losses import frame_similarity, similarity_distance
from compressors.taps import listening
from models import registry
from models.base import KwsModel, ModelOutput, ModelSpec
from models.crnn import CrnnSpec
from models.errors import ChainError
from models.gru import GruSpec
from tests.zoo import CausalSpec, DepthwiseSpec, ResidualSpec, SplitSpec, model_of, name_of

BASE = CrnnSpec()
# A student of each family, as its options.
STUDENTS: dict[ModelSpec, str] = {
    BASE: "",
    GruSpec(): ":hidden=8",
    ResidualSpec(): ":widths=4x5x3",
    DepthwiseSpec(): ":wide=3",
    CausalSpec(): ":hidden=3",
    SplitSpec(): ":channels=4",
}


pytestmark = pytest.mark.usefixtures("zoo_registered")


def test_the_distance_is_that_by_hand() -> None:
    """Frames (3, 4), (0, 0), (8, 6): inner products 25, 48 | 48, 100. The student's frames are all alike."""
    teacher = frame_similarity(torch.tensor([[[3.0, 4.0], [0.0, 0.0], [8.0, 6.0]]]))
    first, last = np.array([25, 0, 48]) / np.hypot(25, 48), np.array([48, 0, 100]) / np.hypot(48, 100)
    np.testing.assert_allclose(teacher[0].numpy(), [first, [0, 0, 0], last], rtol=1e-6)
    student = frame_similarity(torch.tensor([[[2.0], [0.0], [2.0]]]))
    even = np.array([1, 0, 1]) / np.sqrt(2)
    expected = (((even - first) ** 2).sum() + 0 + ((even - last) ** 2).sum()) / 3
    assert similarity_distance(student, teacher).item() == pytest.approx(expected, rel=1e-6)


def test_loudness_and_rotation_of_all_frames_do_not_matter() -> None:
    torch.manual_seed(0)
    frames, turn = torch.randn(2, 7, 5), torch.linalg.qr(torch.randn(5, 5))[0]
    torch.testing.assert_close(
        frame_similarity(3 * frames @ turn), frame_similarity(frames), atol=1e-6, rtol=0
    )


def test_no_gradient_reaches_the_teacher_and_silence_is_no_trouble() -> None:
    """A frame of zeros, one that is next to nothing, and a clip of nothing."""
    torch.manual_seed(0)
    loudness = torch.tensor([[1.0, 1, 1, 0, 1e-9], [0, 0, 0, 0, 0]]).unsqueeze(2)
    student = (torch.randn(2, 5, 3) * loudness).requires_grad_()
    teacher = torch.randn(2, 5, 4, requires_grad=True)
    similarity_distance(frame_similarity(student), frame_similarity(teacher)).backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert 0 < student.grad.abs().max() < 1000


def loss_of(chain: Chain, base: KwsModel, student: KwsModel, clips: Tensor) -> Tensor:
    with torch.no_grad(), listening(base, chain.teacher_taps(base.spec)) as theirs:
        taught: ModelOutput = base(clips)
    with listening(student, chain.student_taps(student.spec)) as ours:
        output = student(clips)
    step = TrainStep(student, output, taught, torch.zeros(len(clips)).long(), ours, theirs)
    return torch.stack(list(chain.loss_terms(step).values())).sum()


@pytest.mark.parametrize("spec", STUDENTS, ids=name_of)
def test_every_family_learns_from_its_frames(spec: ModelSpec) -> None:
    """The loss falls; of the base itself, from which there is nothing to learn, it is 0."""
    chain = parse(f"fd{STUDENTS[spec]}", spec)
    assert chain.needs_teacher()
    base, student = model_of(spec), model_of(chain.student(spec), seed=1).train()
    clips = torch.randn(8, 40, 101)
    assert loss_of(chain, base, base, clips).item() == pytest.approx(0, abs=1e-6)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        torch.manual_seed(0)  # the same dropout
        loss = loss_of(chain, base, student, clips)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_layer_that_is_written_over_can_be_learned_from() -> None:
    """``y += shortcut``: the layer's output is no more there when gradients are taken."""
    chain = parse("fd:widths=4x5x3,node=norms.2,teacher=norms.4", ResidualSpec())
    assert chain.text == "fd:widths=4x5x3,node=norms.2,teacher=norms.4"
    base, student = model_of(ResidualSpec()), model_of(chain.student(ResidualSpec()), seed=1)
    clips = torch.randn(2, 40, 101)
    loss_of(chain, base, student, clips).backward()  # type: ignore[no-untyped-call]
    assert student.get_parameter("main.1.weight").grad is not None
    # By hand, from what the two layers give.
    seen: list[Tensor] = []
    for model, path in ((base, "norms.4"), (student, "norms.2")):
        model.get_submodule(path).register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
        model(clips)
    rows = []
    for output in seen:
        gram = np.einsum("bct,bcu->btu", *[output.detach().double().numpy()] * 2)
        rows.append(gram / np.linalg.norm(gram, axis=2, keepdims=True))
    expected = 0.95 * ((rows[1] - rows[0]) ** 2).sum(2).mean()
    assert loss_of(chain, base, student, clips).item() == pytest.approx(expected, rel=1e-4)


@dataclass(frozen=True)
class DullSpec(ModelSpec):
    width: int = 3


class Dull(KwsModel):
    """Gives time up before any layer."""

    def __init__(self, spec: DullSpec) -> None:
        super().__init__(spec)
        self.inner, self.out = nn.Linear(40, spec.width), nn.Linear(spec.width, 2)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.out(self.inner(log_mel.mean(-1))), None)


def test_a_model_without_frames_in_any_layer_is_refused() -> None:
    registry.register("dull", DullSpec())(Dull)
    with pytest.raises(
        ChainError, match=r"^fd: no layer of dull gives frames over time .*; kd works without$"
    ):
        parse("fd:width=2", DullSpec())
    assert parse("kd:width=2", DullSpec()).needs_teacher()


@pytest.mark.parametrize(
    ("text", "base", "says"),
    [
        (
            "fd:node=gru.0",
            BASE,
            "fd: node=gru.0: no layer of crnn with frames over time; there is: conv, gru, ",
        ),
        ("fd:teacher=", BASE, "fd: teacher=: no layer of crnn with frames over time; there is: conv, gru, "),
        ("fd:node=classifier", BASE, "fd: node=classifier: no layer of crnn with frames"),
        (
            "fd+kd:kernel=15x5",
            BASE,
            "fd: 'gru' of the base has 11 frames a clip and 'gru' of the student 13; give the student sizes "
            "that leave as many, as channels=2,hidden=10 does",
        ),
        (
            "fd:wide=3,node=pool,teacher=point",
            DepthwiseSpec(),
            "fd: 'point' of the base has 50 frames a clip and 'pool' of the student 25; give",
        ),
        ("fd:alpha=0", BASE, "fd: alpha=0.0 must be above 0"),
        (
            "fd:temperature=2",
            BASE,
            "fd: cannot read option 'temperature=2'; its options: .*alpha=, node=, teacher=",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(text: str, base: ModelSpec, says: str) -> None:
    with pytest.raises(ChainError, match=f"^{says}") as refused:
        parse(text, base)
    assert "\n" not in str(refused.value)
