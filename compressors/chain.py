"""Chains of compressors: how they are written, which work, and how they act as one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from compressors.base import Compressor, Phase, TrainStep
from compressors.registry import read, written
from compressors.taps import Tap
from models.base import KwsModel, ModelSpec, count_params, size_names
from models.budget import refuse_larger
from models.errors import ChainError, ModelError


@dataclass(frozen=True)
class Chain(Compressor):
    """Compressors that act as one, in the order in which they act: DQ(SP(AD(KD(base)))) is kd first.

    Attributes:
        parts: The compressors, first to last.
        text: The chain as it is written, last to first.
    """

    parts: tuple[Compressor, ...] = ()
    text: str = ""

    @property
    def label(self) -> str:
        """The chain's name in tables; the base alone is B."""
        if not self.text:
            return "B"
        shown = "+".join(_token_label(piece) for piece in self.text.split("+"))
        return f"{shown}+B" if all(part.phase is Phase.CONVERT for part in self.parts) else shown

    @property
    def trained(self) -> Chain:
        """The chain without its conversion: the stage that is trained."""
        return self._only(lambda part: part.phase is not Phase.CONVERT)

    @property
    def converts(self) -> bool:
        """Whether the form that ships differs from the float form."""
        return any(part.phase is Phase.CONVERT for part in self.parts)

    @property
    def tuning(self) -> Chain:
        """What acts while a converter trains on; without parts where none does."""
        if not any(part.tunes for part in self.parts):
            return Chain()
        return self._only(lambda part: part.tunes or (part.phase is Phase.TRAIN and part.goes_on))

    def _only(self, wanted: Callable[[Compressor], bool]) -> Chain:
        pieces = self.text.split("+") if self.text else []
        kept = [(p, piece) for p, piece in zip(self.parts, reversed(pieces), strict=True) if wanted(p)]
        return Chain(tuple(part for part, _ in kept), "+".join(piece for _, piece in reversed(kept)))

    def check(self, base: ModelSpec, student: ModelSpec) -> None:
        """Each part's own rules."""
        for part in self.parts:
            part.check(base, student)

    def student(self, spec: ModelSpec) -> ModelSpec:
        """The architecture to train, each part on what the one before it made."""
        for part in self.parts:
            spec = part.student(spec)
        return spec

    def prepare(self, model: KwsModel) -> KwsModel:
        """Each part in turn."""
        for part in self.parts:
            model = part.prepare(model)
        return model

    def needs_teacher(self) -> bool:
        """Whether any part learns from the base."""
        return any(part.needs_teacher() for part in self.parts)

    def student_taps(self, student: ModelSpec) -> Mapping[str, Tap]:
        """The taps of all parts."""
        return {name: tap for part in self.parts for name, tap in part.student_taps(student).items()}

    def teacher_taps(self, base: ModelSpec) -> Mapping[str, Tap]:
        """The taps of all parts."""
        return {name: tap for part in self.parts for name, tap in part.teacher_taps(base).items()}

    def task_share(self) -> float:
        """What all parts together take over of the task loss's weight."""
        return sum(part.task_share() for part in self.parts)

    def loss_terms(self, step: TrainStep) -> Mapping[str, Tensor]:
        """The terms of all parts."""
        return {name: term for part in self.parts for name, term in part.loss_terms(step).items()}

    def surgery(self, model: KwsModel) -> KwsModel:
        """Each part in turn.

        Raises:
            ChainError: A part that cuts has cut nothing.
        """
        for part in self.parts:
            smaller = part.surgery(model)
            cuts = part.phase is Phase.SURGERY and type(part).surgery is not Compressor.surgery
            if cuts and count_params(smaller) >= count_params(model):
                raise ChainError(
                    f"{part.token} changed nothing: the model still has {count_params(model)} parameters"
                )
            model = smaller
        return model

    def calibrate(self, model: KwsModel, log_mel: Tensor) -> KwsModel:
        """Each part in turn."""
        for part in self.parts:
            model = part.calibrate(model, log_mel)
        return model

    def convert(self, model: KwsModel) -> nn.Module:
        """At most one part converts.

        Raises:
            ChainError: It converted nothing.
        """
        for part in self.parts:
            if part.phase is Phase.CONVERT:
                converted = part.convert(model)
                if _layout(converted) == _layout(model):
                    raise ChainError(f"{part.token} changed nothing: every layer is as it was")
                return converted
        return model


