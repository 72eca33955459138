from copy import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressors.chain import parse
from models import registry
from models.base import KwsModel, ModelOutput, ModelSpec, count_params
from models.crnn import Crnn, CrnnSpec
from models.errors import ChainError, ModelError
from models.front_end import FrontEnd
from models.graph.frames import frames_of
from models.graph.units import width_groups
from models.task import KeywordTask, WordsTask


@dataclass(frozen=True)
class OtherSpec(ModelSpec):
    width: int = 3


def test_the_base_is_registered() -> None:
    assert "crnn" in registry.names()
    assert registry.family("crnn").default == CrnnSpec()


def test_unknown_names_list_what_exists() -> None:
    with pytest.raises(ModelError, match=r"'crn'.*crnn"):
        registry.family("crn")
    with pytest.raises(ModelError, match=r"OtherSpec.*crnn"):
        registry.build(OtherSpec())


def test_names_and_specifications_are_given_once() -> None:
    with pytest.raises(ModelError, match=r"a model 'crnn' is already registered, by .*crnn\.py; choose"):
        registry.register("crnn", OtherSpec())(Crnn)
    with pytest.raises(
        ModelError, match=r"CrnnSpec already belongs to the model 'crnn', by .*crnn\.py; give"
    ):
        registry.register("twin", CrnnSpec())(Crnn)


def test_the_students_of_the_base_are_those_of_the_study() -> None:
    """Its published counts; with attention the student hears as many frames as the base."""
    crnn = registry.family("crnn")
    assert crnn.student is not None
    assert crnn.aligned is not None
    assert [count_params(registry.build(spec)) for spec in (crnn.student, crnn.aligned)] == [8329, 2445]
    assert frames_of(crnn.aligned).energies == frames_of(crnn.default).energies == 11


def test_a_student_is_of_its_own_family_and_stands_in_for_the_aligned_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_FAMILIES", copy(registry._FAMILIES))

    class Other(KwsModel):
        def forward(self, log_mel: Tensor) -> ModelOutput:
            return ModelOutput(log_mel.mean(-1), None)

    with pytest.raises(ModelError, match=r"other: its student CrnnSpec\(.*\) must be another OtherSpec"):
        registry.register("other", OtherSpec(), student=CrnnSpec())
    registry.register("other", OtherSpec(), student=OtherSpec(1))(Other)
    family = registry.family("other")
    assert (family.student, family.aligned) == (OtherSpec(1), OtherSpec(1))


class Undecorated(ModelSpec):
    width: int = 3


class Unfinished(KwsModel): ...


@pytest.mark.parametrize(
    ("name", "default", "model", "says"),
    [
        ("other", OtherSpec(), OtherSpec, "OtherSpec must be a class that derives from KwsModel"),
        ("other", OtherSpec(), 3, "3 must be a class of torch modules, or a function that makes them"),
        ("other", OtherSpec(), Unfinished, "Unfinished must define forward of KwsModel"),
        ("other", OtherSpec, Crnn, "OtherSpec must be an instance of a class that derives from ModelSpec"),
        ("other", {"width": 3}, Crnn, r"other: \{'width': 3\} must be an instance"),
        ("other", Undecorated(), Crnn, "Undecorated must be a frozen dataclass: put @dataclass"),
        (Crnn, OtherSpec(), Crnn, r"a model needs a name, as in @register\(\"name\"\); got Crnn"),
        (" ", OtherSpec(), Crnn, "a model needs a name"),
    ],
)
def test_what_is_no_model_is_refused(name: Any, default: Any, model: Any, says: str) -> None:
    there = registry.names()
    with pytest.raises(ModelError, match=says):
        registry.register(name, default)(model)
    assert registry.names() == there


class Ordinary(nn.Module):
    """Knows nothing of keyword spotters."""

    def __init__(self, options: OtherSpec) -> None:
        super().__init__()
        self.first, self.out = nn.Conv1d(40, options.width, 3), nn.Linear(options.width, 2)

    def forward(self, log_mel: Tensor) -> Tensor:
        logits: Tensor = self.out(self.first(log_mel).relu().mean(-1))
        return logits


def made(options: OtherSpec) -> nn.Module:
    return Ordinary(options)


