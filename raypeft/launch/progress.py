"""Show how a sweep runs: one live table on a terminal, one line per event elsewhere."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.text import Text

from raypeft.core.result import Result
from raypeft.core.terminal import Grid, Terminal
from raypeft.core.text import count, visible
from raypeft.launch.pace import duration, hours_left
from raypeft.launch.plan import Plan
from raypeft.launch.search import CellSearch
from raypeft.launch.waits import Wait
from raypeft.metrics import RANKED_BY, SEARCHED_BY
from raypeft.metrics.remarks import cell_remarks

SILENT_SECONDS = 30.0  # in a log, after which it says what goes on


class Progress:
    """A display of counts, running or awaited work, time left, and the best candidate of each cell."""

    def __init__(self, plan: Plan, *, console: Terminal, since: datetime) -> None:
        """Make a display; `console` should write to stderr, because stdout is for the result.

        `since`: when the driver began.
        """
        self._plan, self._console, self._since = plan, console, since
        self._cells: Sequence[CellSearch] = ()
        self._started = self._spoken = self._drawn = time.monotonic()
        self._now = ""
        self._live = Live(console=console, refresh_per_second=1, auto_refresh=False, transient=True)

    def show(self, cells: Sequence[CellSearch]) -> None:
        """Set the cells to show, once the sweep's state exists."""
        self._cells = cells
        self._refresh()

    def trial_ended(self, row: Result) -> None:
        """Show that one trial was committed or failed."""
        if not self._console.is_terminal:
            self.say(f"{self._counts()} | {_describe(row)}")
        elif row.status == "failed" or row.remarks:
            self.say(_describe(row))
        self._refresh()

    def tick(self, waits: Sequence[Wait], *, running: int) -> None:
        """Show what is waited for and how many trials run; called several times a second."""
        now = [*map(str, waits), *([f"{count(running, 'trial')} running"] if running else [])]
        elapsed = timedelta(seconds=int(time.monotonic() - self._started))
        self._now = f"{elapsed} since the start; {'; '.join(now) or 'the next trials are being chosen'}"
        if self._console.is_terminal:
            if time.monotonic() - self._drawn >= 1:
                self._refresh()
        elif time.monotonic() - self._spoken >= SILENT_SECONDS:
            self.say(f"{self._counts()} | {self._now}")

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def say(self, line: str) -> None:
        """Print one line with the time of day."""
        self._spoken = time.monotonic()
        self._console.print(f"[{time.strftime('%H:%M:%S')}] {line}")

    def _refresh(self) -> None:
        if self._console.is_terminal and self._cells:
            self._drawn = time.monotonic()
            self._live.update(self._table(), refresh=True)

    def _counts(self) -> str:
        rows = [row for cell in self._cells for row in cell.committed()]
        left = sum(cell.num_left for cell in self._cells)
        text = f"{len(rows)}/{self._plan.num_trials} trials"
        if hours := hours_left(rows, left=left, since=self._since):
            text += f", about {duration(3600 * hours)} left"
        return text

    def _table(self) -> Grid:
        columns = ("cell", "candidates", "final runs", "best rate", "best on validation", "remarks")
        rows = [[Text(text) for text in self._line(cell)] for cell in self._cells]
        title = f"{self._plan.sweep.name}: {self._counts()}\n{self._now}"
        return Grid(title=title, columns=columns, rows=rows, box=SIMPLE_HEAD, justify="right")

    def _line(self, cell: CellSearch) -> tuple[str, ...]:
        planned, rows = self._plan.cells[cell.cell], cell.committed()
        stages = Counter(row.stage for row in rows)
        best = cell.objective.best([row for row in rows if row.stage == "search" and row.status == "done"])
        return (
            visible(cell.cell.name),
            f"{stages['search']}/{planned.candidates}",
            f"{stages['final']}/{len(planned.final_seeds)}",
            f"{best.lr:.1e}" if best else "",
            f"{best.metrics[cell.objective.name]:.3f}" if best else "",
            ", ".join(cell_remarks(rows, num_candidates=planned.candidates)),
        )


def _describe(row: Result) -> str:
    what = f"candidate {row.candidate}" if row.stage == "search" else f"final seed {row.seed}"
    if row.status in ("failed", "diverged"):
        outcome = f"{row.status}: {(row.error or '').splitlines()[0]}"
    elif row.status == "pruned":
        outcome = f"pruned after epoch {row.epochs}"
    else:
        score = (SEARCHED_BY if row.stage == "search" else RANKED_BY)[row.task]
        outcome = f"{score.title} {row.metrics[score.name]:.3f}"
    told = "".join(f"; {remark}" for remark in row.remarks)
    return f"{row.cell} | {what}, rate {row.lr:.1e}: {outcome}, {row.seconds:.1f} s{told}"
