"""What a person sees while a sweep runs: one live table on a terminal, one line per event elsewhere."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.text import Text

from raypeft.core.remarks import cell_remarks
from raypeft.core.result import RANKED_BY, SEARCHED_BY, Result
from raypeft.core.terminal import Grid, Terminal
from raypeft.core.text import visible
from raypeft.launch.plan import Plan
from raypeft.launch.search import CellSearch


class Progress:
    """Counts, rate, time left, and the best candidate of each cell."""

    def __init__(self, plan: Plan, *, console: Terminal) -> None:
        """`console` should write to stderr: stdout is for the result."""
        self._plan, self._console = plan, console
        self._cells: Sequence[CellSearch] = ()
        self._started, self._ended = time.monotonic(), 0
        self._live = Live(console=console, refresh_per_second=1, auto_refresh=False, transient=True)

    def show(self, cells: Sequence[CellSearch]) -> None:
        """Name the cells once the sweep's state exists."""
        self._cells = cells
        self._refresh()

    def trial_ended(self, row: Result) -> None:
        """One trial was committed or failed."""
        self._ended += 1
        if not self._console.is_terminal:
            self.say(f"{self._counts()} | {_describe(row)}")
        elif row.status == "failed" or row.remarks:
            self.say(_describe(row))
        self._refresh()

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
        """One line with the time of day."""
        self._console.print(f"[{time.strftime('%H:%M:%S')}] {line}")

    def _refresh(self) -> None:
        if self._console.is_terminal and self._cells:
            self._live.update(self._table(), refresh=True)

    def _counts(self) -> str:
        done = sum(len(cell.committed()) for cell in self._cells)
        left = sum(cell.num_left for cell in self._cells)
        text = f"{done}/{self._plan.num_trials} trials"
        if self._ended >= 3 and left:
            seconds = (time.monotonic() - self._started) / self._ended * left
            text += f", about {_duration(seconds)} left"
        return text

    def _table(self) -> Grid:
        columns = ("cell", "candidates", "final runs", "best rate", "best on validation", "remarks")
        rows = [[Text(text) for text in self._line(cell)] for cell in self._cells]
        title = f"{self._plan.sweep.name}: {self._counts()}"
        return Grid(title=title, columns=columns, rows=rows, box=SIMPLE_HEAD, justify="right")

    def _line(self, cell: CellSearch) -> tuple[str, ...]:
        sweep, rows = self._plan.sweep, cell.committed()
        stages = Counter(row.stage for row in rows)
        best = cell.objective.best([row for row in rows if row.stage == "search" and row.status == "done"])
        return (
            visible(str(cell.cell)),
            f"{stages['search']}/{sweep.num_candidates(cell.cell)}",
            f"{stages['final']}/{len(sweep.final_seeds)}",
            f"{best.lr:.1e}" if best else "",
            f"{best.metrics[cell.objective.name]:.3f}" if best else "",
            ", ".join(cell_remarks(rows)),
        )


def _describe(row: Result) -> str:
    cell = f"{row.method} / {row.model} / {row.dataset} / {row.fraction:g}"
    what = f"candidate {row.candidate}" if row.stage == "search" else f"final seed {row.seed}"
    if row.status in ("failed", "diverged"):
        outcome = f"{row.status}: {(row.error or '').splitlines()[0]}"
    elif row.status == "pruned":
        outcome = f"pruned after epoch {row.epochs}"
    else:
        score = (SEARCHED_BY if row.stage == "search" else RANKED_BY)[row.task]
        outcome = f"{score.title} {row.metrics[score.name]:.3f}"
    told = "".join(f"; {remark}" for remark in row.remarks)
    return f"{cell} | {what}, rate {row.lr:.1e}: {outcome}, {row.seconds:.1f} s{told}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
