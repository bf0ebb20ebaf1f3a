"""What a store takes on the disk, and what can be made again."""

import json

import pytest

from raypeft.store import Store
from raypeft.store.lease import Lease

SIZES = {
    "ledger/a.json": 10,
    "failed/b.json": 20,
    "predictions/a.parquet": 300,
    "adapters/a/adapter_model.safetensors": 4000,
    "checkpoints/b/7.safetensors": 50_000,
    "cache/images/x.arrow": 600_000,
    "cache/weights/d/mine.safetensors": 7_000_000,
    "mlflow.db": 40,
    "notes.txt": 5,
}


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    for name, size in SIZES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(size))
    (folder / "plan.json").write_bytes(bytes(100))
    return folder


def files(store):
    return {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}


def test_sizes_are_listed_by_part_and_nothing_is_removed_unless_asked(store, cli):
    before = files(store)
    code, out, _ = cli("clean", store, "--json")
    assert code == 0
    assert {one["part"]: (one["bytes"], one["removable"]) for one in json.loads(out)} == {
        "ledger": (130, 0),
        "predictions": (300, 0),
        "adapters": (4000, 0),
        "checkpoints": (50_000, 50_000),
        "cache": (7_600_000, 600_000),
        "mlflow": (40, 0),
        "other": (5, 0),
    }
    assert files(store) == before


def test_checkpoints_and_caches_go_but_no_result_and_no_weights_of_the_user(store, tmp_path, cli):
    outside = tmp_path / "shared.arrow"
    outside.write_bytes(bytes(8))
    (store / "cache" / "images" / "link.arrow").symlink_to(outside)
    assert cli("clean", store, "--yes")[0] == 0
    gone = {"checkpoints/b/7.safetensors", "cache/images/x.arrow"}
    assert files(store) - {"lease.json"} == {*SIZES, "plan.json"} - gone
    assert outside.exists()


def test_a_store_that_is_driven_is_left_alone(store, cli):
    before, lease = files(store), Lease(Store(store))
    try:
        code, _, talk = cli("clean", store, "--yes")
    finally:
        lease.release()
    assert code == 6
    assert "in use" in talk
    assert files(store) - {"lease.json"} == before


def test_a_folder_without_a_sweep_is_refused(tmp_path, cli):
    assert cli("clean", tmp_path)[0] == 2
