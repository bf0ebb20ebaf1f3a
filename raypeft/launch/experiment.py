"""A store's own experiment in MLflow, whoever shares the database; its artifacts where the store lies now."""

import contextlib
import os
import sqlite3
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from raypeft.core.errors import StorageError
from raypeft.core.files import write_bytes
from raypeft.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

STORE_TAG = "raypeft.store"


def open_experiment(client: "MlflowClient", store: Store, uri: str, sweep: str) -> str:
    """The id of the store's experiment, which is made where there is none: two stores never share one.

    Only under the lock of the database. Raises: StorageError when it was deleted.
    """
    found = find_experiment(client, store)
    if found is not None and not settle_artifacts(found, store, uri):
        store.id_file.unlink()  # the store is a copy, and the one that it was copied from goes on
        found = None
    if found is None:
        return _create(client, store, uri, sweep)
    if found.lifecycle_stage != "active":
        raise StorageError(
            f"experiment '{found.name}' is deleted in MLflow; restore it with: "
            f"mlflow experiments restore -x {found.experiment_id}"
        )
    return found.experiment_id


def settle_artifacts(experiment: "Experiment", store: Store, uri: str) -> bool:
    """Have the experiment name the place where the store lies now, if it was moved.

    Whether it is the store's: not where that is a copy beside the one that it was copied from.
    """
    here = artifacts_of(store)
    if is_remote(uri) or experiment.artifact_location == here:
        return True
    if not _is_inside(uri, store) and _folder(experiment.artifact_location).exists():
        return False
    _move_artifacts(uri, experiment, here)
    return True


def find_experiment(client: "MlflowClient", store: Store) -> "Experiment | None":
    """The store's experiment, deleted or not, whatever it is called by now."""
    from mlflow.entities import ViewType

    if (name := _read_id(store)) is None:
        return None
    asked = f"tags.`{STORE_TAG}` = '{name}'"
    found = client.search_experiments(view_type=ViewType.ALL, filter_string=asked, max_results=1)
    return found[0] if found else None


def artifacts_of(store: Store) -> str:
    """Where the artifacts of a store lie whose database no server guards."""
    return store.mlflow_artifacts.resolve().as_uri()


def is_remote(uri: str) -> bool:
    """Whether a server stands before the database; it has its own place for artifacts."""
    return uri.startswith(("http://", "https://", "databricks"))


def sqlite_file(uri: str) -> Path | None:
    """Where a database lies that no server guards."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def plain_uri(uri: str) -> str:
    """A sqlite file by its whole path; MLflow would make a folder of `~`."""
    if sqlite_file(uri) is None:
        return uri
    path, mark, options = uri.removeprefix("sqlite:///").partition("?")
    return f"sqlite:///{os.path.abspath(os.path.expanduser(path))}{mark}{options}"


def _create(client: "MlflowClient", store: Store, uri: str, sweep: str) -> str:
    name = _read_id(store)
    if name is None:
        name = uuid.uuid4().hex
        write_bytes(store.id_file, name.encode())
    taken = client.get_experiment_by_name(sweep) is not None
    return client.create_experiment(
        f"{sweep} ({name[:8]})" if taken else sweep,
        artifact_location=None if is_remote(uri) else artifacts_of(store),
        tags={STORE_TAG: name},
    )


def _read_id(store: Store) -> str | None:
    try:
        return store.id_file.read_text().strip()
    except FileNotFoundError:
        return None


def _is_inside(uri: str, store: Store) -> bool:
    """Whether the database is the store's own, which was moved or copied with it."""
    database = sqlite_file(uri)
    return database is not None and database.resolve().is_relative_to(store.path.resolve())


def _folder(location: str) -> Path:
    """Of a file URI, in which spaces and letters beyond ASCII are escaped."""
    return Path(unquote(location.removeprefix("file://")))


def _move_artifacts(uri: str, experiment: "Experiment", place: str) -> None:
    """MLflow holds absolute places, and no call changes one."""
    database = sqlite_file(uri)
    if database is None:
        raise StorageError(
            f"the store was moved, and experiment '{experiment.name}' still names "
            f"{experiment.artifact_location}; move the store back, or delete the experiment and sync again"
        )
    before, number = experiment.artifact_location, experiment.experiment_id
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (place, number)
        )
        connection.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
            "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
            (place, len(before) + 1, number, len(before), before),
        )
