"""What a report is made of: sections, and the pieces in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raypeft.analysis.report.plots.style import Drawing
from raypeft.analysis.report.tables import Table


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
