from dataclasses import dataclass

import pytest

from models import registry
from models.base import ModelSpec
from models.crnn import Crnn, CrnnSpec
from models.errors import ModelError


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
    with pytest.raises(ModelError, match="already registered"):
        registry.register("crnn", OtherSpec())(Crnn)
    with pytest.raises(ModelError, match="belongs to another"):
        registry.register("twin", CrnnSpec())(Crnn)
