import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from compressors.base import TrainStep
from compressors.chain import parse
from compressors.losses import group_penalty, softened_kl
from models.base import ModelOutput
from models.crnn import CrnnSpec
from models.registry import build

BASE = CrnnSpec()


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("shape", [(7, 2), (5, 11)])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_softened_kl_is_its_definition(shape: tuple[int, int], temperature: float) -> None:
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=shape), rng.normal(size=shape)
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = (
        temperature**2
        * sum(p[i, j] * math.log(p[i, j] / q[i, j]) for i in range(shape[0]) for j in range(shape[1]))
        / (shape[0] * shape[1])
    )
    found = softened_kl(torch.tensor(student), torch.tensor(teacher), temperature)
    assert found.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore:reduction. 'mean':UserWarning")
def test_the_chain_s_loss_is_the_studys() -> None:
    """alpha T^2 / 2 of each divergence by torch's default reduction, (1 - alpha) cross-entropy."""
    torch.manual_seed(0)
    chain, model = parse("ad+kd", BASE), build(CrnnSpec(channels=2, hidden=10))
    student = ModelOutput(torch.randn(6, 2), torch.randn(6, 11))
    teacher = ModelOutput(torch.randn(6, 2), torch.randn(6, 11))
    labels = torch.randint(2, (6,))
    terms = chain.loss_terms(TrainStep(model, student, teacher, labels))
    found = (1 - chain.task_share()) * functional.cross_entropy(student.logits, labels) + sum(terms.values())

    def divergence(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        return functional.kl_div(functional.log_softmax(ours / 2, 1), functional.softmax(theirs / 2, 1))

    assert student.energies is not None
    assert teacher.energies is not None
    alpha, half = 0.95, 0.95 * 2**2 / 2
    expected = (
        half * divergence(student.logits, teacher.logits)
        + half * divergence(student.energies, teacher.energies)
        + (1 - alpha) * functional.cross_entropy(student.logits, labels)
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.filterwarnings("ignore:reduction. 'mean':UserWarning")
def test_alone_dark_knowledge_has_all_of_the_weight() -> None:
    chain = parse("kd:alpha=0.9,temperature=3", BASE)
    student, teacher = torch.randn(6, 2), torch.randn(6, 2)
    step = TrainStep(
        build(BASE), ModelOutput(student, None), ModelOutput(teacher, None), torch.zeros(6).long()
    )
    expected = 0.9 * 9 * functional.kl_div((student / 3).log_softmax(1), (teacher / 3).softmax(1))
    assert chain.loss_terms(step)["dark_knowledge"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert chain.task_share() == pytest.approx(0.9)


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = torch.randn(3, 2, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    softened_kl(student, teacher, 2.0).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert teacher.grad is None


def test_the_penalty_s_gradient_is_adam_s_weight_decay() -> None:
    """What the study wrote as weight_decay=10 and this toolkit as a loss term is one and the same step."""
    start = torch.randn(8)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    by_term = torch.optim.Adam([ours], lr=0.01)
    by_decay = torch.optim.Adam([theirs], lr=0.01, weight_decay=10.0)
    for _ in range(20):
        for weights, optimizer in ((ours, by_term), (theirs, by_decay)):
            optimizer.zero_grad()
            loss = weights.sin().sum() + (
                group_penalty([weights], [torch.ones_like(weights)], 10.0) if weights is ours else 0.0
            )
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert not torch.allclose(ours, start)
