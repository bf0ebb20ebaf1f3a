"""What a driver waits for: in a thread of its own, shown while it lasts, and never longer than its limit."""

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
    """Seconds in which this process ran: a suspension, of it or of its machine, counts next to nothing.

    To be read several times a second.
    """

    def __init__(self) -> None:
        self._seconds, self._last = 0.0, time.monotonic()

    def __call__(self) -> float:
        """Since it was made."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        if passed < GAP_SECONDS:
            self._seconds += passed
        return self._seconds


@dataclass
class Wait:
    """One thing that is waited for, and how long at most."""

    what: str  # "starting Ray"
    limit_seconds: float
    note: str = ""  # "attempt 1 of 3"
    clock: Callable[[], float] = field(default_factory=AwakeClock)

    @property
    def is_over(self) -> bool:
        """Whether it took as long as it may."""
        return self.clock() > self.limit_seconds

    @property
    def is_stuck(self) -> bool:
        """Whether it is over, and whoever waits has not ended it."""
        return self.clock() > self.limit_seconds + SLACK_SECONDS

    def __str__(self) -> str:
        limit = f"limit {self.limit_seconds:.0f} s"
        return f"{self.what}: {self.clock():.0f} s ({f'{self.note}, ' if self.note else ''}{limit})"


class Waits:
    """What is waited for now."""

    def __init__(self) -> None:
        self.current: Wait | None = None

    @contextlib.contextmanager
    def on(self, what: str, *, limit_seconds: float, note: str = "") -> Iterator[Wait]:
        """Meanwhile `current` is this."""
        before, self.current = self.current, Wait(what, limit_seconds, note)
        try:
            yield self.current
        finally:
            self.current = before


class Attended:
    """Work in a thread of its own, which the one that started it looks after instead of waiting for it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="attended")
        self._thread.start()

    def finish(self, look: Callable[[], object]) -> None:
        """Call `look` several times a second until the work is done. Raises: what the work or `look` does."""
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
