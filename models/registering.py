"""What may be registered, and under which name: the rules that models, compressors and corpora share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from models.errors import KwsError

T = TypeVar("T")
# All there are, so that a plugin can be held to adding to them.
REGISTRIES: list[Registry[Any]] = []


class Registry(dict[str, T]):
    """Things by name, each name given once.

    Args:
        what: What the things are, in messages.
        error: What is raised where a name is refused.
        source: The class or function behind a thing, where it is not the thing itself.
    """

    def __init__(
        self, what: str, error: type[KwsError], source: Callable[[T], object] = lambda thing: thing
    ) -> None:
        super().__init__()
        self.what, self.error, self.source = what, error, source
        REGISTRIES.append(self)

    def check_name(self, name: str) -> None:
        """Refuses what is no name, as where a decorator is written without its parentheses."""
        if not isinstance(name, str) or not name.strip():
            raise self.error(f'a {self.what} needs a name, as in @register("name"); got {shown(name)}')

    def enter(self, name: str, thing: T) -> None:
        """Adds a thing.

        Raises:
            KwsError: The name is none, or is taken; the message says by which file.
        """
        self.check_name(name)
        if name in self:
            owner = defined_in(self.source(self[name]))
            raise self.error(f"a {self.what} {name!r} is already registered, by {owner}; choose another name")
        self[name] = thing

    def decorator(self, name: str, form: str) -> Callable[[T], T]:
        """What adds the function that it stands above.

        Args:
            name: For it.
            form: What it takes and gives, in messages.

        Raises:
            KwsError: The name is none or is taken, or what is decorated cannot be called.
        """
        self.check_name(name)

        def add(thing: T) -> T:
            if not callable(thing):
                raise self.error(f"{name}: {shown(thing)} must be a function {form}")
            self.enter(name, thing)
            return thing

        return add


def check_class(thing: object, base: type, error: type[KwsError]) -> None:
    """Refuses what is no class of that kind, or an unfinished one."""
    if not isinstance(thing, type) or not issubclass(thing, base):
        raise error(f"{shown(thing)} must be a class that derives from {base.__name__}")
    if lacking := sorted(getattr(thing, "__abstractmethods__", ())):
        raise error(f"{thing.__name__} must define {', '.join(lacking)} of {base.__name__}")


def check_frozen(thing: type, error: type[KwsError]) -> None:
    """Refuses a class whose own fields are none because it is not decorated, or not yet."""
    if "__dataclass_fields__" not in vars(thing):
        raise error(
            f"{thing.__name__} must be a frozen dataclass: put @dataclass(frozen=True) right above the class"
        )


def shown(thing: object) -> str:
    """A thing in a message: the name of a class or function, else as Python shows it."""
    return getattr(thing, "__name__", None) or repr(thing)


def defined_in(thing: object) -> str:
    """The file that a class or function comes from; the module's name where there is none."""
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return getattr(sys.modules.get(module), "__file__", None) or module
