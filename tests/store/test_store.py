"""One place knows where in a store everything lies, and reads its rows."""

import json
from dataclasses import replace

import pytest

from raypeft.core.errors import ConfigError
from raypeft.core.result import Result
from raypeft.store import Store
from raypeft.store.lease import Lease
from raypeft.store.ledger import Ledger

ROW = Result(
    trial_id="aaa", sweep="s", stage="final", method="full", model="m", dataset="d", fraction=1.0, seed=0,
    lr=1e-3, status="done",
)  # fmt: skip
CRASH = replace(ROW, status="failed", error="OSError: disk")


def test_a_path_may_be_text_or_a_path(tmp_path):
    assert str(Store(str(tmp_path))) == str(Store(tmp_path)) == str(tmp_path)


def test_only_the_folder_of_a_sweep_that_was_run_is_opened(tmp_path):
    with pytest.raises(ConfigError, match=r"no store .*nowhere"):
        Store.open(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="holds no ledger"):
        Store.open(tmp_path)
    lease = Lease(Store(tmp_path))
    Ledger(Store(tmp_path), lease=lease)
    assert Store.open(tmp_path).rows() == []
    lease.release()


def test_to_name_a_store_and_to_read_it_makes_nothing(tmp_path):
    store = Store(tmp_path / "new")
    assert (store.rows(), store.failures(), store.is_driven) == ([], [], False)
    assert not store.path.exists()


def test_rows_come_by_trial_id_and_half_written_ones_are_none(tmp_path):
    store = Store(tmp_path)
    ledger = Ledger(store)
    for trial_id in ("bbb", "aaa"):
        ledger.commit(replace(ROW, trial_id=trial_id))
    (store.ledger_folder / ".ccc.json.0.tmp").write_text("{")
    assert [row.trial_id for row in store.rows()] == ["aaa", "bbb"]
    assert store.row("aaa") == ROW


def test_a_trial_that_failed_and_was_committed_later_is_no_failure(tmp_path):
    store = Store(tmp_path)
    ledger = Ledger(store)
    ledger.record_failure(CRASH)
    ledger.record_failure(replace(CRASH, trial_id="bbb"))
    assert [row.trial_id for row in store.failures()] == ["aaa", "bbb"]
    ledger.commit(ROW)
    # as a driver leaves it that dies between the commit and the removal
    store.failure_file("aaa").write_text(json.dumps(CRASH.to_dict()))
    assert [row.trial_id for row in store.failures()] == ["bbb"]


def test_a_store_is_driven_while_its_lease_is_held(tmp_path):
    store = Store(tmp_path)
    lease = Lease(store)
    assert store.is_driven
    lease.release()
    assert not store.is_driven
