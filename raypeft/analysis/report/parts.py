"""What a report is made of: sections, and the pieces in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raypeft.analysis.report.plots.style import Drawing
from raypeft.analysis.report.tables import Table

Reader = Literal["clinicians", "reviewers", "engineers"]

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
    prose: Sequence[str] = ()  # paragraphs that one click selects, to be pasted elsewhere
    note: str = ""
    fold: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading, what stands below it, and who looks for it first."""

    title: str
    parts: Sequence[Part]
    reader: Reader


def foldable(table: Table) -> Part:
    """Fold a table that would push the rest of the page out of sight."""
    return Part(table=table, fold=table.title if len(table.rows) > MOST_LINES else "")
