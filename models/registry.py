"""Model families by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from models.base import USUAL, KwsModel, ModelOutput, ModelSpec, SpecT
from models.errors import ModelError
from models.factored import built
from models.registering import Registry, check_class, check_frozen, defined_in, shown
from models.task import Task

Factory = Callable[[Any], nn.Module]
MadeT = TypeVar("MadeT", bound=Factory)


@dataclass(frozen=True)
class Family:
    """A registered model family.

    Attributes:
        name: What ``--model`` takes.
        default: The uncompressed base.
        model: Its class.
        student: The small model that distillation trains unless it is told another; None where there is none.
        aligned: The same where its frames over time have to be the base's.
    """

    name: str
    default: ModelSpec
    model: type[KwsModel]
    student: ModelSpec | None = None
    aligned: ModelSpec | None = None

    def of(self, task: Task) -> Family:
        """The family on a task: its base and its students hear the task's clips and tell its classes apart.

        A student that cannot hear so few mel bands is left out.

        Raises:
            ModelError: The base cannot.
        """
        try:
            base = for_task(self.default, task)
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from None
        return replace(
            self, default=base, student=_small(self.student, task), aligned=_small(self.aligned, task)
        )


def for_task(spec: SpecT, task: Task) -> SpecT:
    """A specification with the mel bands, the classes and the frames of a task.

    Raises:
        ModelError: It cannot have them.
    """
    needed = {"n_mels": task.front_end.mels, "n_classes": len(task.classes)}
    own = needed.keys() & {one.name for one in fields(spec)}
    usual = {"n_mels": USUAL.front_end.mels, "n_classes": len(USUAL.classes)}
    if wrong := [name for name in needed if name not in own and needed[name] != usual[name]]:
        raise ModelError(
            f"the task has {needed['n_mels']} mel bands and {needed['n_classes']} classes, and "
            f"{type(spec).__name__} no field {' or '.join(wrong)}; give it {' and '.join(wrong)}"
        )
    values: dict[str, Any] = {name: needed[name] for name in own}
    return replace(spec, clip_frames=task.frames, **values)


def _small(student: ModelSpec | None, task: Task) -> ModelSpec | None:
    try:
        return None if student is None else for_task(student, task)
    except ModelError:
        return None


_FAMILIES: Registry[Family] = Registry("model", ModelError, lambda family: family.model)
# The modules of this package that register a family when they are imported.
_OWN = ("models.crnn", "models.gru", "models.ds_cnn", "models.tc_resnet", "models.bc_resnet")


class OfModule(KwsModel):
    """An ordinary module that gives logits (B, K), or logits and attention energies, as a keyword spotter."""

    factory: ClassVar[Factory]

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.module = type(self).factory(spec)
        if not isinstance(self.module, nn.Module):
            raise ModelError(f"{type(self).__name__} gave {shown(self.module)}, which is no torch module")

    def forward(self, log_mel: Tensor) -> ModelOutput:
        """What the module gives."""
        given = self.module(log_mel)
        several = given if isinstance(given, tuple) else (given, None)
        if len(several) != 2 or isinstance(given, (dict, list)):
            raise ModelError(f"the forward of {type(self).__name__} must give logits, or logits and energies")
        return ModelOutput(*several)


def _kind_of(model: Any) -> type[KwsModel]:
    """A class of keyword spotters, or what makes one of a class or a function that gives ordinary modules."""
    is_class = isinstance(model, type)
    if inspect.isfunction(model) or (
        is_class and issubclass(model, nn.Module) and not issubclass(model, KwsModel)
    ):
        about = {"factory": staticmethod(model), "__module__": model.__module__, "__doc__": model.__doc__}
        return type(model.__name__, (OfModule,), about)
    if not is_class:
        raise ModelError(f"{shown(model)} must be a class of torch modules, or a function that makes them")
    check_class(model, KwsModel, ModelError)
    kind: type[KwsModel] = model
    return kind


def _families() -> dict[str, Family]:
    for module in _OWN:
        importlib.import_module(module)
    return _FAMILIES


def register(
    name: str, default: ModelSpec, *, student: ModelSpec | None = None, aligned: ModelSpec | None = None
) -> Callable[[MadeT], MadeT]:
    """Decorator that makes a model family available under a name.

    It stands above a class of keyword spotters, or above any class or function that makes a torch module of
    the specification, whose forward gives logits (B, K) of log-mel (B, M, T).

    Args:
        name: What ``--model`` takes.
        default: The uncompressed base: the specification that is trained as teacher.
        student: What distillation trains unless it is told another size, of the same class.
        aligned: The same with as many frames over time as the base; None: ``student`` has them.

    Raises:
        ModelError: The name, or the type of the specification, is taken; or one of them is not of its kind.
    """
    _FAMILIES.check_name(name)
    if not isinstance(default, ModelSpec):
        raise ModelError(
            f"{name}: {shown(default)} must be an instance of a class that derives from ModelSpec"
        )
    check_frozen(type(default), ModelError)
    try:
        hash((default, student, aligned))
    except TypeError:
        raise ModelError(
            f"{name}: a specification holds plain values, and tuples in place of lists"
        ) from None
    for small in (student, aligned):
        if small is not None and type(small) is not type(default):
            raise ModelError(f"{name}: its student {small!r} must be another {type(default).__name__}")

    def add(model: MadeT) -> MadeT:
        kind = _kind_of(model)
        for other in _FAMILIES.values():
            if type(other.default) is type(default) and other.name != name:
                raise ModelError(
                    f"{type(default).__name__} already belongs to the model {other.name!r}, by "
                    f"{defined_in(other.model)}; give {name!r} a specification class of its own"
                )
        _FAMILIES.enter(name, Family(name, default, kind, student, aligned or student))
        return model

    return add


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        ModelError: There is none; the message lists those that exist.
    """
    if name not in _families():
        raise ModelError(f"no model named {name!r}; there is: {', '.join(names())}")
    return _families()[name]


def base_spec(model: str, task: Task) -> ModelSpec:
    """The uncompressed base of a family on a task.

    Raises:
        ModelError: There is no such family, or it cannot hear the task's clips or tell its classes apart.

    Examples:
        >>> from models.task import WordsTask
        >>> base_spec("gru", WordsTask(("yes", "no", "up"))).n_classes
        3
    """
    return family(model).of(task).default


def names() -> list[str]:
    """All registered names, sorted."""
    return sorted(_families())


def family_of(spec: ModelSpec) -> Family:
    """The family that a specification is of.

    Raises:
        ModelError: No family is registered for this type of specification.
    """
    for entry in _families().values():
        if type(entry.default) is type(spec):
            return entry
    raise ModelError(f"no model is registered for {type(spec).__name__}; there is: {', '.join(names())}")


def build(spec: ModelSpec) -> KwsModel:
    """A freshly initialised model of that specification; draws from torch's global generator.

    Raises:
        ModelError: No family is registered for this type of specification, or its ranks make nothing smaller.

    Examples:
        >>> from models.base import count_params
        >>> from models.crnn import CrnnSpec
        >>> count_params(build(CrnnSpec()))
        70443
    """
    return built(family_of(spec).model, spec)
