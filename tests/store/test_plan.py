"""What a store says of its sweep is what was planned."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypeft.core.errors import ConfigError, PlanDiffersError
from raypeft.core.recipe import Augmentation, Generation, Recipe
from raypeft.core.spec import PROTOCOL, Cell, LogUniform, Search, Sweep, grid
from raypeft.store import Store
from raypeft.store.plan import DataRecord, PlannedCell, PlanRecord, SubsetRecord

SWEEP = Sweep(name="s", cells=grid(method=("full", "lora(rank=4)"), model=("vit_nano",), dataset=("digits",)))
PLAN = PlanRecord(
    sweep=SWEEP,
    cells=tuple(PlannedCell(cell=cell, candidates=16, final_seeds=(0, 1, 2)) for cell in SWEEP.cells),
    weights_digests={"vit_nano": "w"},
    data_digests={"digits": "d"},
    data={
        "digits": DataRecord(
            split="grouped",
            images={"train": 6, "val": 2, "test": 2},
            subsets=(SubsetRecord(fraction=0.5, seed=0, images=3, per_class=(2, 1)),),
        )
    },
    left_out={Cell(method="bn", model="vit_nano", dataset="digits"): "needed: BatchNorm"},
)


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "runs" / "s")
    store.write_plan(PLAN)
    return store


def test_a_plan_reads_back_equal(store):
    assert store.plan == PLAN
    assert store.sweep == SWEEP
    assert store.plan.protocol == PROTOCOL


sweeps = st.builds(
    Sweep,
    name=st.text("aé_-. 9", min_size=1).filter(lambda name: name.strip(" .") != ""),
    cells=st.lists(st.sampled_from((0.1, 0.2, 0.5, 1.0)), min_size=1, unique=True).map(
        lambda fractions: grid(method=("bn",), model=("vit_nano",), dataset=("digits",), fraction=fractions)
    ),
    search=st.builds(Search, trials=st.integers(1, 99), lr=st.just(LogUniform(low=1e-6, high=0.3))),
    recipe=st.builds(
        Recipe,
        epochs=st.integers(1, 99),
        ema_decay=st.none() | st.just(0.99),
        augmentation=st.none() | st.just(Augmentation(hflip=0.5, scale=(0.2, 1.0), views=4)),
        generation=st.none() | st.just(Generation(prompt="a {class}")),
    ),
    final_seeds=st.lists(st.integers(0, 99), min_size=1, unique=True).map(tuple),
    carried_candidates=st.none() | st.integers(1, 9),
    split=st.sampled_from(("auto", "paper")),
)


@given(sweeps)
def test_every_sweep_reads_back_equal_after_json(sweep):
    assert Sweep.from_dict(json.loads(json.dumps(sweep.to_dict()))) == sweep


def test_a_folder_without_a_plan_is_told_from_a_store(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no sweep \(no plan\.json\)"):
        _ = Store(tmp_path).plan
    assert not Store(tmp_path).has_plan


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", f'{{"protocol": {PROTOCOL}, "sweep": {{}}}}'])
def test_a_damaged_plan_is_told_with_the_command_that_restores_it(store, damage):
    store.plan_file.write_text(damage)
    with pytest.raises(PlanDiffersError, match=r"plan\.json is damaged .*; restore it with: cp (\S+) (\S+)"):
        _ = store.plan
    store.plan_file.write_text((store.path / "plan.bak").read_text())
    assert store.plan == PLAN


def test_a_plan_of_another_protocol_is_refused_in_one_sentence(store):
    store.plan_file.write_text(json.dumps({"protocol": PROTOCOL - 1, "sweep": {}}))
    with pytest.raises(PlanDiffersError, match=f"protocol {PROTOCOL - 1}, .* protocol {PROTOCOL}:"):
        _ = store.plan
