"""How a driver asks its trials to save their state and leave, and how others ask the driver."""

import json
from collections.abc import Iterable

from raypeft.core.files import write_json
from raypeft.store import Store

EVERYWHERE = "*"
GRACE_SECONDS = 30.0  # in which trials save their state and leave, when the sweep stops


def ask_to_stop(store: Store, nodes: Iterable[str] = (EVERYWHERE,)) -> None:
    """Trials on `nodes` (Ray's ids) save and leave; everywhere, the driver too. Raises: OSError."""
    write_json(store.stop_file, {"nodes": sorted(nodes)})


def asked_to_stop(store: Store) -> frozenset[str]:
    """The machines that are to be left; none unless asked."""
    try:
        return frozenset(json.loads(store.stop_file.read_text())["nodes"])
    except (OSError, ValueError, KeyError):  # the file system of a dying machine answers what it likes
        return frozenset()


def forget_stop(store: Store) -> None:
    """What was asked of an earlier driver is over."""
    store.stop_file.unlink(missing_ok=True)
