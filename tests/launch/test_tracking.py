import csv
import io
import json
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raypeft.core.errors import StorageError
from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.sources import dataset_label
from raypeft.core.spec import Cell, Preprocessing, Search, Sweep, TrialSpec
from raypeft.launch import mirror
from raypeft.launch.experiment import find_experiment, plain_uri
from raypeft.launch.matrix import draw_matrix, matrix_csv
from raypeft.launch.mlflow_place import default_tracking_uri, ensure_database, experiment_page, ui_command
from raypeft.launch.page import wait_for
from raypeft.launch.tracking import SyncCount, Tracker
from raypeft.metrics.remarks import run_remarks
from raypeft.store import Store
from raypeft.store.plan import PlannedCell, PlanRecord

SWEEP = "two_cells"
CLASSES = ("benign", "malignant, in situ", "normal")
DATA = "folder:/mnt/st_elsewhere/busi"
FULL = Cell(method="lora", model="vit_nano", dataset=DATA, fraction=0.1)
PART = Cell(method="linear", model="vit_nano", dataset=DATA, fraction=1.0)
TEST_F1 = (0.70, 0.80, 0.75)
STARTED, ENDED = "2026-01-02T03:04:05.678+00:00", "2026-01-02T03:05:05.678+00:00"
MS = 1767323045678  # STARTED, by `date -u -d 2026-01-02T03:04:05.678 +%s%3N`


def within(seconds: float):
    """Asked, says no from then on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


def make_row(cell, *, seed=None, candidate=None, lr=1e-3, status="done", metrics=None, error=None):
    """A committed row: a final run if `seed` is given, else search candidate `candidate`."""
    stage = "search" if seed is None else "final"
    spec = TrialSpec(
        cell=cell,
        stage=stage,
        seed=1000 if seed is None else seed,
        lr=lr,
        recipe=Recipe(epochs=3),
        preprocessing=Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic"),
        split="grouped",
        split_seed=0,
        weights_digest="w" * 12,
        data_digest="d" * 12,
        search=Search(trials=3) if seed is None else None,
        candidate=candidate,
    )
    scores = (0.5, 0.7, 0.6)
    return Result(
        trial_id=spec.trial_id,
        sweep=SWEEP,
        stage=stage,
        method=cell.method,
        model=cell.model,
        dataset=dataset_label(cell.dataset),
        fraction=cell.fraction,
        seed=spec.seed,
        lr=lr,
        candidate=candidate,
        status=status,
        error=error,
        metrics=metrics or {},
        curve=tuple(
            {"epoch": epoch, "train/loss": 1 / epoch, "val/f1_macro": score}
            for epoch, score in enumerate(scores, 1)
        ),
        best_epoch=2,
        classes=CLASSES,
        trainable=123,
        seconds=60.0,
        spec=spec.content,
        precision="fp32",
        started=STARTED,
        ended=ENDED,
    )


def final(cell, seed):
    rate = {FULL: 1e-4, PART: 1e-2}.get(cell, 1e-3)  # the best of its search
    scores = {"val/f1_macro": 0.7, "test/f1_macro": TEST_F1[seed]}
    return make_row(cell, seed=seed, lr=rate, metrics=scores)


def commit(store: Path, row: Result) -> None:
    path = store / "ledger" / f"{row.trial_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row.to_dict()))
    if row.stage == "final":
        adapter = store / "adapters" / row.trial_id
        adapter.mkdir(parents=True)
        (adapter / "adapter_config.json").write_text("{}")
        write_predictions(store / "predictions" / f"{row.trial_id}.parquet")


def write_predictions(path: Path) -> None:
    """Five cases: a benign one right and one taken for normal, two malignant right, one normal right."""
    path.parent.mkdir(exist_ok=True)
    labels, predicted = [0, 0, 1, 1, 2], [0, 2, 1, 1, 2]
    probabilities = np.eye(3)[predicted] * 0.8 + 0.1
    columns = {"case_id": list("abcde"), "label": labels}
    columns |= {f"prob/{c}": probabilities[:, i].astype(np.float16) for i, c in enumerate(CLASSES)}
    pq.write_table(pa.table(columns), path)


def write_plan(store: Path, *, candidates: int = 3) -> Path:
    sweep = Sweep(name=SWEEP, cells=(FULL, PART))
    cells = tuple(
        PlannedCell(cell=cell, candidates=number, final_seeds=(0, 1, 2))
        for cell, number in ((FULL, candidates), (PART, 1))
    )
    plan = PlanRecord(sweep=sweep, cells=cells, weights_digests={}, data_digests={}, data={})
    Store(store).write_plan(plan)
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with one complete cell and one that lacks two final runs, synced once."""
    store = write_plan(tmp_path_factory.mktemp("tracking") / "a store")
    commit(store, make_row(FULL, candidate=0, lr=1e-4, metrics={"val/f1_macro": 0.7}))
    commit(store, make_row(FULL, candidate=1, lr=1e-3, status="pruned"))
    commit(store, make_row(FULL, candidate=2, lr=1e-1, status="diverged", error="epoch 3: loss is nan"))
    commit(store, make_row(PART, candidate=0, lr=1e-2))
    for seed in (0, 1, 2):
        commit(store, final(FULL, seed))
    commit(store, final(PART, 0))
    assert sync(store) == SyncCount(synced=8, already=0)
    return store


