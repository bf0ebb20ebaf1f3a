"""Find or make a store's own experiment in MLflow, whose artifacts are where the store is now."""

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
    """Return the id of the store's experiment, and make it if there is none; stores never share one.

    Call it only under the lock of the database.
    Raises: StorageError if the experiment was deleted.
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
    """Make the experiment name the place where the store is now, if it was moved.

    Returns False if the experiment is not this store's: the store is a copy and the original still exists.
    """
    here = artifacts_of(store)
    if is_remote(uri) or experiment.artifact_location == here:
        return True
    if not _is_inside(uri, store) and _folder(experiment.artifact_location).exists():
        return False
    _move_artifacts(uri, experiment, here)
    return True


def find_experiment(client: "MlflowClient", store: Store) -> "Experiment | None":
    """Return the store's experiment, deleted or not, under whatever name it has now."""
    from mlflow.entities import ViewType

    if (name := _read_id(store)) is None:
        return None
    asked = f"tags.`{STORE_TAG}` = '{name}'"
    found = client.search_experiments(view_type=ViewType.ALL, filter_string=asked, max_results=1)
    return found[0] if found else None


def artifacts_of(store: Store) -> str:
    """Return where the artifacts of a store are if no server holds its database."""
    return store.mlflow_artifacts.resolve().as_uri()


def is_remote(uri: str) -> bool:
    """True if a server holds the database; it has its own place for artifacts."""
    return uri.startswith(("http://", "https://", "databricks"))


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a sqlite database; None for any other URI."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def plain_uri(uri: str) -> str:
    """Return the URI with a sqlite file's absolute path; MLflow would make a folder named `~`."""
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
    """True if the database is the store's own, and was moved or copied with it."""
    database = sqlite_file(uri)
    return database is not None and database.resolve().is_relative_to(store.path.resolve())


def _folder(location: str) -> Path:
    """Return the path of a file URI, in which spaces and non-ASCII letters are escaped."""
    return Path(unquote(location.removeprefix("file://")))


def _move_artifacts(uri: str, experiment: "Experiment", place: str) -> None:
    """Change the absolute paths in MLflow's database, because no call of MLflow does that."""
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
