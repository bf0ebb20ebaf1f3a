"""What a driver says of itself in its store's status.json, for whoever asks while it runs or afterwards."""

import contextlib
import json
from typing import Any

from raypeft.core.files import write_json
from raypeft.store.store import Store


def write_running(store: Store, **content: object) -> None:
    """Say that the driver runs. Raises: OSError."""
    write_json(store.status_file, {"state": "running", **content})


def write_end(store: Store, **content: object) -> None:
    """Say that the driver has ended, and how."""
    with contextlib.suppress(OSError):  # a full disk may be what it ended of
        write_json(store.status_file, {"state": "ended", **content})


def last_said(store: Store) -> dict[str, Any]:
    """What was said last; nothing before a driver came, or where a crash damaged it."""
    try:
        said: dict[str, Any] = json.loads((store.status_file).read_text())
        return said
    except (FileNotFoundError, ValueError):
        return {}
