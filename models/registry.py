"""Model families by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from models.base import KwsModel, ModelSpec
from models.errors import ModelError
from models.registering import Registry, check_class, check_frozen, defined_in, shown


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


_FAMILIES: Registry[Family] = Registry("model", ModelError, lambda family: family.model)
# The modules of this package that register a family when they are imported.
_OWN = ("models.crnn",)


def _families() -> dict[str, Family]:
    for module in _OWN:
        importlib.import_module(module)
    return _FAMILIES


def register(
    name: str, default: ModelSpec, *, student: ModelSpec | None = None, aligned: ModelSpec | None = None
) -> Callable[[type[KwsModel]], type[KwsModel]]:
    """Class decorator that makes a model family available under a name.

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
    for small in (student, aligned):
        if small is not None and type(small) is not type(default):
            raise ModelError(f"{name}: its student {small!r} must be another {type(default).__name__}")

    def add(model: type[KwsModel]) -> type[KwsModel]:
        check_class(model, KwsModel, ModelError)
        for other in _FAMILIES.values():
            if type(other.default) is type(default) and other.name != name:
                raise ModelError(
                    f"{type(default).__name__} already belongs to the model {other.name!r}, by "
                    f"{defined_in(other.model)}; give {name!r} a specification class of its own"
                )
        _FAMILIES.enter(name, Family(name, default, model, student, aligned or student))
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
        ModelError: No family is registered for this type of specification.

    Example:
        >>> from models.base import count_params
        >>> from models.crnn import CrnnSpec
        >>> count_params(build(CrnnSpec()))
        70443
    """
    return family_of(spec).model(spec)
