"""Registries refuse duplicates and answer typos."""

import pytest

from raypeft.core.errors import DuplicateNameError, UnknownNameError
from raypeft.core.registry import Registry


@pytest.fixture
def registry():
    registry = Registry("method")
    registry.add("lora", 1)
    registry.add("linear", 2)
    return registry


def test_a_typo_is_answered_with_the_nearest_name(registry):
    with pytest.raises(UnknownNameError, match=r"no method named 'lroa'; did you mean 'lora'\?"):
        registry["lroa"]


def test_a_name_cannot_be_registered_twice(registry):
    with pytest.raises(DuplicateNameError, match="'lora' is registered twice"):
        registry.add("lora", 3)


def test_names_keep_their_order_and_membership(registry):
    assert list(registry) == ["lora", "linear"]
    assert "lora" in registry
    assert "lroa" not in registry
