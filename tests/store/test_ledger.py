"""The ledger commits exactly once; a store has one driver."""

import json
import multiprocessing
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from raypeft.core.errors import StorageError, StoreInUseError
from raypeft.core.result import Result
from raypeft.store import Store
from raypeft.store.lease import Lease
from raypeft.store.ledger import Ledger


def row(**changes: object) -> Result:
    base = Result(
        trial_id="0123456789ab", sweep="s", stage="final", method="full", model="m", dataset="d",
        fraction=1.0, seed=0, lr=1e-3, status="done", metrics={"test/f1_macro": 0.5},
        curve=({"epoch": 1, "val/f1_macro": 0.4},), classes=("a", "b"),
    )  # fmt: skip
    return replace(base, **changes)


def test_a_committed_row_reads_back_equal(tmp_path):
    Ledger(Store(tmp_path)).commit(row())
    assert Ledger(Store(tmp_path))["0123456789ab"] == row()


def test_the_first_writer_wins(tmp_path):
    first, second = Ledger(Store(tmp_path)), Ledger(Store(tmp_path))
    first.commit(row())
    stands = second.commit(row(metrics={"test/f1_macro": 0.9}))
    assert stands == row()
    assert second["0123456789ab"] == row()


def test_a_commit_leaves_no_temporary_file(tmp_path):
    ledger = Ledger(Store(tmp_path))
    ledger.commit(row())
    ledger.commit(row())
    assert [path.name for path in (tmp_path / "ledger").iterdir()] == ["0123456789ab.json"]


def test_a_crash_is_no_result_and_vanishes_with_one(tmp_path):
    ledger = Ledger(Store(tmp_path))
    ledger.record_failure(row(status="failed", attempt=2))
    assert "0123456789ab" not in Ledger(Store(tmp_path))
    assert Ledger(Store(tmp_path)).num_failures("0123456789ab") == 2
    ledger.commit(row())
    assert Ledger(Store(tmp_path)).num_failures("0123456789ab") == 0


def test_a_damaged_row_is_named(tmp_path):
    Ledger(Store(tmp_path)).commit(row())
    path = tmp_path / "ledger" / "0123456789ab.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(StorageError, match=r"0123456789ab\.json: not a ledger row"):
        Ledger(Store(tmp_path))


def test_a_row_that_lies_under_another_trial_s_name_is_refused(tmp_path):
    """What a trial left is looked for under its id: in a store that was sent, it might lead anywhere."""
    Ledger(Store(tmp_path)).commit(row())
    path = tmp_path / "ledger" / "0123456789ab.json"
    path.write_text(path.read_text().replace("0123456789ab", "../../home/someone"))
    with pytest.raises(StorageError, match=r"0123456789ab\.json: not a ledger row \(of trial '\.\./"):
        Ledger(Store(tmp_path))


@pytest.mark.parametrize("schema", [4, 99], ids=["older", "newer"])
def test_a_row_of_another_schema_is_refused(tmp_path, schema):
    ledger = Ledger(Store(tmp_path))
    ledger.commit(row())
    path = tmp_path / "ledger" / "0123456789ab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": schema}))
    with pytest.raises(StorageError, match=f"schema {schema}"):
        Ledger(Store(tmp_path))


def _commit_own(store: Path, number: int) -> None:
    Ledger(Store(store)).commit(row(metrics={"test/f1_macro": number / 10}))


def test_of_many_writers_at_once_one_stands_and_no_file_is_torn(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_commit_own, args=(tmp_path, number)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    assert Ledger(Store(tmp_path))["0123456789ab"].metrics["test/f1_macro"] in [
        number / 10 for number in range(8)
    ]


def test_a_second_driver_is_refused_and_told_who_drives(tmp_path):
    lease = Lease(Store(tmp_path))
    code = (
        "import sys; from raypeft.store import Store; from raypeft.store.lease import Lease\n"
        "from raypeft.core.errors import StoreInUseError\n"
        "try: Lease(Store(sys.argv[1]))\n"
        "except StoreInUseError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    refused = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "in use by pid" in refused
    lease.release()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_a_lease_in_the_same_process_is_refused_too(tmp_path):
    lease = Lease(Store(tmp_path))
    with pytest.raises(StoreInUseError):
        Lease(Store(tmp_path))
    lease.release()
