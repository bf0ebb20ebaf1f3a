"""Log the events of a store's trials, one JSON line each: for people, and for checking the guarantees.

Only the ledger says what is done; no decision is based on this file.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from raypeft.store.store import Store

Event = Literal["driver", "start", "commit", "fail", "retry", "leave", "end"]
"""A driver took the store; a trial started, was committed, failed for good, was requeued, was told
to leave with its state saved; the driver ended."""


class History:
    """A log to which the drivers of a store append their events, one driver after another."""

    def __init__(self, store: Store) -> None:
        self._path = store.events_file

    def note(self, event: Event, **facts: Any) -> None:
        """Append one line with one write; on a full disk the line is lost, and the sweep goes on."""
        content = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
        line = json.dumps(content).encode() + b"\n"
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)


def read_history(store: Store) -> Iterator[dict[str, Any]]:
    """Yield the events in order; skip lines that a crash or a full disk truncated."""
    path = store.events_file
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            yield json.loads(line)
