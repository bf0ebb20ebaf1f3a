"""Wait in a separate thread, shown while it lasts, and never longer than a limit."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

LOOK_SECONDS = 0.25  # between two looks at a thread that waits
SLACK_SECONDS = 30.0  # for whoever waits to end a wait that is over, before the process is ended
GAP_SECONDS = 5.0  # between two readings of the clock: this process did not run


class AwakeClock:
    """A clock of the seconds in which this process ran; a suspension hardly counts.

    It must be read several times a second.
    """

    def __init__(self) -> None:
        self._seconds, self._last = 0.0, time.monotonic()

    def __call__(self) -> float:
        """Return the seconds since the clock was made."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        if passed < GAP_SECONDS:
            self._seconds += passed
        return self._seconds


@dataclass
class Wait:
    """One thing that is waited for, and its time limit."""

    what: str  # "starting Ray"
    limit_seconds: float
    note: str = ""  # "attempt 1 of 3"
    clock: Callable[[], float] = field(default_factory=AwakeClock)

    @property
    def is_over(self) -> bool:
        """True if the limit has passed."""
        return self.clock() > self.limit_seconds

    @property
    def is_stuck(self) -> bool:
        """True if the limit has passed, and whoever waits has not ended the wait."""
        return self.clock() > self.limit_seconds + SLACK_SECONDS

    def __str__(self) -> str:
        limit = f"limit {self.limit_seconds:.0f} s"
        return f"{self.what}: {self.clock():.0f} s ({f'{self.note}, ' if self.note else ''}{limit})"


class Waits:
    """The wait that is going on now."""

    def __init__(self) -> None:
        self.current: Wait | None = None

    @contextlib.contextmanager
    def on(self, what: str, *, limit_seconds: float, note: str = "") -> Iterator[Wait]:
        """Set `current` to a new wait while the block runs."""
        before, self.current = self.current, Wait(what, limit_seconds, note)
        try:
            yield self.current
        finally:
            self.current = before


class Attended:
    """Work in its own thread, which the thread that started it looks after while it lasts."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="attended")
        self._thread.start()

    def finish(self, look: Callable[[], object]) -> None:
        """Call `look` several times a second until the work is done; raise what either of them raises."""
        while self._thread.is_alive():
            self._thread.join(LOOK_SECONDS)
            look()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        # What is started here, as Ray's servers and their workers, inherits the mask: when a terminal is
        # closed they live on until the driver, which drains, ends them.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            self._work()
        except BaseException as error:
            self._error = error
