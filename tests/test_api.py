"""A sweep is planned and run from Python; what cannot run is an error before anything starts."""

import pytest
import torch

import raypeft as rp
from raypeft.models import MODELS


@pytest.fixture
def sweep():
    return rp.Sweep(
        name="small",
        cells=rp.grid(
            method=["linear", "bias"], model=["efficientnet_lite0"], dataset=["digits"], fraction=[0.05]
        ),
        search=rp.Search(trials=3, grace_epochs=1),
        recipe=rp.Recipe(epochs=2, batch_size=16, micro_batch_size=16, image_size=40),
        final_seeds=[0, 1],
    )


def test_a_plan_counts_what_is_left_and_starts_nothing(sweep, tmp_path):
    plan = rp.plan(sweep, str(tmp_path / "store"))
    assert list(plan.cells["method"]) == ["linear", "bias"]
    assert list(plan.cells["trials_left"]) == [5, 5]  # three candidates and two seeds
    assert "2 cells, 10 trials: 0 committed, 10 left" in plan.summary
    assert not list(tmp_path.glob("store/ledger/*"))


def test_a_final_run_is_named_by_what_tells_its_cell_apart(sweep, tmp_path):
    plan = rp.plan(sweep, tmp_path / "store")
    spec = plan.final(method="bias", seed=7, lr=1e-3).spec
    assert (spec.cell.method, spec.seed, spec.lr, spec.stage) == ("bias", 7, 1e-3, "final")
    with pytest.raises(rp.RaypeftError, match="2 cells with model='efficientnet_lite0'"):
        plan.final(model="efficientnet_lite0", seed=7, lr=1e-3)
    with pytest.raises(rp.RaypeftError, match="0 cells with method='lora'"):
        plan.final(method="lora", seed=7, lr=1e-3)


def test_a_sweep_that_cannot_run_is_refused_with_what_to_do(sweep, tmp_path):
    wrong = rp.Sweep(
        name="wrong", cells=rp.grid(method=["lroa"], model=["vit_nano"], dataset=["digits"], fraction=[1.0])
    )
    with pytest.raises(rp.RaypeftError, match="did you mean 'lora'"):
        rp.plan(wrong, tmp_path / "store")


def test_the_store_lies_where_the_environment_says_unless_one_names_it(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYPEFT_RUNS", str(tmp_path / "elsewhere"))
    assert rp.plan(sweep).store == tmp_path / "elsewhere" / "small"


def test_one_final_run_is_trained_in_this_process_and_leaves_the_store_as_it_was(sweep, tmp_path):
    plan = rp.plan(sweep, tmp_path / "store")
    final = plan.final(method="linear", seed=7, lr=1e-2)
    row = rp.run_trial(final)
    assert (row.trial_id, row.status, row.seed) == (final.spec.trial_id, "done", 7)
    assert 0 < row.metrics["test/f1_macro"] <= 1
    assert rp.run_trial(final).metrics == row.metrics
    assert not list(tmp_path.glob("store/ledger/*"))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"seed": 0, "lr": -0.1, "method": "bias"}, "lr=-0.1"),
        ({"seed": 1000, "lr": 0.1, "method": "bias"}, "seed 1000 is the search's"),
        ({"seed": -1, "lr": 0.1, "method": "bias"}, "final seed=-1"),
        ({"seed": 0, "lr": 0.1, "metod": "bias"}, "'metod'"),
    ],
)
def test_a_final_run_that_no_sweep_would_make_is_refused(sweep, tmp_path, asked, told):
    plan = rp.plan(sweep, tmp_path / "store")
    with pytest.raises(rp.ConfigError, match=told):
        plan.final(**asked)


def test_what_is_no_sweep_is_refused(tmp_path):
    for call in (rp.plan, rp.run):
        with pytest.raises(rp.ConfigError, match=r"'small.py' is no rp.Sweep"):
            call("small.py", tmp_path / "store")


def test_a_checkpoint_of_ones_own_is_read_before_the_first_trial_and_trained_on(tmp_path):
    state = {f"module.{name}": one for name, one in MODELS["vit_nano"].make().state_dict().items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "own.pth")
    sweep = rp.Sweep(
        name="own",
        cells=rp.grid(
            method=["bitfit"],
            model=[f"vit_nano(weights='{tmp_path / 'own.pth'}', normalize='half')"],
            dataset=["digits"],
            fraction=[0.05],
        ),
        recipe=rp.Recipe(epochs=1),
    )
    plan = rp.plan(sweep, tmp_path / "store")
    assert (
        "weights of vit_nano(normalize='half', weights='own.pth'): 68 tensors of ['model'] under 'module.'\n"
        in plan.summary
    )
    assert rp.run_trial(plan.final(seed=0, lr=1e-2)).status == "done"
