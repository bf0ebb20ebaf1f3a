"""Measure the parts of a store on disk, and remove those that can be made again."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raypeft.store.lease import Lease
from raypeft.store.store import Store

REMOVABLE = ("checkpoints", "cache")
KEPT_CACHE = "weights"
"""Folder of the cache with copies of a user's own weight files: adapters do not load without them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartSize:
    """The size of one part of a store."""

    part: str
    files: int
    bytes: int
    removable: int  # bytes that clean_store gives back


def measure_store(store: Store) -> list[PartSize]:
    """Return the size of each part that exists. Raises: ConfigError if the folder holds no sweep."""
    store.require_plan()
    parts = _parts(store)
    named = {path for paths in parts.values() for path in paths}
    parts["other"] = [path for path in sorted(store.path.iterdir()) if path not in named]
    entries = {part: [path for path in paths if os.path.lexists(path)] for part, paths in parts.items()}
    return [_measured(part, found) for part, found in entries.items() if found]


def _parts(store: Store) -> dict[str, list[Path]]:
    """Return the files and folders of each part, whether they exist or not."""
    return {
        "ledger": [
            store.ledger_folder,
            store.failures_folder,
            store.plan_file,
            store.events_file,
            store.status_file,
            store.id_file,
        ],
        "predictions": [store.predictions_folder, store.subsets_folder],
        "adapters": [store.adapters_folder],
        "samples": [store.samples_folder],
        "checkpoints": [store.checkpoints_folder],
        "cache": [store.cache],
        "mlflow": [store.mlflow_database, store.mlflow_artifacts],
        "report": [store.report],
    }


def _measured(part: str, entries: Sequence[Path]) -> PartSize:
    files = [path for entry in entries for path in _files(entry)]
    removable = [path for entry in entries for top in _removable(entry, part) for path in _files(top)]
    return PartSize(part=part, files=len(files), bytes=_size(files), removable=_size(removable))


def _size(files: Sequence[Path]) -> int:
    return sum(path.lstat().st_size for path in files)


def clean_store(store: Store) -> None:
    """Remove checkpoints and caches, but no results; unfinished trials then start from the beginning.

    Copies of the user's own weights are kept. The lease is held meanwhile.
    Raises: StoreInUseError; OSError.
    """
    lease = Lease(store)
    try:
        for part in REMOVABLE:
            for entry in _parts(store)[part]:
                for path in _removable(entry, part):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    finally:
        lease.release()


def _removable(entry: Path, part: str) -> list[Path]:
    """Return what can be removed of an entry; of a link, the link itself and not its target."""
    if part not in REMOVABLE or not os.path.lexists(entry):
        return []
    if part == "cache" and entry.is_dir() and not entry.is_symlink():
        return [path for path in sorted(entry.iterdir()) if path.name != KEPT_CACHE]
    return [entry]


def _files(path: Path) -> list[Path]:
    """Return the file itself, or all files in a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return [path] if os.path.lexists(path) else []
    return [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
