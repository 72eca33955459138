from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import pytest
from torch import Tensor, nn

from bench.terminal.catalogue import catalogue
from compressors.chain import parse
from compressors.registry import options, read
from models import registry
from models.base import KwsModel, ModelOutput, ModelSpec, spec_values
from models.crnn import CrnnSpec
from models.errors import ChainError, KwsError
from tests.zoo import SPECS, CausalSpec, DepthwiseSpec, ResidualSpec, name_of

BASE = CrnnSpec()
KINDS = ("kd", "ad", "fd")


@dataclass(frozen=True)
class ScaledSpec(ModelSpec):
    """Fields of every kind that a specification may have."""

    width: float = 1.0
    widths: tuple[int, ...] = (8, 6)
    scales: tuple[float, ...] = (1.0,)
    norm: bool = True
    kind: str = "plain"
    alpha: int = 3
    inner: CrnnSpec | None = None
    n_mels: int = 40
    n_classes: int = 2


class Scaled(KwsModel):
    def __init__(self, spec: ScaledSpec) -> None:
        super().__init__(spec)
        self.out = nn.Linear(spec.n_mels, spec.n_classes)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        return ModelOutput(self.out(log_mel.mean(-1)), None)


@pytest.fixture(autouse=True)
def all_registered(zoo_registered: None) -> None:
    registry.register("scaled", ScaledSpec())(Scaled)


@pytest.mark.parametrize("token", KINDS)
@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_every_size_of_every_model_is_an_option(spec: ModelSpec, token: str) -> None:
    """Halved, or of a tuple with one in the first place, each makes the student that ``replace`` makes."""
    for field in fields(spec):
        value = getattr(spec, field.name)
        less = (1, *value[1:]) if isinstance(value, tuple) else type(value)(value / 2)
        text = "x".join(map(str, less)) if isinstance(less, tuple) else str(less)
        if field.name in ("n_mels", "n_classes") or field.metadata.get("added_later"):
            with pytest.raises(ChainError, match=f"cannot read option '{field.name}="):
                parse(f"{token}:{field.name}={text}", spec)
            continue
        found, canonical = read(f"{token}:{field.name}={text}", spec)
        assert canonical == f"{token}:{field.name}={text}"
        try:
            expected = replace(spec, **{field.name: less})
        except KwsError:
            continue
        assert found.student(spec) == expected


@pytest.mark.parametrize(
    ("text", "canonical", "student"),
    [
        ("kd:width=0.50", "kd:width=0.5", ScaledSpec(width=0.5)),
        ("kd:widths=8x4x2x1", "kd:widths=8x4x2x1", ScaledSpec(widths=(8, 4, 2, 1))),
        ("kd:widths=5", "kd:widths=5", ScaledSpec(widths=(5,))),
        ("kd:scales=0.50x1e99", "kd:scales=0.5x1e99", ScaledSpec(scales=(0.5, 1e99))),
        ("kd:norm=FALSE,kind=thin", "kd:norm=False,kind=thin", ScaledSpec(norm=False, kind="thin")),
        # What the compressor has itself under that name is its own.
        ("kd:alpha=0.5,width=0.5", "kd:width=0.5,alpha=0.5", ScaledSpec(width=0.5)),
    ],
)
def test_sizes_are_read_by_their_types(text: str, canonical: str, student: ModelSpec) -> None:
    chain = parse(text, ScaledSpec())
    assert (chain.text, chain.student(ScaledSpec())) == (canonical, student)
    assert parse(canonical, ScaledSpec()) == chain
    names = [option.name for option in options(type(chain.parts[0]), ScaledSpec())]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("text", "base", "says"),
    [
        (
            "kd:hiden=3",
            BASE,
            "kd: cannot read option 'hiden=3'; its options: channels=, kernel=, stride=, hidden=, "
            "attention=, layers=, dropout=, alpha=, temperature=",
        ),
        (
            "kd:hidden=3",
            ScaledSpec(),
            "kd: cannot read option 'hidden=3'; its options: width=, widths=, scales=, norm=, kind=, alpha=, "
            "temperature=",
        ),
        ("kd:inner=3", ScaledSpec(), "kd: cannot read option 'inner=3'; its options: .*"),
        (
            "kd:widths=8xfew",
            ScaledSpec(),
            "kd: widths=8xfew must be any number of whole numbers joined by x, .*",
        ),
        ("kd:width=wide", ScaledSpec(), "kd: width=wide must be a finite number such as 0.5 or 1e3"),
        (
            "kd",
            DepthwiseSpec(),
            "kd: the student is the base itself, nothing gets smaller; its sizes are channels=8, wide=6; "
            "give some of them smaller",
        ),
        (
            "ad:channels=4",
            DepthwiseSpec(),
            "ad: DepthwiseSpec has no attention over time .*; fd works without",
        ),
        ("ad+kd:kernel=15x5", BASE, ".*frames a clip and the student to 13; .* channels=2,hidden=10 does"),
        (
            "kd:widths=8x8x12",
            ResidualSpec(),
            ".*kd:widths=8x8x12: a model of 3,058 parameters, more than the base's 1,686; .*",
        ),
        (
            "kd:widths=8x8",
            ResidualSpec(),
            r"kd:widths=8x8: a model of these sizes cannot be built \(not enough .*",
        ),
    ],
)
def test_what_is_no_student_is_refused(text: str, base: ModelSpec, says: str) -> None:
    with pytest.raises(ChainError, match=f"^{says}$"):
        parse(text, base)


