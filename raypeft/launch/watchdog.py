"""End a trial's process that hangs, and record where it hung."""

import contextlib
import faulthandler
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from raypeft.launch import guard
from raypeft.store import Store

REARM_SECONDS = 1.0  # the guard counts whole seconds: no line at each of a thousand steps a second


class Watchdog:
    """A context that ends the process, with every thread's stack in a file, after `seconds` without a `beat`.

    A separate process does it, so a call that never returns cannot block it, and a suspension of the machine
    or of this process does not count as a hang. The stacks name files and functions, never values.
    """

    def __init__(self, path: Path, *, seconds: float) -> None:
        self._path, self._seconds = path, seconds

    def __enter__(self) -> "Watchdog":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        faulthandler.register(guard.DUMP, file=self._file, all_threads=True)
        self._guard = _running_guard()
        self._told = -REARM_SECONDS
        self.beat()
        return self

    def beat(self) -> None:
        """Note that the trial makes progress."""
        if time.monotonic() - self._told >= REARM_SECONDS:
            self._told = time.monotonic()
            self._tell(f"{self._seconds}\n")

    def rest(self) -> None:
        """Stop the clock until the next beat, because the trial waits for others."""
        self._told = -REARM_SECONDS
        self._tell("\n")

    def _tell(self, line: str) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the guard was killed: this trial goes on without it
            self._guard.stdin.write(line.encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rest()
        faulthandler.unregister(guard.DUMP)
        self._file.close()
        self._path.unlink(missing_ok=True)  # the process is here, so it did not hang


_guards: list["subprocess.Popen[bytes]"] = []  # of this process: one, for all its trials


def _running_guard() -> "subprocess.Popen[bytes]":
    while _guards and _guards[0].poll() is not None:
        _guards.pop()
    if not _guards:
        command = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid())]
        _guards.append(subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0))
    return _guards[0]


def keep_stacks(store: Store, trial_id: str, attempt: str) -> list[Path]:
    """Set aside the stacks that a dead trial's watchdogs wrote; return them, or an empty list."""
    kept = []
    for path in sorted(store.stacks_folder.glob(f"{trial_id}.*.txt")):
        if path.stat().st_size:
            kept.append(path.replace(path.with_name(f"{path.stem.replace('.', '-')}-attempt{attempt}.txt")))
        else:
            path.unlink()
    return kept