@pytest.mark.parametrize("kind", [Ordinary, made])
def test_an_ordinary_module_is_a_family(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FAMILIES", copy(registry._FAMILIES))
    assert registry.register("other", OtherSpec())(kind) is kind
    model, heard = registry.build(OtherSpec(5)).eval(), torch.randn(2, 40, 9)
    assert model.spec == OtherSpec(5)
    assert count_params(model) == 5 * 40 * 3 + 5 + 2 * 5 + 2
    assert model(heard).energies is None
    assert torch.equal(model(heard).logits, model.module(heard))  # type: ignore[operator]
    (group,) = width_groups(model)
    assert (str(group.field), group.size) == ("width", 5)


def test_a_function_that_makes_no_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FAMILIES", copy(registry._FAMILIES))

    def nothing(options: OtherSpec) -> None: ...

    registry.register("other", OtherSpec())(nothing)  # type: ignore[type-var]
    with pytest.raises(ModelError, match="nothing gave None, which is no torch module"):
        registry.build(OtherSpec())


@dataclass(frozen=True)
class ListedSpec(ModelSpec):
    widths: list[int] = field(default_factory=lambda: [3])


def test_a_specification_holds_values_that_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FAMILIES", copy(registry._FAMILIES))
    with pytest.raises(ModelError, match="listed: a specification holds plain values"):
        registry.register("listed", ListedSpec())


@pytest.mark.parametrize("given", [dict, list, lambda logits: (logits, logits, logits)])
def test_a_module_gives_logits_and_perhaps_energies(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FAMILIES", copy(registry._FAMILIES))

    class Odd(Ordinary):
        def forward(self, log_mel: Tensor) -> Any:
            logits = super().forward(log_mel)
            return {"logits": logits} if given is dict else [logits] if given is list else given(logits)

    registry.register("other", OtherSpec())(Odd)
    with pytest.raises(ModelError, match="the forward of Odd must give logits, or logits and energies"):
        registry.build(OtherSpec())(torch.zeros(1, 40, 9))


def test_a_family_takes_what_a_task_needs() -> None:
    task = WordsTask(("yes", "no", "up"), clip_s=1.5, front_end=FrontEnd(20, 32, 20))
    spec = registry.base_spec("crnn", task)
    assert spec == CrnnSpec(n_mels=20, n_classes=3, clip_frames=76)
    assert registry.build(spec)(torch.zeros(2, 20, 76)).logits.shape == (2, 3)
    family = registry.family("crnn").of(task)
    assert (family.student, family.aligned) == (
        CrnnSpec(channels=4, kernel=(15, 5), hidden=21, n_mels=20, n_classes=3, clip_frames=76),
        CrnnSpec(channels=2, hidden=10, n_mels=20, n_classes=3, clip_frames=76),
    )
    assert registry.base_spec("crnn", KeywordTask()) == CrnnSpec()


def test_what_hears_too_few_bands_is_left_out_or_refused() -> None:
    few = KeywordTask(front_end=FrontEnd(mels=10))
    family = registry.family("crnn").of(few)
    assert family.student is None
    assert family.aligned is not None
    with pytest.raises(ModelError, match="bc-resnet: n_mels=10 must be a multiple of 40"):
        registry.base_spec("bc-resnet", few)


def test_a_specification_without_the_fields_is_used_as_it_is_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_FAMILIES", copy(registry._FAMILIES))

    class Other(KwsModel):
        def forward(self, log_mel: Tensor) -> ModelOutput:
            return ModelOutput(log_mel.mean(-1), None)

    registry.register("other", OtherSpec())(Other)
    assert registry.base_spec("other", KeywordTask("go", clip_s=2.0)) == OtherSpec(clip_frames=201)
    with pytest.raises(ModelError, match=r"other: the task has 40 mel bands and 3 classes, and OtherSpec no"):
        registry.base_spec("other", WordsTask(("yes", "no", "up")))


def test_students_are_held_to_the_clips_of_their_task() -> None:
    """Kernels of 20 and 15 frames, a step of 8: as many windows of 101 frames, not of 151."""
    chain = "ad:kernel=5x15,hidden=10,channels=2+kd"
    parse(chain, registry.base_spec("crnn", KeywordTask()))
    with pytest.raises(ChainError, match="the base attends to 17 frames a clip and the student to 18"):
        parse(chain, registry.base_spec("crnn", KeywordTask(clip_s=1.5)))
