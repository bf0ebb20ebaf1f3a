"""What a plug-in does to a plan: ids of exactly the trials that use it, refusals before the first trial."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raypeft.core.errors import PlanDiffersError
from raypeft.core.plugins import forget_plugin, load_plugins
from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Search, Sweep, TrialSpec, grid
from raypeft.datasets import Prepared
from raypeft.launch.growth import join_store, write_plan
from raypeft.launch.plan import Plan
from raypeft.store import Store

GATE = (Path(__file__).parents[2] / "examples" / "own_method.py").read_text()
METRIC = """
import raypeft as rp

@rp.register_metric("share_of_first", label="share of the first class", higher_is_better=True)
def share_of_first(labels, probabilities):
    return float((probabilities.argmax(1) == 0).mean())
"""
SWEEP = Sweep(
    name="s",
    cells=grid(method=("linear", "gate"), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=2),
    recipe=Recipe(epochs=5),
)
DATA = Prepared(
    name="digits",
    classes=("0", "1"),
    split="grouped",
    images_digest="i",
    case_ids=("a", "b"),
    labels=np.array([0, 1]),
    groups=("a", "b"),
    sides=np.array(["train", "train"]),
    subgroups={},
)


def plan_of(*paths: Path) -> Plan:
    plugins = load_plugins([str(path) for path in paths])
    return Plan(sweep=SWEEP, weights_digests={"vit_nano": "w"}, data={"digits": DATA}, plugins=plugins)


def ids(plan: Plan) -> dict[str, str]:
    """By method and stage."""
    found = {}
    for cell in SWEEP.cells:
        found[f"{cell.method} final"] = plan.final_spec(cell, seed=0, lr=0.1).trial_id
        search = plan.search_spec(cell, search=SWEEP.search, candidate=0, lr=0.1)
        found[f"{cell.method} search"] = search.trial_id
    return found


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "own.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_changed_file_changes_the_ids_of_the_trials_that_use_it_alone(write):
    plan = plan_of(write(GATE))
    before = ids(plan)
    for plugin in plan.plugins:
        forget_plugin(plugin)
    moved = plan_of(write(GATE, "moved/own.py"))
    assert ids(moved) == before
    for plugin in moved.plugins:
        forget_plugin(plugin)
    changed = ids(plan_of(write(GATE + "# another version\n")))
    assert {name for name in before if before[name] != changed[name]} == {"gate final", "gate search"}


def test_trials_of_what_comes_with_raypeft_keep_their_ids_beside_a_plugin(write):
    without = Plan(sweep=SWEEP, weights_digests={"vit_nano": "w"}, data={"digits": DATA})
    spec = without.final_spec(SWEEP.cells[0], seed=0, lr=0.1)
    assert ids(plan_of(write(GATE)))["linear final"] == spec.trial_id


def test_a_metric_enters_the_final_runs_whose_rows_hold_it(write):
    gate = plan_of(write(GATE))
    before = ids(gate)
    both = ids(plan_of(write(GATE), write(METRIC, "metric.py")))
    assert {name for name in before if before[name] != both[name]} == {"gate final", "linear final"}


def test_a_spec_with_plugins_survives_json(write):
    spec = plan_of(write(GATE)).final_spec(SWEEP.cells[1], seed=0, lr=0.1)
    found = TrialSpec.from_dict(json.loads(json.dumps(spec.content)))
    assert found.plugins == spec.plugins
    assert len(found.plugins) == 1
    assert found.trial_id == replace(spec, cell=found.cell).trial_id


def test_a_plan_names_the_plugins_that_its_trials_use(write):
    plan = plan_of(write(GATE))
    assert plan.used_plugins == {"own.py": plan.plugins[0].digest}
    assert replace(plan, sweep=replace(SWEEP, cells=SWEEP.cells[:1])).used_plugins == {}


def test_a_store_goes_on_with_its_plugin_moved_and_renamed(write, tmp_path):
    store = Store(tmp_path / "store")
    store.path.mkdir()
    plan = plan_of(write(GATE))
    write_plan(plan, store=store)
    assert store.plan.plugin_digests == {"own.py": plan.plugins[0].digest}
    cells = zip(SWEEP.cells, (1, 2), strict=False)
    rows = [
        Result.of(plan.final_spec(cell, seed=seed, lr=0.1), sweep="s", status="done") for cell, seed in cells
    ]
    forget_plugin(plan.plugins[0])
    moved = plan_of(write(GATE, "moved/renamed.py"))
    assert len(join_store(moved, rows, store=store).kept) == 2
    forget_plugin(moved.plugins[0])
    changed = plan_of(write(GATE + "\nCHANGED = True\n", "moved/renamed.py"))
    with pytest.raises(
        PlanDiffersError, match=f"{plan.plugins[0].digest} there, {changed.plugins[0].digest}"
    ):
        join_store(changed, rows, store=store)


LOOSE = """
import raypeft as rp

