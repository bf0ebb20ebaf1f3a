"""What a driver says of itself in its store's status.json, for whoever asks while it runs or afterwards."""

import contextlib
import json
from pathlib import Path
from typing import Any

from raypeft.core.files import write_json

NAME = "status.json"


def write_running(store: Path, **content: object) -> None:
    """Say that the driver runs. Raises: OSError."""
    write_json(store / NAME, {"state": "running", **content})


def write_end(store: Path, **content: object) -> None:
    """Say that the driver has ended, and how."""
    with contextlib.suppress(OSError):  # a full disk may be what it ended of
        write_json(store / NAME, {"state": "ended", **content})


def last_said(store: Path) -> dict[str, Any]:
    """What was said last; nothing before a driver came, or where a crash damaged it."""
    try:
        said: dict[str, Any] = json.loads((store / NAME).read_text())
        return said
    except (FileNotFoundError, ValueError):
        return {}
