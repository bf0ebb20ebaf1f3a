"""How a driver asks its trials to save their state and leave, and how others ask the driver."""

import json
from collections.abc import Iterable

from raypeft.core.files import write_json
from raypeft.store import Store

EVERYWHERE = "*"
GRACE_SECONDS = 30.0  # in which trials save their state and leave, when the sweep stops


def ask_to_stop(store: Store, nodes: Iterable[str] = (EVERYWHERE,)) -> None:
    """Ask trials on `nodes` (Ray's ids) to save and leave; by default all. Raises: OSError."""
    write_json(store.stop_file, {"nodes": sorted(nodes)})


def asked_to_stop(store: Store) -> frozenset[str]:
    """Return the machines that are to be left; none unless asked."""
    try:
        return frozenset(json.loads(store.stop_file.read_text())["nodes"])
    except (OSError, ValueError, KeyError):  # the file system of a dying machine may return anything
        return frozenset()


def forget_stop(store: Store) -> None:
    """Remove a request that was meant for an earlier driver."""
    store.stop_file.unlink(missing_ok=True)
