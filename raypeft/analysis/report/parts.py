"""What a report is made of: sections, and the pieces in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raypeft.analysis.report.plots.style import Drawing
from raypeft.analysis.report.tables import Table

MOST_LINES = 16
MOST_PANELS = 12
"""Of one kind of figure in the page; the rest only in an export. 120 cells would make it 20 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A piece of a section; one of the contents is set. `fold`: a summary to open, or ""."""

    table: Table | None = None
    drawings: Sequence[Drawing] = ()
    lines: Sequence[str] = ()
    bullets: Sequence[str] = ()
    facts: Mapping[str, str] | None = None
    code: str = ""
    note: str = ""
    fold: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading and what stands below it."""

    title: str
    parts: Sequence[Part]


def foldable(table: Table) -> Part:
    """Folded where it would push the rest of the page out of sight."""
    return Part(table=table, fold=table.title if len(table.rows) > MOST_LINES else "")