@dataclass(frozen=True)
class MaybeSpec(ModelSpec):
    hidden: int = 8
    attends: bool = True


class Maybe(KwsModel):
    """Energies only where the specification says so."""

    def __init__(self, spec: MaybeSpec) -> None:
        super().__init__(spec)
        self.inner, self.out = nn.Linear(40, spec.hidden), nn.Linear(spec.hidden, 2)
        self.energy = nn.Linear(spec.hidden, 1)

    def forward(self, log_mel: Tensor) -> ModelOutput:
        frames = self.inner(log_mel.transpose(1, 2))
        energies = self.energy(frames).squeeze(-1)
        context = (energies.softmax(1).unsqueeze(-1) * frames).sum(1)
        return ModelOutput(self.out(context), energies if self.spec.attends else None)


def test_a_student_that_does_not_attend_learns_no_attention() -> None:
    registry.register("maybe", MaybeSpec())(Maybe)
    assert parse("ad:hidden=4", MaybeSpec()).label == "AD(hidden=4)", "no word on attention is needed"
    with pytest.raises(
        ChainError, match=r"^ad: the student has no attention over time .*; fd works without$"
    ):
        parse("ad:hidden=4,attends=false", MaybeSpec())
    with pytest.raises(
        ChainError, match=r"^ad: maybe has no attention over time to learn from; fd works without$"
    ):
        parse("ad:hidden=4", MaybeSpec(attends=False))


@pytest.mark.parametrize(
    ("text", "student"),
    [
        ("kd", MaybeSpec(hidden=5)),
        ("dq+kd", MaybeSpec(hidden=5)),
        ("ad", MaybeSpec(hidden=3)),
        ("fd", MaybeSpec(hidden=3)),
        ("fd+kd", MaybeSpec(hidden=3)),
        ("ad+fd+kd", MaybeSpec(hidden=3)),
        ("kd:hidden=4", MaybeSpec(hidden=4)),
        ("fd:hidden=4+kd", MaybeSpec(hidden=4)),
        ("sp+kd", MaybeSpec()),
        ("sp+kd:hidden=7", MaybeSpec(hidden=7)),
    ],
)
def test_a_family_has_its_students(text: str, student: ModelSpec) -> None:
    """That with the base's frames wherever frames are compared; none where pruning starts from the base."""
    registry.register("maybe", MaybeSpec(), student=MaybeSpec(5), aligned=MaybeSpec(3))(Maybe)
    assert parse(text, MaybeSpec()).student(MaybeSpec()) == student


def test_a_plugin_s_attention_is_learned_from_as_it_is() -> None:
    chain = parse("ad:width=4", CausalSpec())
    assert chain.student(CausalSpec()) == CausalSpec(width=4)


@pytest.mark.parametrize(
    ("text", "share"), [("kd", 1.0), ("ad+kd", 0.5), ("fd+ad", 0.5), ("ad+fd+kd", 1 / 3)]
)
def test_distillations_share_their_weight(text: str, share: float) -> None:
    chain = parse(text + ":hidden=9", BASE)
    assert [part.task_share() for part in chain.parts] == [pytest.approx(0.95 * share)] * len(chain.parts)
    assert chain.task_share() == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (
            "kd",
            [
                {
                    "channels": 4,
                    "kernel": (15, 5),
                    "hidden": 21,
                    "alpha": 0.95,
                    "temperature": 2.0,
                    "share": 1.0,
                }
            ],
        ),
        (
            "ad+kd",
            [
                {
                    "channels": 2,
                    "kernel": (5, 20),
                    "hidden": 10,
                    "alpha": 0.95,
                    "temperature": 2.0,
                    "share": 0.5,
                },
                {
                    "channels": None,
                    "kernel": None,
                    "hidden": None,
                    "alpha": 0.95,
                    "temperature": 2.0,
                    "share": 0.5,
                },
            ],
        ),
        ("sp:channels=2", [{"keep": 0.25, "channels": 2, "hidden": 0, "attention": 0, "decay": 10.0}]),
    ],
)
def test_runs_keep_their_names(text: str, settings: list[dict[str, Any]]) -> None:
    """What a run's folder is named after, as it was when these sizes were fields of the compressors."""
    assert [part.settings() for part in parse(text, BASE).parts] == settings


def test_the_list_says_that_sizes_are_the_model_s() -> None:
    lines = catalogue()["compressors"]
    assert "      options: the sizes of the model, alpha=0.95, temperature=2" in lines
    assert "      options: the widths of the model, keep=0.25, decay=10" in lines
    assert not [option for option in options(type(parse("kd", BASE).parts[0])) if option.holder]
    assert asdict(parse("kd", BASE).parts[0])["sizes"].keys() <= spec_values(BASE).keys()