@rp.register_method("loose", needs={"tokens"}, paper="", count=lambda model: model.norm.weight.numel())
def loose(model):
    model.norm.weight.requires_grad_(True)

SWEEP = rp.Sweep(
    name="loose", cells=rp.grid(method=["loose"], model=["vit_nano"], dataset=["digits"]), plugins=PLUGINS
)
"""


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_method_in_the_sweep_file_itself_is_refused_with_what_to_do(cli, write, tmp_path, command):
    path = write(LOOSE.replace("PLUGINS", "()"), "sweep.py")
    code, _, err = cli(command, path, "--store", tmp_path / "store")
    assert code == 2
    assert f"method 'loose' is registered at {path}:4" in err
    assert "--plugin my_method.py" in err
    assert not (tmp_path / "store" / "plan.json").exists()


def test_a_sweep_file_is_not_its_own_plugin(cli, write):
    path = write(LOOSE.replace("PLUGINS", "(__file__,)"), "sweep.py")
    code, _, err = cli("plan", path)
    assert code == 2
    assert "put what it registers into a file of its own" in err


PLAIN = """
import raypeft as rp
SWEEP = rp.Sweep(
    name="plain", cells=rp.grid(method=["gate"], model=["vit_nano"], dataset=["digits"], fraction=[0.1]),
    search=rp.Search(trials=1), recipe=rp.Recipe(epochs=1), plugins=("own.py",),
)
"""


@pytest.mark.parametrize("options", [["plan"], ["run"], ["run", "--dry-run"]])
def test_a_missing_plugin_is_told_before_any_trial(cli, write, tmp_path, options):
    path = write(PLAIN, "sweep.py")
    code, _, err = cli(*options, path, "--store", tmp_path / "store")
    assert code == 2
    assert "plug-in 'own.py': no file" in err
    assert not (tmp_path / "store").exists()


def test_a_plugin_lies_beside_the_sweep_file_that_names_it(cli, write, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    write(GATE)
    code, out, err = cli("plan", write(PLAIN, "sweep.py"), "--store", tmp_path / "store", "--json")
    assert code == 0, err
    plan = json.loads(out)["plan"]
    assert list(plan["digests"]["plugins"]) == plan["sweep"]["plugins"] == ["own.py"]


def test_the_command_line_names_a_plugin_too(cli, write, tmp_path):
    sweep = write(PLAIN.replace('plugins=("own.py",),', ""), "sweep.py")
    own = write(GATE, "elsewhere/own.py")
    assert cli("plan", sweep, "--store", tmp_path / "store")[0] == 2
    code, _, err = cli("plan", sweep, "--plugin", own, "--store", tmp_path / "store")
    assert code == 0, err


@pytest.mark.parametrize(
    ("command", "key", "name", "text"),
    [
        (["methods"], "method", "gate", GATE),
        (["params", "--model", "vit_base"], "method", "gate", GATE),
        (["datasets"], "dataset", "stripes", None),
    ],
)
def test_lists_take_plugins(cli, write, command, key, name, text):
    examples = Path(__file__).parents[2] / "examples"
    path = write(text or (examples / "own_dataset.py").read_text())
    code, out, err = cli(*command, "--plugin", path, "--json")
    assert code == 0, err
    assert name in {row[key] for row in json.loads(out)}


def test_data_check_takes_a_data_set_from_a_plugin(cli):
    own = Path(__file__).parents[2] / "examples" / "own_dataset.py"
    code, out, err = cli("data", "check", "stripes", "--plugin", own, "--json")
    assert code == 0, err
    assert json.loads(out)["classes"] == {"across": 120, "down": 120}


ERRORS = """
import raypeft as rp

@rp.register_metric("missed", label="share missed", higher_is_better=False)
def missed(labels, probabilities):
    return float((probabilities.argmax(1) != labels).mean())
"""


def test_a_ranking_by_an_own_metric_knows_its_direction(cli, write):
    scores = write("model,dataset,method,missed\nm,d,lora,0.1\nm,d,full,0.4\n", "scores.csv")
    assert "higher is better (assumed" in cli("rank", scores, "--metric", "missed")[1]
    code, out, err = cli("rank", scores, "--metric", "missed", "--plugin", write(ERRORS))
    assert code == 0, err
    assert out.index("lora") < out.index("full")
    assert "assumed" not in out
