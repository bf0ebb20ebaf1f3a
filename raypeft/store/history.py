"""What happened to the trials of a store, one JSON line an event: for people, and to check the guarantees.

The ledger alone says what is done; nothing is ever decided by this file.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from raypeft.store.store import Store

Event = Literal["driver", "start", "commit", "fail", "retry", "leave", "end"]
"""A driver took the store; a trial started, was committed, failed for good, stands in line again, was told
to leave with its state saved; the driver ended."""


class History:
    """Appends to the events of a store; several drivers in turn write to one file."""

    def __init__(self, store: Store) -> None:
        self._path = store.events_file

    def note(self, event: Event, **facts: Any) -> None:
        """One line, in one write; a full disk costs the line, not the sweep."""
        content = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
        line = json.dumps(content).encode() + b"\n"
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)


def read_history(store: Store) -> Iterator[dict[str, Any]]:
    """The events in their order; lines that a crash or a full disk cut are passed over."""
    path = store.events_file
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            yield json.loads(line)
