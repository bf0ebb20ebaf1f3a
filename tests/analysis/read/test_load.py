import json

import pytest

from raypeft.analysis.read.load import load_results
from raypeft.core.errors import ConfigError, StorageError


def test_every_committed_and_failed_trial_is_one_row_with_a_column_per_metric(write_store, make_row):
    store = write_store(
        [
            make_row(seed=0, metrics={"test/f1_macro": 0.5, "val/f1_macro": 0.6}),
            make_row(stage="search", seed=1000, candidate=3, status="pruned", curve=({"epoch": 1},)),
            make_row(seed=1, status="failed", error="OutOfMemoryError"),
        ]
    )
    frame = load_results(store).set_index(["stage", "status"])
    assert len(frame) == 3
    assert frame.loc[("final", "done"), ["test/f1_macro", "val/f1_macro"]].tolist() == [0.5, 0.6]
    assert frame.loc[("search", "pruned"), "curve"] == ({"epoch": 1},)
    assert frame["test/f1_macro"].notna().sum() == 1
    assert "metrics" not in frame.columns


def test_a_trial_that_failed_and_was_committed_later_counts_once_as_committed(write_store, make_row):
    row = make_row(score=0.7)
    store = write_store([row])
    (store / "failed" / f"{row.trial_id}.json").write_text(json.dumps(row.to_dict() | {"status": "failed"}))
    assert load_results(store)["status"].tolist() == ["done"]


def test_two_rows_of_one_final_run_are_refused_by_their_names(write_store, make_row):
    """As they lay in stores that were resumed under another spelling of one cell."""
    store = write_store([make_row(trial_id="one", score=0.7), make_row(trial_id="two", score=0.7)])
    with pytest.raises(StorageError, match=r"final seed 0 of linear / .* is committed twice, as one and two"):
        load_results(store)


def test_an_empty_ledger_is_an_empty_frame_with_the_columns_of_a_row(write_store):
    frame = load_results(write_store([]))
    assert frame.empty
    assert {"stage", "status", "method", "curve"} <= set(frame.columns)


def test_half_written_files_are_not_rows(write_store, final_rows):
    store = write_store(final_rows({"linear": [0.5]}))
    (store / "ledger" / ".x.json.abc.tmp").write_text("{")
    assert len(load_results(store)) == 1


def test_a_store_that_does_not_exist_is_a_configuration_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        load_results(tmp_path / "nowhere")


def test_a_folder_without_a_ledger_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="no ledger"):
        load_results(tmp_path)


@pytest.mark.parametrize("damage", ["{not json", "[]", "{}", '{"schema": 1, "colour": "red"}'])
def test_a_row_that_cannot_be_read_is_named(damage, write_store, final_rows):
    store = write_store(final_rows({"linear": [0.5]}))
    (store / "ledger" / "broken.json").write_text(damage)
    with pytest.raises(StorageError, match=r"ledger/broken\.json"):
        load_results(store)


def test_a_row_of_a_newer_schema_is_refused_by_name(write_store, make_row):
    row = make_row(score=0.5)
    store = write_store([row])
    path = store / "ledger" / f"{row.trial_id}.json"
    path.write_text(json.dumps(row.to_dict() | {"schema": 99}))
    with pytest.raises(StorageError, match=rf"{row.trial_id}\.json: row of schema 99"):
        load_results(store)
