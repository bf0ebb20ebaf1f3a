"""The checker of histories: a sound store passes, and every promise that is broken in one is told."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypeft.core.errors import PlanDiffersError
from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Cell, Search, Sweep
from raypeft.launch.mlflow_place import default_tracking_uri
from raypeft.launch.tracking import Tracker
from raypeft.launch.verify import verify_store
from raypeft.store import Store
from raypeft.store.history import History
from raypeft.store.ledger import Ledger
from raypeft.store.plan import PlannedCell, PlanRecord

RECIPE = Recipe(epochs=1)
ROW = Result(
    trial_id="", sweep="s", stage="search", method="full", model="m", dataset="d", fraction=1.0, seed=0,
    lr=0.1, status="done", classes=("a", "b"), metrics={"val/f1_macro": 0.5},
    curve=({"epoch": 1, "train/loss": 1.0, "val/f1_macro": 0.5},),
    spec={
        "cell": {"dataset": "d"}, "recipe": asdict(RECIPE) | {"image_size": 32},
        "search": {"lr": {"low": 1e-3, "high": 1.0}},
    }, data_digest="images", weights_digest="weights",
    started="2026-01-02T03:04:05.000+00:00", ended="2026-01-02T03:05:05.000+00:00",
)  # fmt: skip
WORSE = replace(ROW, trial_id="worse", candidate=0, lr=0.01, metrics={"val/f1_macro": 0.4})
BEST = replace(ROW, trial_id="best", candidate=1)
SCORES = {  # of write_predictions(store, [0, 0, 0, 1]): precision 3/4 and recall 1 of class a, 0 of class b
    "test/accuracy": 3 / 4, "test/balanced_accuracy": 1 / 2, "test/f1_macro": 3 / 7,
    "test/f1_weighted": 9 / 14, "test/auroc": 1 / 2, "test/ece": 1 / 4,
}  # fmt: skip
FINAL = replace(
    ROW, trial_id="final", stage="final", spec=ROW.spec | {"search": None}, n_test=4,
    adapter_bytes=3, metrics=SCORES,
)  # fmt: skip


def write_predictions(store: Path, labels: list[int], *, place: str = "predictions") -> None:
    """All are taken for class a."""
    (store / place).mkdir(exist_ok=True)
    columns = {"label": np.array(labels), "prob/a": np.ones(len(labels)), "prob/b": np.zeros(len(labels))}
    pq.write_table(pa.table(columns), store / place / "final.parquet")


def write_adapter(store: Path, content: str) -> None:
    (store / "adapters" / "final").mkdir(parents=True, exist_ok=True)
    (store / "adapters" / "final" / "adapter_config.json").write_text(content)


@pytest.fixture
def store(tmp_path) -> Path:
    """Two candidates, one of which went on from step 5, and a final run at the better one's rate."""
    ledger, history = Ledger(Store(tmp_path)), History(Store(tmp_path))
    write_predictions(tmp_path, [0, 0, 0, 1])  # 3 of 4
    write_adapter(tmp_path, "{ }")
    sweep = Sweep(
        name="s",
        cells=(Cell(method="full", model="m", dataset="d"),),
        search=Search(trials=2),
        recipe=RECIPE,
        final_seeds=(0,),
    )
    digests = {"weights_digests": {"m": "weights"}, "data_digests": {"d": "images"}}
    cells = (PlannedCell(cell=sweep.cells[0], candidates=2, final_seeds=(0,)),)
    Store(tmp_path).write_plan(PlanRecord(sweep=sweep, cells=cells, data={}, **digests))
    history.note("start", trial_id="best", step=0)
    history.note("retry", trial_id="best", step=5)
    for row in (WORSE, BEST, FINAL):
        history.note("start", trial_id=row.trial_id, step=5 if row is BEST else 0)
        ledger.commit(row)
        history.note("commit", trial_id=row.trial_id)
    return tmp_path


