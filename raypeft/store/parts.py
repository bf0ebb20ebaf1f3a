"""What the parts of a store take on the disk, and removing those that can be made again."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raypeft.core.errors import ConfigError
from raypeft.store.lease import Lease

PARTS: Mapping[str, tuple[str, ...]] = {
    "ledger": ("ledger", "failed", "plan.json", "plan.bak", "events.jsonl", "status.json", "store-id"),
    "predictions": ("predictions", "subsets"),
    "adapters": ("adapters",),
    "samples": ("samples",),
    "checkpoints": ("checkpoints",),
    "cache": ("cache",),
    "mlflow": ("mlflow.db", "mlflow-artifacts"),
    "report": ("report.html",),
}
"""Part -> its files and folders; what else lies in a store is "other"."""

REMOVABLE = ("checkpoints", "cache")
KEPT_CACHE = "weights"
"""Folder of the cache with copies of a user's own weight files: adapters do not load without them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartSize:
    """One part of a store."""

    part: str
    files: int
    bytes: int
    removable: int  # bytes that clean_store gives back


def measure_store(store: Path) -> list[PartSize]:
    """Return the size of each part that there is. Raises: ConfigError for a folder that holds no sweep."""
    if not (store / "plan.json").is_file():
        raise ConfigError(f"{store} holds no sweep (no plan.json); see: raypeft run --help")
    part_of = {name: part for part, names in PARTS.items() for name in names}
    entries: dict[str, list[Path]] = {}
    for entry in sorted(store.iterdir()):
        entries.setdefault(part_of.get(entry.name, "other"), []).append(entry)
    return [_measured(part, entries[part]) for part in (*PARTS, "other") if part in entries]


def _measured(part: str, entries: Sequence[Path]) -> PartSize:
    files = [path for entry in entries for path in _files(entry)]
    removable = [path for entry in entries for top in _removable(entry, part) for path in _files(top)]
    return PartSize(part=part, files=len(files), bytes=_size(files), removable=_size(removable))


def _size(files: Sequence[Path]) -> int:
    return sum(path.lstat().st_size for path in files)


def clean_store(store: Path) -> None:
    """Remove checkpoints and caches, never results: trials that had not ended start from their beginning.

    Copies of the user's own weights stay. Holds the lease meanwhile. Raises: StoreInUseError; OSError.
    """
    lease = Lease(store)
    try:
        for part in REMOVABLE:
            for name in PARTS[part]:
                for path in _removable(store / name, part):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    finally:
        lease.release()


def _removable(entry: Path, part: str) -> list[Path]:
    """What of an entry of a store can be removed; a link is removed, not what it leads to."""
    if part not in REMOVABLE or not os.path.lexists(entry):
        return []
    if part == "cache" and entry.is_dir() and not entry.is_symlink():
        return [path for path in sorted(entry.iterdir()) if path.name != KEPT_CACHE]
    return [entry]


def _files(path: Path) -> list[Path]:
    """The file, or all files below a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return [path] if os.path.lexists(path) else []
    return [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
