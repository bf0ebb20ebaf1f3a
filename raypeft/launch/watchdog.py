"""Ends a trial's process that stands still, and leaves where it stood."""

import contextlib
import faulthandler
import time
from pathlib import Path
from types import TracebackType

REARM_SECONDS = 1.0  # arming starts a thread: not at each of a thousand steps a second


class Watchdog:
    """In `with`: without a `beat` for `seconds`, every thread's stack goes to a file and the process ends.

    It works in C, without the interpreter's lock: a call that never returns does not stop it. The stacks
    name files and functions, never values.
    """

    def __init__(self, path: Path, *, seconds: float) -> None:
        self._path, self._seconds = path, seconds

    def __enter__(self) -> "Watchdog":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        self._arm()
        return self

    def beat(self) -> None:
        """The trial moves."""
        if time.monotonic() - self._armed >= REARM_SECONDS:
            self._arm()

    def rest(self) -> None:
        """Until the next beat the trial waits for others, who may take their time."""
        faulthandler.cancel_dump_traceback_later()
        self._armed = -REARM_SECONDS

    def _arm(self) -> None:
        self._armed = time.monotonic()
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        with contextlib.suppress(FileNotFoundError):  # a driver that took the store over has cleared up
            if not self._path.stat().st_size:
                self._path.unlink()


def stacks_folder(store: Path) -> Path:
    """Where the stacks of trials that stood still lie."""
    return store / "stacks"


def stack_file(store: Path, trial_id: str, rank: int) -> Path:
    """What worker `rank` of a trial writes to."""
    return stacks_folder(store) / f"{trial_id}.{rank}.txt"


def keep_stacks(store: Path, trial_id: str, attempt: str) -> list[Path]:
    """Put aside what a dead trial's watchdogs wrote; empty when they wrote nothing."""
    kept = []
    for path in sorted(stacks_folder(store).glob(f"{trial_id}.*.txt")):
        if path.stat().st_size:
            kept.append(path.replace(path.with_name(f"{path.stem.replace('.', '-')}-attempt{attempt}.txt")))
        else:
            path.unlink()
    return kept
