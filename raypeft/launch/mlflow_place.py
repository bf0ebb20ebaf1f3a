"""Where the runs of a store are shown: MLflow's database or server, its page, and the command to open it."""

import logging
import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from raypeft.core.errors import StorageError
from raypeft.core.files import locked
from raypeft.core.telemetry import switch_off
from raypeft.launch.experiment import (
    artifacts_of,
    find_experiment,
    is_remote,
    plain_uri,
    settle_artifacts,
    sqlite_file,
)
from raypeft.store import Store

_logger = logging.getLogger(__name__)

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default of 7 blocks each call for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # a fresh database logs each of its migrations
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for data
}


def probe(uri: str) -> None:
    """Check that MLflow answers at `uri`. Raises: StorageError if not."""
    prepare_mlflow()
    from mlflow import MlflowClient

    uri = plain_uri(uri)
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except Exception as error:  # as in sync
        reason = without_credentials(str(error), uri).partition("\n")[0][:250]
        raise StorageError(f"{without_credentials(uri, uri)}: {reason}") from error


def default_tracking_uri(store: Store) -> str:
    """Return the URI of a sqlite database in the store; its artifacts are next to it."""
    return f"sqlite:///{store.mlflow_database.resolve()}"


def ensure_database(store: Store, tracking_uri: str) -> None:
    """Make the sqlite database that MLflow's server opens; the server might leave it half-made.

    If the store was moved, the experiment is made to name the artifacts where they are now.
    """
    prepare_mlflow()
    if is_remote(tracking_uri):
        return
    from mlflow import MlflowClient

    with locked(lock_file(store, tracking_uri)):
        create_database(tracking_uri)
        if (found := find_experiment(MlflowClient(tracking_uri), store)) is not None:
            settle_artifacts(found, store, tracking_uri)


def experiment_page(store: Store, tracking_uri: str, *, port: int = 5000) -> str:
    """Return the address of the sweep's page, or of the whole server if it has no such page or is silent."""
    prepare_mlflow()
    from mlflow import MlflowClient

    server = tracking_uri if is_remote(tracking_uri) else f"http://127.0.0.1:{port}"
    try:
        found = find_experiment(MlflowClient(tracking_uri), store)
    except Exception as error:  # as in sync
        _logger.warning("warning: %s", without_credentials(str(error), tracking_uri).partition("\n")[0])
        found = None
    return f"{server.rstrip('/')}/#/experiments/{found.experiment_id}" if found else server


def ui_command(store: Store, tracking_uri: str, *, port: int = 5000) -> list[str]:
    """Return the command that shows the runs on http://127.0.0.1:`port`, or on the server's page."""
    if is_remote(tracking_uri):
        return [sys.executable, "-P", "-m", "webbrowser", experiment_page(store, tracking_uri)]
    return [
        "env",
        f"MLFLOW_BACKEND_STORE_URI={tracking_uri}",  # as an option, a password would stay in the process list
        f"MLFLOW_DEFAULT_ARTIFACT_ROOT={artifacts_of(store)}",
        "MLFLOW_DISABLE_TELEMETRY=true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false",  # MLflow's job runner: processes that serve nothing here
        *(
            sys.executable,
            "-P",
            "-m",
            "mlflow",
            "ui",
            "--workers",
            "1",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ),
    ]


def prepare_mlflow() -> None:
    """Set MLflow's environment variables for best effort, unless the user has set them."""
    switch_off()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def without_credentials(text: str, uri: str) -> str:
    """Return `text` without the user name and password of `uri`."""
    user_info, at, _ = urlsplit(uri).netloc.rpartition("@")
    return text.replace(f"{user_info}@", "") if at else text


def lock_file(store: Store, uri: str) -> Path:
    """Return the lock of a database; two processes that both migrate a fresh sqlite file destroy it."""
    database = sqlite_file(uri)
    return database.with_name(f"{database.name}.lock") if database else store.tracking_lock


def create_database(uri: str) -> None:
    """Create a missing sqlite database, complete or not at all. Call it only under its lock.

    MLflow runs all its migrations on a fresh database, for seconds and in several transactions. A process
    killed meanwhile would leave tables that no later process can migrate.
    """
    database = sqlite_file(uri)
    if database is None or database.exists():
        return
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".mlflow.", suffix=".tmp") as folder:
        fresh = Path(folder) / database.name
        MlflowClient(f"sqlite:///{fresh}").search_experiments(max_results=1)
        os.replace(fresh, database)
