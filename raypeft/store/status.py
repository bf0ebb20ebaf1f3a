"""What a driver writes about itself into status.json, to be read while it runs or afterwards."""

import contextlib
import json
from typing import Any

from raypeft.core.files import write_json
from raypeft.store.store import Store


def write_running(store: Store, **content: object) -> None:
    """Record that the driver is running. Raises: OSError."""
    write_json(store.status_file, {"state": "running", **content})


def write_end(store: Store, **content: object) -> None:
    """Record that the driver ended, and how; a failure to write is ignored."""
    with contextlib.suppress(OSError):  # a full disk may be the reason of the end
        write_json(store.status_file, {"state": "ended", **content})


def last_said(store: Store) -> dict[str, Any]:
    """Return the last record; empty if no driver ran yet or a crash damaged the file."""
    try:
        said: dict[str, Any] = json.loads((store.status_file).read_text())
        return said
    except (FileNotFoundError, ValueError):
        return {}
