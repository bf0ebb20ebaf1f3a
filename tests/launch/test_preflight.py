"""What a sweep checks of its store before it starts."""

import subprocess
import sys

import pytest

from raypeft.core.errors import ConfigError
from raypeft.core.recipe import Recipe
from raypeft.core.spec import LogUniform, Search, Sweep, grid
from raypeft.launch.plan import make_plan
from raypeft.launch.preflight import check_space
from raypeft.methods import METHODS
from raypeft.models import bind_model
from raypeft.store import Store
from raypeft.store.ledger import Ledger
from raypeft.train.params import count_method

CHECKS = """
import sys
from raypeft.core.spec import LogUniform, Search, Sweep, grid
from raypeft.core.recipe import Recipe
from raypeft.store import Store
from raypeft.store.ledger import Ledger
from raypeft.launch.plan import make_plan
from raypeft.launch.preflight import check_space

store = Store(sys.argv[1])
for method in ("lora", "lora(rank=2)"):
    sweep = Sweep(
        name="space",
        cells=grid(method=(method,), model=("vit_nano",), dataset=("digits",), fraction=(0.1,)),
        search=Search(trials=1, lr=LogUniform(low=1e-3, high=1e-2)),
        recipe=Recipe(epochs=1),
    )
    check_space(make_plan(sweep, store=store), Ledger(store), store=store)
    print(method, "timm" in sys.modules)
"""


def test_networks_are_built_only_where_a_count_may_matter(tmp_path):
    """They take five seconds of the driver's core at the start of every sweep."""
    command = [sys.executable, "-c", CHECKS, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "lora False\nlora(rank=2) True\n"


@pytest.mark.parametrize("model", ["efficientnet_lite0", "vit_nano"])
def test_no_method_trains_more_than_four_times_the_weights(model):
    size = bind_model(model).weights().stat().st_size
    fitting = [
        name
        for name, entry in METHODS.items()
        if entry.needs <= bind_model(model).parts and entry.apply.__module__.startswith("raypeft.")
    ]
    assert "full" in fitting
    for name in fitting:
        assert 4 * count_method(model, name, num_classes=1000).total_trainable <= 4 * size, name


OF_ONES_OWN = """
import raypeft as rp

@rp.register_method("of_ones_own", needs={"tokens"}, paper="none", count=lambda model: 0)
def apply(model):
    pass
"""


def test_a_method_of_ones_own_is_tried_before_any_trial_starts(tmp_path):
    (tmp_path / "own.py").write_text(OF_ONES_OWN)
    sweep = Sweep(
        name="space",
        cells=grid(method=("of_ones_own",), model=("vit_nano",), dataset=("digits",), fraction=(0.1,)),
        search=Search(trials=1, lr=LogUniform(low=1e-3, high=1e-2)),
        recipe=Recipe(epochs=1),
        plugins=(str(tmp_path / "own.py"),),
    )
    plan = make_plan(sweep, store=Store(tmp_path))
    with pytest.raises(ConfigError, match="'of_ones_own' finds nothing to train"):
        check_space(plan, Ledger(Store(tmp_path)), store=Store(tmp_path))
