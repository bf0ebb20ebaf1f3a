"""Any two spellings of one spec give one trial id; two different specs give two."""

import json
from dataclasses import asdict, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypeft.core.canonical import canonical_json
from raypeft.core.errors import ConfigError
from raypeft.core.recipe import Augmentation, Recipe
from raypeft.core.spec import Cell, LogUniform, Preprocessing, Search, Sweep, TrialSpec, grid


def spelled(value: float | int) -> st.SearchStrategy:
    """The same number in other types."""
    ways = [value, float(value), np.float64(value), Fraction(value)]
    if value == int(value):
        ways += [int(value), np.int64(value), np.float32(value), np.uint16(value)]
    return st.sampled_from(ways)


@st.composite
def specs(draw: st.DrawFn) -> tuple[TrialSpec, TrialSpec]:
    """One spec, spelled twice."""
    fraction = draw(st.sampled_from([1, 0.5, 0.1, 0.25]))
    epochs, decay, seed = (
        draw(st.integers(1, 99)),
        draw(st.sampled_from([0, 0.01, 1])),
        draw(st.integers(0, 9)),
    )
    scale, low, rate = (
        draw(st.sampled_from([(1, 1), (0.5, 1)])),
        draw(st.sampled_from([1, 0.001])),
        draw(st.sampled_from([1, 0.01])),
    )
    of_search = draw(st.booleans())

    def one() -> TrialSpec:
        kind = draw(st.sampled_from([tuple, list]))
        return TrialSpec(
            cell=Cell(method="lora", model="vit_nano", dataset="digits", fraction=draw(spelled(fraction))),
            stage="search" if of_search else "final",
            seed=draw(spelled(seed)),
            lr=draw(spelled(rate)),
            recipe=Recipe(
                epochs=draw(spelled(epochs)),
                weight_decay=draw(spelled(decay)),
                augmentation=Augmentation(scale=kind(draw(spelled(part)) for part in scale)),
            ),
            preprocessing=Preprocessing(
                mean=kind((0, 0.5, 1)), std=kind((1.0,) * 3), interpolation="bicubic"
            ),
            split="grouped",
            split_seed=draw(spelled(0)),
            weights_digest="w",
            data_digest="d",
            search=Search(lr=LogUniform(low=draw(spelled(low)), high=draw(spelled(8))))
            if of_search
            else None,
            candidate=draw(spelled(seed)) if of_search else None,
        )

    return one(), one()


@given(specs(), specs())
def test_one_spec_has_one_id_however_it_is_spelled_and_another_has_another(pair, other):
    first, second = pair
    assert first == second
    assert first.trial_id == second.trial_id
    again = TrialSpec.from_dict(json.loads(json.dumps(first.content)))
    assert again.trial_id == first.trial_id
    assert (first.trial_id == other[0].trial_id) == (first == other[0])


def test_arithmetic_and_short_types_leave_a_fraction_what_it_is():
    cells = [
        Cell(method="m", model="m", dataset="digits", fraction=fraction)
        for fraction in (0.3, 0.1 * 3, 0.1 + 0.2, np.float32(0.3), Fraction(3, 10), float("3e-1"))
    ]
    assert set(cells) == {cells[0]}
    assert {canonical_json(asdict(cell)) for cell in cells} == {canonical_json(asdict(cells[0]))}


def test_zero_has_no_sign():
    assert canonical_json(asdict(Augmentation(degrees=-0.0))) == canonical_json(asdict(Augmentation()))


@pytest.mark.parametrize("fractions", [(1, 1.0), (0.1, 0.1000000001), (0.3, 0.1 * 3)])
def test_two_spellings_of_a_cell_in_one_sweep_are_one_cell_named_twice(fractions):
    cells = grid(method=("full",), model=("m",), dataset=("digits",), fraction=fractions)
    with pytest.raises(ConfigError, match="names a cell twice: full / m / digits / "):
        Sweep(name="s", cells=cells)


def test_a_list_is_as_good_as_a_tuple():
    cells = grid(method=("full",), model=("m",), dataset=("digits",))
    one = Sweep(name="s", cells=cells, final_seeds=(0, 1))
    assert Sweep(name="s", cells=list(cells), final_seeds=range(2)) == one
    assert Sweep(name="s", cells=cells, final_seeds=np.arange(2)).to_dict() == one.to_dict()
    assert replace(one, allow_leakage=np.bool_(False)) == one
