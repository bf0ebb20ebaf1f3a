"""Where text goes: a console that prints what it is given, and streams that never fail.

Whatever is printed may hold foreign text (names of files and classes, messages of libraries) and may go
to a terminal of any width, a pipe that closes, or a full disk. All of that is dealt with here, once.
"""

import codecs
import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from raypeft.core.text import visible

PIPE_WIDTH = 200  # a pipe has no width; tables need one
SPELL = "raypeft.spell"
PROSE = 24  # characters; a longer cell may wrap


class Terminal(Console):
    """A console that prints text as written: no markup, no colours of its own, nothing hidden or cut."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(
            stderr=stderr, width=width, markup=False, emoji=False, highlight=False, soft_wrap=True
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Return rich's text with hidden characters spelled, before rich measures its width or drops some."""
        return super().render_str(visible(text, keep="\n\t"), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield rich's segments with every hidden character of their text spelled."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text, keep="\n"), style, control)


def stdout_width() -> int | None:
    """Return the width to use for a pipe; None to use that of the terminal or of the variable COLUMNS."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return None if is_terminal or "COLUMNS" in os.environ else PIPE_WIDTH


class SafeStream:
    """A text stream that never raises: it spells letters that its encoding lacks, and outlives its reader.

    So the exit status of a command comes from what it did, not from whether someone read its output.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as a text stream does."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with self._letting_go():
            self._stream.write(text.encode(encoding, SPELL).decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines as a text stream does."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Flush as a text stream does."""
        with self._letting_go():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _letting_go(self) -> Iterator[None]:
        """Send output to the null device, children's too, once the pipe is closed or the disk full."""
        try:
            yield
        except (OSError, ValueError):
            nowhere = _nowhere()
            with contextlib.suppress(OSError, ValueError):  # some streams have no descriptor
                os.dup2(nowhere.fileno(), self._stream.fileno())
            self._stream = nowhere


@contextmanager
def safe_streams() -> Iterator[None]:
    """Replace stdout and stderr by SafeStreams while the block runs, even if they were closed."""
    for descriptor in range(3):  # otherwise the next opened file would become stdout
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    streams = [SafeStream(stream or _nowhere()) for stream in (sys.stdout, sys.stderr)]
    out, err = (cast("IO[str]", stream) for stream in streams)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        finally:
            out.flush()
            err.flush()


def _nowhere() -> IO[str]:
    return open(os.devnull, "w", encoding="utf-8")


_LATIN = {"±": "+-", "—": "-", "–": "-", "…": "...", "×": "x", "≤": "<=", "≥": ">="}


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Return how a stream writes what its encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    spelled = (_LATIN.get(c) or visible(c).encode("ascii", "backslashreplace").decode() for c in lacking)
    return "".join(spelled), error.end


codecs.register_error(SPELL, _spell)


class TerminalLog(logging.Handler):
    """A handler that prints raypeft's own warnings on a Terminal: above a live table, not through it."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message alone."""
        self._terminal.print(record.getMessage())


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table for a terminal of any width: columns that do not fit go to a further table; none is cut."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Text]]  # a row of one cell is a heading of those below it
    title: str = ""
    notes: str = ""
    box: Box | None = None
    justify: Literal["left", "right"] = "left"  # of all columns but the first

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        gap = 2 if self.box else 1
        parts = _pack([self._need(number) for number in range(len(self.columns))], options.max_width, gap)
        for part in parts:
            is_first, is_last = part is parts[0], part is parts[-1]
            yield self._table(part, title=self.title if is_first else "", notes=self.notes if is_last else "")

    def _table(self, part: Sequence[int], *, title: str, notes: str) -> RichTable:
        table = RichTable(
            title=title or None, caption=notes or None, box=self.box, show_edge=False, pad_edge=False,
            padding=(0, 1, 0, 0), header_style="bold", title_justify="left", caption_justify="left",
        )  # fmt: skip
        for number in part:
            natural = max(map(cell_len, self._lines(number)))
            table.add_column(
                visible(self.columns[number], keep="\n"),
                justify="left" if number == 0 else self.justify,
                overflow="fold",
                no_wrap=number > 0 and natural <= PROSE,  # a number broken over two lines would be misread
            )
        for row in self.rows:
            table.add_row(*(row if len(row) == 1 else [row[number] for number in part]))
        return table

    def _need(self, number: int) -> int:
        """Return the least width of a column: its longest cell, or for prose its longest word."""
        lines = self._lines(number)
        if max(map(cell_len, lines)) <= PROSE:
            return max(map(cell_len, lines))
        return min(PROSE, max(cell_len(word) for line in lines for word in line.split(" ")))

    def _lines(self, number: int) -> list[str]:
        cells = [row[number].plain for row in self.rows if len(row) > 1]
        return [line for cell in [self.columns[number], *cells] for line in cell.split("\n")]


def _pack(needs: Sequence[int], width: int, gap: int) -> list[list[int]]:
    """Return the column numbers of each table: as many as fit, with the first column in every table."""
    parts = [[0]]
    for number in range(1, len(needs)):
        used = sum(needs[one] + gap for one in [*parts[-1], number])
        if len(parts[-1]) > 1 and used > width:
            parts.append([0])
        parts[-1].append(number)
    return parts
