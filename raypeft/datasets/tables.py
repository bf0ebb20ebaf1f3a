"""Read tables of labels; every cell keeps the number of its line."""

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raypeft.core.delimited import Delimited, read_delimited
from raypeft.core.errors import DataError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a table."""

    origin: str  # "labels.csv:17"
    cells: Mapping[str, str]  # by column, stripped of spaces

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


def read_table(path: Path, *, needs: Sequence[str]) -> list[Line]:
    """Return the rows of a data set's own table, as read_delimited reads it.

    Raises: DataError if the file is no such table, lacks columns or has no rows.
    """
    table = read_delimited(path, expects=needs)
    for note in table.notes:
        _logger.warning("%s: %s", path.name, note)
    if problems := _missing(table.columns, needs):
        raise DataError("\n".join(f"{path}: {problem}" for problem in problems))
    return lines_of(table)


def lines_of(table: Delimited) -> list[Line]:
    """Return the lines of a table, at least one. Raises: DataError."""
    if not table.rows:
        raise DataError(f"{table.path}: no rows below the header")
    return [
        Line(origin=table.place(line), cells=dict(zip(table.columns, cells, strict=True)))
        for line, cells in table.rows
    ]


def _missing(columns: Sequence[str], needs: Sequence[str]) -> list[str]:
    problems = []
    for wanted in needs:
        if wanted not in columns:
            near = difflib.get_close_matches(wanted, columns, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            problems.append(f"column '{wanted}' missing; found: {', '.join(columns)}{hint}")
    return problems