def test_a_sound_store_passes_with_mlflow_and_without(store):
    assert verify_store(Store(store)) == []
    uri = default_tracking_uri(Store(store))
    Tracker(Store(store), uri, "s").sync()
    assert verify_store(Store(store), tracking_uri=uri) == []


def change_row(trial_id: str, **columns: object) -> Callable[[Path], object]:
    def change(store: Path) -> None:
        path = store / "ledger" / f"{trial_id}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | columns))

    return change


def note(event: str, **facts: object) -> Callable[[Path], object]:
    return lambda store: History(Store(store)).note(event, **facts)


def lose_all(store: Path) -> None:
    """Rows and history; the last driver said that all was done."""
    for path in [*(store / "ledger").glob("*"), store / "events.jsonl"]:
        path.unlink()
    (store / "status.json").write_text(json.dumps({"exit_code": 0}))


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (lose_all, "missing, though the sweep ended as complete: full / m / d / 1 | final seed 0"),
    (
        change_row("final", spec=dict(FINAL.spec) | {"recipe": asdict(RECIPE) | {"epochs": 9}}),
        "trial final was trained with other epochs than the plan's",
    ),
    (change_row("final", data_digest="x"), "trial final was trained with other images than the plan's"),
    (change_row("worse", weights_digest="x"), "trial worse was trained with other weights than the plan's"),
    (note("start", trial_id="best", step=5), "trial best was started after it was committed"),
    (note("commit", trial_id="best"), "trial best was committed twice"),
    (
        lambda store: (store / "ledger" / "worse.json").unlink(),
        "trial worse was committed and is gone from the ledger",
    ),
    (note("start", trial_id="best", step=4), "trial best began at step 4, though step 5 was saved"),
    (
        change_row("best", metrics={"test/f1_macro": 1.0, "val/f1_macro": 0.5}),
        "trial best of a search was scored on test images",
    ),
    (change_row("worse", status="failed"), "trial worse failed, which is no result"),
    (change_row("final", lr=0.05), "trial final took rate 0.05, not the best of its search"),
    (lambda store: write_predictions(store, [0, 0, 1, 1]), "accuracy 0.5000, the row says 0.7500"),
    (
        change_row("final", metrics=dict(FINAL.metrics) | {"test/f1_macro": 0.999}),
        ", the row says 0.9990",
    ),
    (
        change_row("final", metrics={name: SCORES[name] for name in SCORES if name != "test/auroc"}),
        "trial final lacks its score test/auroc",
    ),
    (lambda store: write_predictions(store, [0, 0, 0]), "3 predictions for 4 test images"),
    (
        lambda store: write_predictions(store, [0], place="predictions/validation"),
        "1 prediction for 0 val images",
    ),
    (lambda store: (store / "predictions" / "final.parquet").write_bytes(b"PAR1"), "final.parquet: "),
    (lambda store: (store / "predictions" / "final.parquet").unlink(), "final.parquet: no such file"),
    (lambda store: write_adapter(store, "{"), "1 byte, the row says 3"),
    (lambda store: (store / "checkpoints" / "best").mkdir(parents=True), "of a committed trial"),
    (lambda store: (store / "stop.json").write_text("{}"), "nobody runs who could stop"),
    (
        lambda store: Ledger(Store(store)).commit(replace(FINAL, trial_id="twin")),
        "committed 2 times: full / m / d / 1 | final seed 0: final, twin",
    ),
    (
        lambda store: Ledger(Store(store)).commit(replace(FINAL, trial_id="extra", seed=7)),
        "trial extra is not in the plan: full / m / d / 1 | final seed 7",
    ),
    (change_row("worse", candidate=2), "trial worse is not in the plan: full / m / d / 1 | candidate 2"),
    (change_row("worse", method="full()"), "not in the plan: full() / m / d / 1 | candidate 0"),
    (
        lambda store: [
            (store / "ledger" / "worse.json").unlink(),
            (store / "status.json").write_text(json.dumps({"exit_code": 0})),
        ],
        "missing, though the sweep ended as complete: full / m / d / 1 | candidate 0",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_a_broken_promise_is_told(store, damage, told):
    damage(store)
    assert any(told in problem for problem in verify_store(Store(store)))


def test_artifacts_that_mlflow_has_lost_are_told(store):
    uri = default_tracking_uri(Store(store))
    Tracker(Store(store), uri, "s").sync()
    (config,) = (store / "mlflow-artifacts").rglob("adapter_config.json")
    config.write_text("{   }")
    (matrix,) = (store / "mlflow-artifacts").rglob("confusion_matrix.csv")
    matrix.unlink()
    wrong, lacking = verify_store(Store(store), tracking_uri=uri)
    assert "MLflow's adapter of trial final is not the store's: adapter_config.json (5 bytes) at " in wrong
    assert wrong.endswith("; in the store adapter_config.json (3 bytes)")
    assert "MLflow lacks confusion_matrix.csv of trial final at " in lacking


def test_a_renamed_store_is_sound(store, tmp_path):
    Tracker(Store(store), default_tracking_uri(Store(store)), "s").sync()
    renamed = store.rename(tmp_path.with_name(f"{tmp_path.name}-renamed"))
    assert verify_store(Store(renamed), tracking_uri=default_tracking_uri(Store(renamed))) == []


def test_a_cell_without_a_usable_rate_breaks_no_promise(store):
    """Both candidates diverged, no final run could follow, and the sweep ended as complete."""
    for trial_id in ("best", "worse"):
        change_row(trial_id, status="diverged", metrics={}, error="loss is nan")(store)
    for path in ("ledger/final.json", "predictions/final.parquet", "events.jsonl"):
        (store / path).unlink()
    (store / "status.json").write_text(json.dumps({"state": "ended", "exit_code": 0}))
    assert verify_store(Store(store)) == []


def test_what_mlflow_holds_beside_the_ledger_is_told(store):
    from mlflow import MlflowClient

    uri = default_tracking_uri(Store(store))
    Tracker(Store(store), uri, "s").sync()
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("s").experiment_id
    runs = {
        run.data.tags.get("raypeft.trial_id"): run.info.run_id for run in client.search_runs([experiment])
    }
    client.delete_run(runs["worse"])
    client.log_metric(runs["best"], "val/f1_macro", 0.5, step=1)
    left = client.create_run(experiment).info.run_id
    assert sorted(verify_store(Store(store), tracking_uri=uri)) == sorted(
        [
            "MLflow holds 0 finished runs of trial worse",
            f"MLflow run {left} is left RUNNING",
            "MLflow run of trial best holds epochs [1, 1], the row [1]",
        ]
    )


def test_a_damaged_plan_is_told_with_its_copy_and_a_damaged_status_is_none(store):
    (store / "status.json").write_text("{")
    assert verify_store(Store(store)) == []
    (store / "plan.json").write_text("{")
    with pytest.raises(PlanDiffersError, match=r"plan.json is damaged .*; restore it with: cp "):
        verify_store(Store(store))


def test_a_store_whose_search_grew_to_a_better_rate_is_sound(store):
    """Its first final run took the best of two candidates; a third one was better, and has a run too."""
    plan = Store(store).plan
    cells = (replace(plan.cells[0], candidates=3),)
    Store(store).write_plan(replace(plan, cells=cells))
    better = replace(ROW, trial_id="better", candidate=2, lr=0.5, metrics={"val/f1_macro": 0.6})
    again = replace(FINAL, trial_id="again", lr=0.5)
    ledger = Ledger(Store(store))
    for row in (better, again):
        ledger.commit(row)
    shutil.copytree(store / "adapters" / "final", store / "adapters" / "again")
    shutil.copy(store / "predictions" / "final.parquet", store / "predictions" / "again.parquet")
    (store / "status.json").write_text(json.dumps({"exit_code": 0}))
    assert verify_store(Store(store)) == []
    (store / "ledger" / "again.json").unlink()
    assert verify_store(Store(store)) == [
        "missing, though the sweep ended as complete: full / m / d / 1 | final seed 0"
    ]