def sync(store: Path) -> SyncCount:
    return Tracker(Store(store), default_tracking_uri(Store(store)), SWEEP).sync()


@pytest.fixture(scope="module")
def client(store):
    from mlflow import MlflowClient

    return MlflowClient(default_tracking_uri(Store(store)))


def all_runs(client):
    return list(client.search_runs([client.get_experiment_by_name(SWEEP).experiment_id]))


def parents(client):
    return {run.info.run_name: run for run in all_runs(client) if "raypeft.cell" in run.data.tags}


def children(client, cell_name):
    parent = parents(client)[cell_name].info.run_id
    runs = [run for run in all_runs(client) if run.data.tags.get("mlflow.parentRunId") == parent]
    return {run.info.run_name: run for run in runs}


def assert_mirrors(client, store):
    """Exactly one finished run per committed trial, none running, each (key, step) once."""
    runs = all_runs(client)
    committed = {path.stem for path in (store / "ledger").glob("*.json")}
    finished = [run.data.tags.get("raypeft.trial_id") for run in runs if run.info.status == "FINISHED"]
    assert Counter(filter(None, finished)) == Counter(committed)
    assert {run.info.status for run in runs} <= {"FINISHED", "SCHEDULED"}
    for run in runs:
        for key in run.data.metrics:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps)), f"{run.info.run_name}: {key} at steps {steps}"


def test_every_committed_trial_is_a_finished_run_under_its_cell(store, client):
    assert_mirrors(client, store)
    assert set(parents(client)) == {"lora / vit_nano / busi / 0.1", "linear / vit_nano / busi / 1"}
    assert {
        name: run.data.tags["raypeft.status"]
        for name, run in children(client, "lora / vit_nano / busi / 0.1").items()
    } == {
        "search 00 lr=1.0e-04": "done",
        "search 01 lr=1.0e-03": "pruned",
        "search 02 lr=1.0e-01": "diverged",
        "final seed=0": "done",
        "final seed=1": "done",
        "final seed=2": "done",
    }


def test_a_run_carries_the_spec_the_curve_by_epoch_and_the_scores(store, client):
    run = children(client, "lora / vit_nano / busi / 0.1")["final seed=1"]
    params = {
        "method": "lora",
        "lr": "0.0001",
        "epochs": "3",
        "batch_size": "512",
        "fraction": "0.1",
        "seed": "1",
    }
    assert params.items() <= run.data.params.items()
    history = client.get_metric_history(run.info.run_id, "val/f1_macro")
    assert sorted((point.step, point.value) for point in history) == [(1, 0.5), (2, 0.7), (3, 0.6)]
    expected = {
        "test/f1_macro": 0.8,
        "best/val/f1_macro": 0.7,
        "best_epoch": 2,
        "trainable": 123,
        "seconds": 60,
    }
    assert expected.items() <= run.data.metrics.items()
    tags = {
        "raypeft.method": "lora",
        "raypeft.dataset": "busi",
        "raypeft.stage": "final",
        "raypeft.fraction": "0.1",
    }
    assert tags.items() <= run.data.tags.items()


