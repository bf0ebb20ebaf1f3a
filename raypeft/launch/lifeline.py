"""Watch from the driver whether the cluster still lives; a lost one ends with a message, never in a hang."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import ray

from raypeft.core.errors import ClusterLostError, RaypeftError
from raypeft.launch.waits import GAP_SECONDS

LOST_SECONDS = 40.0  # without an answer; Ray itself would end the process without a word after 60
PROBE_SECONDS = 2.0
ANSWER_SECONDS = 5.0  # for the last question; a cluster that is alive answers in a fraction of one
SERVERS = {"gcs_server": "the Ray head (GCS)", "raylet": "the raylet"}  # without which no trial goes on


class Lifeline:
    """A context that calls `lost` with an error, in a thread, when no machine answers any more."""

    def __init__(self, lost: Callable[[RaypeftError], object], *, seconds: float = LOST_SECONDS) -> None:
        self._lost, self._seconds = lost, seconds
        self._ended = threading.Event()
        self._answered = time.monotonic()
        self._num_alive = 1
        self._asking = threading.Thread(target=self._ask, daemon=True, name="lifeline_ask")
        self._watching = threading.Thread(target=self._watch, daemon=True, name="lifeline_watch")

    def __enter__(self) -> "Lifeline":
        # Two threads: the one that asks may never get its answer.
        for thread in (self._asking, self._watching):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the question in flight: Ray ends a process that asks it something while it shuts down."""
        self._ended.set()
        self._asking.join(ANSWER_SECONDS)

    def _ask(self) -> None:
        while not self._ended.wait(PROBE_SECONDS):
            with contextlib.suppress(Exception):  # _watch notices the missing answer
                alive = sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
                self._num_alive = alive
                if alive:
                    self._answered = time.monotonic()

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(PROBE_SECONDS / 2):
            now = time.monotonic()
            if now - last > GAP_SECONDS:  # this process was suspended, not the cluster
                self._answered = now
            last, silent = now, now - self._answered
            if dead := _dead_server():
                return self._tell(f"{dead} of this machine has ended")
            if not self._num_alive and silent > 2 * PROBE_SECONDS:
                return self._tell("no machine of the cluster is alive")
            if silent > self._seconds:
                return self._tell(f"the Ray head (GCS) has not answered for {silent:.0f} s")

    def _tell(self, why: str) -> None:
        if not self._ended.is_set():
            self._lost(ClusterLostError(f"cluster lost: {why}; mend it, what is committed stays"))


def _dead_server() -> str | None:
    """Return which server that this process started has ended; None for a joined cluster."""
    node: Any = ray._private.worker._global_node
    dead = [name for name, _ in node.dead_processes()] if node is not None else []
    return next((SERVERS[name] for name in dead if name in SERVERS), None)


def draining_nodes() -> frozenset[str]:
    """Return Ray's ids of the machines that are about to be taken away."""
    with contextlib.suppress(Exception):  # only a hint: without it their trials lose a minute at most
        return frozenset(ray._private.state.state.get_draining_nodes())
    return frozenset()
