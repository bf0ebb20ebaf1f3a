"""How a driver asks its trials to save their state and leave, and how others ask the driver."""

import json
from collections.abc import Iterable
from pathlib import Path

from raypeft.core.files import write_json

EVERYWHERE = "*"
GRACE_SECONDS = 30.0  # in which trials save their state and leave, when the sweep stops


def ask_to_stop(store: Path, nodes: Iterable[str] = (EVERYWHERE,)) -> None:
    """Trials on `nodes` (Ray's ids) save and leave; everywhere, the driver too. Raises: OSError."""
    write_json(_file(store), {"nodes": sorted(nodes)})


def asked_to_stop(store: Path) -> frozenset[str]:
    """The machines that are to be left; none unless asked."""
    try:
        return frozenset(json.loads(_file(store).read_text())["nodes"])
    except (OSError, ValueError, KeyError):  # the file system of a dying machine answers what it likes
        return frozenset()


def forget_stop(store: Path) -> None:
    """What was asked of an earlier driver is over."""
    _file(store).unlink(missing_ok=True)


def _file(store: Path) -> Path:
    return store / "stop.json"
