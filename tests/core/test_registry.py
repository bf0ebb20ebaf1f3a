"""Registries refuse duplicates and answer typos."""

import pytest

from raypeft.core.errors import ConfigError, DuplicateNameError, UnknownNameError
from raypeft.core.registry import Registry, parse_call


@pytest.fixture
def registry():
    registry = Registry("gadget")
    registry.add("lora", 1)
    registry.add("linear", 2)
    return registry


def test_a_typo_is_answered_with_the_nearest_name(registry):
    with pytest.raises(UnknownNameError, match=r"no gadget named 'lroa'; did you mean 'lora'\?"):
        registry["lroa"]


def test_a_name_cannot_be_registered_twice(registry):
    with pytest.raises(DuplicateNameError, match="'lora' is registered twice"):
        registry.add("lora", 3)


def test_names_keep_their_order_and_membership(registry):
    assert list(registry) == ["lora", "linear"]
    assert "lora" in registry
    assert "lroa" not in registry


@pytest.mark.parametrize(
    "text", ["lora(rank=4+4)", "lora(rank=four)", "lora(rank=max(1, 2))", "lora(rank={[]: 1})"]
)
def test_an_option_that_is_no_literal_is_told_by_name(text):
    with pytest.raises(
        ConfigError, match=r"rank=.* is no number, text in quotes, True, False or None; write it"
    ):
        parse_call(text, kind="method")


def test_a_misspelled_call_is_told_without_words_of_the_parser():
    with pytest.raises(ConfigError, match="unmatched '\\)'; write it as lora"):
        parse_call("lora(rank=4))", kind="method")
