"""Show the progress of checks and decoding: a bar on a terminal, lines elsewhere."""

import time
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from raypeft.core.terminal import Terminal

CHECKING = "checking names, data and weights"
QUIET_SECONDS = 30.0  # between two lines in a log


class ImageBar:
    """A progress bar to use as a context and as the `watch` of datasets.prepare."""

    def __init__(self, console: Terminal) -> None:
        """Make a bar; `console` should write to stderr, because stdout is for the result."""
        self._console = console
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True)
        self._spoken = time.monotonic()
        self._what = ""

    def __call__(self, what: str, num_done: int, num_images: int) -> None:
        """Show how many images are done."""
        if self._console.is_terminal:
            if what != self._what:
                self._task = self._bar.add_task(what, total=num_images)
            self._bar.update(self._task, completed=num_done)
        elif time.monotonic() - self._spoken > QUIET_SECONDS:
            self._spoken = time.monotonic()
            self._console.print(f"{what}: {num_done} of {num_images}")
        self._what = what

    def __enter__(self) -> "ImageBar":
        if self._console.is_terminal:
            self._bar.start()
            self._bar.add_task(CHECKING, total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