def test_a_search_run_carries_the_settings_of_its_search(store, client):
    run = children(client, "lora / vit_nano / busi / 0.1")["search 02 lr=1.0e-01"]
    assert {
        "search.lr.low": "1e-05",
        "lr": "0.1",
        "candidate": "2",
    }.items() <= run.data.params.items()
    assert run.data.tags["raypeft.error"] == "epoch 3: loss is nan"


def test_times_are_those_of_the_trial_and_not_of_the_sync(store, client):
    for run in all_runs(client):
        assert run.info.start_time == MS
        assert run.info.end_time in (MS + 60_000, None)  # None: a cell that is not complete
    run = children(client, "lora / vit_nano / busi / 0.1")["final seed=0"]
    assert {p.timestamp for p in client.get_metric_history(run.info.run_id, "train/loss")} == {MS + 60_000}


def test_a_complete_cell_is_finished_with_mean_and_sd_over_its_seeds(store, client):
    run = parents(client)["lora / vit_nano / busi / 0.1"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/f1_macro/mean"] == pytest.approx(0.75)
    assert run.data.metrics["test/f1_macro/sd"] == pytest.approx(0.05)  # sqrt((.05² + .05² + 0) / 2)
    assert run.data.tags["raypeft.lr"] == "0.0001"
    assert {"epochs": "3", "method": "lora"}.items() <= run.data.params.items()
    assert "seed" not in run.data.params


def test_final_runs_hold_the_adapter_and_the_confusion_matrix(store, client):
    run_id = children(client, "lora / vit_nano / busi / 0.1")["final seed=0"].info.run_id
    names = {file.path for file in client.list_artifacts(run_id)}
    assert names == {"adapter", "confusion_matrix.csv", "confusion_matrix.png"}
    assert [file.path for file in client.list_artifacts(run_id, "adapter")] == ["adapter/adapter_config.json"]
    table = Path(client.download_artifacts(run_id, "confusion_matrix.csv")).read_text()
    assert table == (
        'true / predicted,benign,"malignant, in situ",normal\n'
        "benign,1,0,1\n"
        '"malignant, in situ",0,2,0\n'
        "normal,0,0,1\n"
    )
    with Image.open(client.download_artifacts(run_id, "confusion_matrix.png")) as image:
        assert min(image.size) >= 300
    search = children(client, "lora / vit_nano / busi / 0.1")["search 00 lr=1.0e-04"]
    assert client.list_artifacts(search.info.run_id) == []


def test_mlflow_never_learns_where_the_data_lie(store, client):
    assert b"busi" in (store / "mlflow.db").read_bytes()
    assert b"st_elsewhere" not in (store / "mlflow.db").read_bytes()


def test_a_second_sync_sends_nothing(store, client):
    before = {run.info.run_id: run.to_dictionary() for run in all_runs(client)}
    assert sync(store) == SyncCount(synced=0, already=len(list((store / "ledger").iterdir())))
    assert {run.info.run_id: run.to_dictionary() for run in all_runs(client)} == before


def test_a_run_cut_short_is_written_again(store, client):
    from mlflow.entities import Metric

    experiment_id = client.get_experiment_by_name(SWEEP).experiment_id
    whole = children(client, "lora / vit_nano / busi / 0.1")["final seed=2"]
    trial_id = whole.data.tags["raypeft.trial_id"]
    client.delete_run(whole.info.run_id)
    half = client.create_run(experiment_id, tags={"raypeft.trial_id": trial_id})
    client.log_batch(half.info.run_id, metrics=[Metric("train/loss", 1.0, MS, 1)])

    count = sync(store)

    assert count.synced == 1
    assert_mirrors(client, store)
    again = children(client, "lora / vit_nano / busi / 0.1")["final seed=2"]
    assert again.info.run_id != half.info.run_id
    assert again.data.metrics == whole.data.metrics


def test_a_cell_cut_short_while_it_was_settled_is_completed(store, client):
    run = parents(client)["lora / vit_nano / busi / 0.1"]
    client.update_run(run.info.run_id, status="RUNNING")
    sync(store)
    assert_mirrors(client, store)
    assert parents(client)["lora / vit_nano / busi / 0.1"].data.metrics == run.data.metrics


def test_a_trial_sent_twice_is_reduced_to_one_run(store, client):
    run = children(client, "lora / vit_nano / busi / 0.1")["final seed=0"]
    twin = client.create_run(
        run.info.experiment_id, tags={"raypeft.trial_id": run.data.tags["raypeft.trial_id"]}
    )
    client.set_terminated(twin.info.run_id)
    sync(store)
    assert_mirrors(client, store)


def test_a_childless_twin_of_a_cell_is_removed(store, client):
    name = "lora / vit_nano / busi / 0.1"
    run = parents(client)[name]
    for _ in range(4):  # ids are random: one of four is likely to sort before the cell's own
        client.create_run(
            run.info.experiment_id, tags={"raypeft.cell": run.data.tags["raypeft.cell"]}, run_name="twin"
        )
    sync(store)
    assert parents(client)[name].info.run_id == run.info.run_id
    assert "twin" not in parents(client)
    assert_mirrors(client, store)


def test_a_cell_is_scheduled_until_its_last_final_run_is_committed(store, client):
    name = "linear / vit_nano / busi / 1"
    run = parents(client)[name]
    assert run.info.status == "SCHEDULED"
    assert run.data.metrics == {}
    tracker = Tracker(Store(store), default_tracking_uri(Store(store)), SWEEP)
    for seed, status in ((1, "SCHEDULED"), (2, "FINISHED")):
        commit(store, final(PART, seed))
        assert tracker.sync().synced == 1
        assert parents(client)[name].info.status == status
    assert parents(client)[name].data.metrics["test/f1_macro/sd"] == pytest.approx(statistics.stdev(TEST_F1))
    assert_mirrors(client, store)


def test_a_cell_without_a_usable_rate_is_finished_and_says_why(tmp_path):
    from mlflow import MlflowClient

    store = write_plan(tmp_path / "diverged")
    for candidate, lr in enumerate((1e36, 1e37, 1e38)):
        commit(store, make_row(FULL, candidate=candidate, lr=lr, status="diverged", error="loss is nan"))
    sync(store)
    cell = parents(MlflowClient(default_tracking_uri(Store(store))))["lora / vit_nano / busi / 0.1"]
    assert cell.info.status == "FINISHED"
    told = "no usable rate: all 3 candidates diverged, from 1.0e+36 to 1.0e+38"
    assert cell.data.tags["raypeft.remarks"] == told
    assert cell.data.metrics == {"final_seeds_done": 0}


def test_final_runs_that_learned_nothing_bear_the_mark(tmp_path):
    """Means of the seeds: 0.3 beats no majority class of 0.3."""
    from mlflow import MlflowClient

    store = write_plan(tmp_path / "nothing", candidates=0)
    for seed, score in enumerate((0.2, 0.3, 0.4)):
        scores = {"test/f1_macro": score, "test/f1_macro_majority": 0.3}
        row = make_row(FULL, seed=seed, metrics=scores)
        commit(store, replace(row, remarks=run_remarks("classify", scores)))
    sync(store)
    client = MlflowClient(default_tracking_uri(Store(store)))
    told = "test macro F1 {} does not beat the 0.300 of the majority class"
    runs = children(client, "lora / vit_nano / busi / 0.1")
    assert [runs[f"final seed={seed}"].data.tags.get("raypeft.remarks") for seed in range(3)] == [
        "learned nothing: " + told.format("0.200"),
        "learned nothing: " + told.format("0.300"),
        None,
    ]
    cell = parents(client)["lora / vit_nano / busi / 0.1"]
    assert cell.data.tags["raypeft.remarks"] == "nothing learned: " + told.format("0.300 (mean of 3 seeds)")
    assert cell.data.metrics["test/f1_macro_majority/mean"] == pytest.approx(0.3)


def test_the_thread_sends_what_is_committed_while_it_runs(store, client):
    tracker = Tracker(Store(store), default_tracking_uri(Store(store)), SWEEP)
    tracker.start()
    row = make_row(PART, candidate=1, lr=3e-2)
    commit(store, row)
    tracker.notify()
    tracker.close(within(60))
    assert "search 01 lr=3.0e-02" in children(client, "linear / vit_nano / busi / 1")
    assert_mirrors(client, store)


def test_one_unreadable_result_does_not_hold_up_the_other_cells(store, client):
    other = Cell(method="full", model="vit_nano", dataset=DATA)
    broken = final(Cell(method="bitfit", model="vit_nano", dataset=DATA), 0)
    for row in (final(other, 0), broken):
        commit(store, row)
    predictions = store / "predictions" / f"{broken.trial_id}.parquet"
    predictions.write_bytes(b"damaged")
    with pytest.raises(StorageError, match=r"waiting: 1 run; send later with: raypeft sync '.*a store'"):
        sync(store)
    assert "final seed=0" in children(client, "full / vit_nano / busi / 1")
    write_predictions(predictions)
    assert sync(store).synced == 1
    assert_mirrors(client, store)


def test_a_link_out_of_the_store_is_not_followed(tmp_path):
    """In a store that was sent, an adapter may be a link to a key of who looks at it."""
    store, key = write_plan(tmp_path / "sent"), tmp_path / "id_rsa"
    key.write_text("private")
    row = final(FULL, 0)
    commit(store, row)
    (store / "adapters" / row.trial_id / "adapter_model.safetensors").symlink_to(key)
    with pytest.raises(StorageError, match=r"adapter_model\.safetensors is a link out of the store"):
        sync(store)
    assert not [path for path in (store / "mlflow-artifacts").rglob("*") if path.read_bytes() == b"private"]


def artifacts(store: Path, uri: str) -> dict[str, set[Path]]:
    """Trial -> the files that MLflow finds of its adapter, each read where it lies."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = find_experiment(client, Store(store))
    found = {}
    for run in mirror.all_runs(client, experiment.experiment_id):
        names = [file.path for file in client.list_artifacts(run.info.run_id, "adapter")]
        place = Path(run.info.artifact_uri.removeprefix("file://"))
        if names:
            found[run.data.tags["raypeft.trial_id"]] = {place / name for name in names}
    assert all(path.is_file() for paths in found.values() for path in paths)
    return found


def finals(store: Path) -> Path:
    store = write_plan(store)
    for seed in (0, 1):
        commit(store, final(FULL, seed))
    return store


@pytest.mark.parametrize("how", [Path.rename, shutil.copytree])
def test_a_store_that_was_moved_or_copied_keeps_its_artifacts(tmp_path, how):
    store = finals(tmp_path / "here")
    sync(store)
    moved = tmp_path / "elsewhere" / "there"
    moved.parent.mkdir()
    how(store, moved)
    ensure_database(
        Store(moved), default_tracking_uri(Store(moved))
    )  # as `raypeft ui` and `raypeft verify` do
    found = artifacts(moved, default_tracking_uri(Store(moved)))
    assert len(found) == 2
    assert all(path.is_relative_to(moved) for paths in found.values() for path in paths)
    assert sync(moved) == SyncCount(synced=0, already=2)
    commit(moved, final(FULL, 2))
    assert sync(moved) == SyncCount(synced=1, already=2)
    assert len(artifacts(moved, default_tracking_uri(Store(moved)))) == 3


def test_two_stores_of_one_sweep_share_a_database_and_nothing_else(tmp_path):
    """The second one's adapters went into the first one's folder, and vanished with it."""
    uri = f"sqlite:///{tmp_path / 'all.db'}"
    stores = [finals(tmp_path / name) for name in ("one", "two")]
    for store in stores:
        assert Tracker(Store(store), uri, SWEEP).sync() == SyncCount(synced=2, already=0)
    for store in stores:
        found = artifacts(store, uri)
        assert len(found) == 2
        assert all(path.is_relative_to(store) for paths in found.values() for path in paths)
    shutil.rmtree(stores[0])
    assert len(artifacts(stores[1], uri)) == 2


def test_a_store_moves_and_a_copy_parts_from_the_original_in_a_shared_database(tmp_path):
    uri = f"sqlite:///{tmp_path / 'all.db'}"
    store = finals(tmp_path / "our first é")
    Tracker(Store(store), uri, SWEEP).sync()
    copy = shutil.copytree(store, tmp_path / "copy")
    commit(copy, final(FULL, 2))
    assert Tracker(Store(copy), uri, SWEEP).sync() == SyncCount(synced=3, already=0)
    assert all(path.is_relative_to(copy) for paths in artifacts(copy, uri).values() for path in paths)
    moved = store.rename(tmp_path / "moved")
    assert Tracker(Store(moved), uri, SWEEP).sync() == SyncCount(synced=0, already=2)
    assert all(path.is_relative_to(moved) for paths in artifacts(moved, uri).values() for path in paths)


def test_an_experiment_that_was_renamed_in_the_viewer_is_found_again(tmp_path):
    from mlflow import MlflowClient

    store = finals(tmp_path / "one")
    sync(store)
    client = MlflowClient(default_tracking_uri(Store(store)))
    client.rename_experiment(client.get_experiment_by_name(SWEEP).experiment_id, "my thesis, chapter 4")
    assert sync(store) == SyncCount(synced=0, already=2)


def test_a_path_of_sqlite_is_written_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert plain_uri("sqlite:///~/runs.db") == f"sqlite:///{tmp_path}/home/runs.db"
    assert plain_uri("sqlite:///runs.db?timeout=5") == f"sqlite:///{tmp_path}/runs.db?timeout=5"
    assert plain_uri("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


def test_an_unreachable_server_costs_seconds_and_one_warning_that_hides_the_password(tmp_path, caplog):
    store = write_plan(tmp_path)
    commit(store, final(FULL, 0))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tracker = Tracker(Store(store), f"http://someone:pa55word@127.0.0.1:{port}", SWEEP)
    started = time.monotonic()
    tracker.start()
    for _ in range(100):
        tracker.notify()
    tracker.close(within(60))
    assert time.monotonic() - started < 30
    assert 1 <= len(caplog.records) <= 2  # while it runs, and at the end
    warning = caplog.records[-1].getMessage()
    assert warning.startswith(f"warning: tracking server unreachable (http://127.0.0.1:{port}: ")
    assert warning.endswith(f"waiting: 1 run; send later with: raypeft sync {store}")
    assert "pa55word" not in caplog.text


def test_a_server_that_never_answers_does_not_hold_up_the_end_of_a_sweep(tmp_path, caplog):
    store = write_plan(tmp_path)
    commit(store, final(FULL, 0))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracker = Tracker(Store(store), f"http://127.0.0.1:{silent.getsockname()[1]}", SWEEP)
        tracker.start()
        started = time.monotonic()
        tracker.close(within(0.2))
        assert time.monotonic() - started < 2
    assert re.search(r"not done within 0.\d s\): waiting: 1 run", caplog.text)


@pytest.mark.fault(row=20, expected="two sweeps at once on a fresh tracking database: both arrive, no error")
def test_two_sweeps_may_start_at_once_on_a_fresh_database(tmp_path):
    database = f"sqlite:///{tmp_path}/shared.db"
    code = (
        "import sys; from raypeft.launch.tracking import Tracker; from raypeft.store import Store; "
        "print(Tracker(Store(sys.argv[1]), sys.argv[2], 'shared').sync())"
    )
    stores = [write_plan(tmp_path / name) for name in ("a", "b")]
    for seed, store in enumerate(stores):
        commit(store, final(FULL, seed))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store), database],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for store in stores
    ]
    ends = [(*process.communicate(timeout=300), process.returncode) for process in processes]
    # nothing on stderr: MLflow's migrations are silent
    assert ends == [("SyncCount(synced=1, already=0)\n", "", 0)] * 2


DIES_IN_A_MIGRATION = """
import os, signal, sys
from sqlalchemy import Engine, event
from raypeft.launch.mlflow_place import default_tracking_uri
from raypeft.launch.tracking import Tracker
from raypeft.store import Store

@event.listens_for(Engine, "before_cursor_execute")
def die(connection, cursor, statement, *_):
    if statement.startswith("INSERT INTO _alembic_tmp_"):  # a table's new form is made, and not filled
        os.kill(os.getpid(), signal.SIGKILL)

store = Store(sys.argv[1])
Tracker(store, default_tracking_uri(store), "killed").sync()
"""


def test_a_kill_while_mlflow_makes_its_tables_harms_no_later_sync(tmp_path):
    store = write_plan(tmp_path / "store")
    commit(store, final(FULL, 0))
    killed = subprocess.run([sys.executable, "-c", DIES_IN_A_MIGRATION, str(store)])
    assert killed.returncode == -signal.SIGKILL
    assert sync(store) == SyncCount(synced=1, already=0)


def test_the_viewer_listens_on_this_machine_only(tmp_path):
    command = ui_command(Store(tmp_path), default_tracking_uri(Store(tmp_path)), port=5001)
    assert command[-4:] == ["--host", "127.0.0.1", "--port", "5001"]
    assert f"MLFLOW_BACKEND_STORE_URI=sqlite:///{tmp_path}/mlflow.db" in command


def test_the_viewer_of_a_server_is_the_browser(tmp_path):
    assert ui_command(Store(tmp_path), "https://mlflow.example.org")[-1] == "https://mlflow.example.org"


@pytest.mark.parametrize("classes", [41, 150, 1000])
def test_a_confusion_matrix_of_many_classes_costs_no_more_than_one_of_forty(classes):
    """With a number in each of its cells, 150 classes took 146 s and 3.7 GB."""
    names = [f"class {number}" for number in range(classes)]
    figure = draw_matrix(np.eye(classes, dtype=int), names, title="many")
    (axes,) = figure.axes
    assert not axes.texts
    assert max(figure.get_size_inches()) <= 2.5 + 0.5 * 40
    assert len(matrix_csv(np.eye(classes, dtype=int), names).splitlines()) == 1 + classes


def test_names_of_classes_stand_in_pictures_and_tables_as_text():
    names = ["=HYPERLINK(1)", "$x_{$", "-1"]
    figure = draw_matrix(np.eye(3, dtype=int), names, title="$a_{$")
    figure.savefig(io.BytesIO())  # as mathematics, "$x_{$" does not parse
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == names
    header = next(csv.reader(io.StringIO(matrix_csv(np.eye(3, dtype=int), names))))
    assert header == ["true / predicted", "'=HYPERLINK(1)", "$x_{$", "-1"]


def test_the_viewer_opens_the_page_of_the_sweep(store, client, tmp_path):
    """A server has many experiments; the first is an empty one."""
    number = client.get_experiment_by_name(SWEEP).experiment_id
    page = experiment_page(Store(store), default_tracking_uri(Store(store)), port=5001)
    assert page == f"http://127.0.0.1:5001/#/experiments/{number}"
    ensure_database(Store(tmp_path), default_tracking_uri(Store(tmp_path)))  # of a store that was never sent
    assert (
        experiment_page(Store(tmp_path), default_tracking_uri(Store(tmp_path)), port=5)
        == "http://127.0.0.1:5"
    )


def test_a_page_is_opened_once_its_server_listens():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert not wait_for(port, seconds=0.5)
        server.listen()
        assert wait_for(port, seconds=5)