def parse(text: str, base: ModelSpec) -> Chain:
    """Reads a chain such as ``dq+sp+ad+kd:hidden=12,kernel=13x5`` and refuses what cannot work.

    Training compressors commute: ``kd+ad`` is read as ``ad+kd``, and the canonical text is the chain's
    identity. The empty text, and ``base``, are the base alone.

    Args:
        text: Tokens joined by ``+``, the last to act first; options behind a colon.
        base: The architecture that the chain starts from.

    Raises:
        ChainError: An unknown token or option, a token twice, an order or a combination that can't work.

    Examples:
        >>> from models.crnn import CrnnSpec
        >>> parse("sp+kd+ad", CrnnSpec()).label
        'SP+AD+KD'
    """
    written = [read(piece, base) for piece in _pieces(text)]
    _check_order([part for part, _ in written])
    acting = sorted(written, key=lambda pair: (-pair[0].phase, pair[0].token), reverse=True)
    tokens = frozenset(part.token for part, _ in acting)
    chain = Chain(
        tuple(part.in_chain(tokens, base) for part, _ in acting),
        "+".join(piece for _, piece in reversed(acting)),
    )
    try:
        student = chain.student(base)
        refuse_larger(student, base)
    except ModelError as error:
        raise ChainError(f"{text}: {error}") from None
    chain.check(base, student)
    _check_effect(chain, base, student)
    return chain


def _pieces(text: str) -> list[str]:
    """What stands between the plus signs; nothing for the base alone."""
    if text.strip().lower() in ("", "base"):
        return []
    if signed := re.search(r"\S*\+\s*[0-9]\S*", text):
        raise ChainError(
            f"{signed[0]}: a plus joins compressors, and none begins with a digit; write numbers without "
            "a plus, such as 1e3 or 12"
        )
    pieces = [piece.strip() for piece in text.split("+")]
    if not all(pieces):
        raise ChainError(
            f"{text.strip()!r}: nothing stands on one side of a plus; write dq+kd, or base for the base alone"
        )
    return pieces


def _check_effect(chain: Chain, base: ModelSpec, student: ModelSpec) -> None:
    """Refuses a chain that trains the base once more instead of something smaller."""
    trained = chain.trained.parts
    if trained and student == base and all(part.phase is Phase.TRAIN for part in trained):
        sizes = ", ".join(f"{name}={written(getattr(base, name))}" for name in size_names(base))
        raise ChainError(
            f"{chain.text}: the student is the base itself, nothing gets smaller; its sizes are {sizes}; "
            "give some of them smaller"
        )


def _check_order(written: list[Compressor]) -> None:
    """Refuses repetitions, two converters, and anything after a conversion or a cut that must precede it."""
    tokens = [part.token for part in written]
    for token in tokens:
        if tokens.count(token) > 1:
            raise ChainError(f"{token!r} stands twice in {'+'.join(tokens)}; write it once, with its options")
    converters = [part.token for part in written if part.phase is Phase.CONVERT]
    if len(converters) > 1:
        raise ChainError(f"{' and '.join(converters)} both make the form that ships; use one of them")
    if converters and tokens[0] != converters[0]:
        right = "+".join(converters + [token for token in tokens if token not in converters])
        raise ChainError(
            f"{'+'.join(tokens)} acts from right to left, and nothing can be trained after "
            f"{converters[0]!r}; write {right}"
        )


def _layout(model: nn.Module) -> list[type[nn.Module]]:
    return [type(module) for module in model.modules()]


def _token_label(piece: str) -> str:
    token, _, rest = piece.partition(":")
    return f"{token.upper()}({rest})" if rest else token.upper()
