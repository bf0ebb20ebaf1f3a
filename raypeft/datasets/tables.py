"""Tables of labels as text files: every cell with the line that it stands on."""

import csv
import difflib
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raypeft.core.errors import DataError, list_problems

LARGEST = 2**30  # bytes of a table; a bomb of a few KiB unpacks to more


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a table."""

    origin: str  # "labels.csv:17"
    cells: Mapping[str, str]  # by column, stripped of spaces

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


def read_table(path: Path, *, needs: Sequence[str]) -> list[Line]:
    """The rows of a table, comma-separated or, as its header shows, tab-separated; gzipped if named .gz.

    UTF-8, with or without BOM. A column without a name (the index that pandas writes) is left out.
    Raises: DataError for a file that is no such table, for missing or repeated columns, for no rows,
    and for every row with more or fewer cells than the header has columns.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    columns, rows = _parse(path)
    if problems := [*_missing(columns, needs), *_repeated(columns)]:
        raise DataError("\n".join(f"{path}: {problem}" for problem in problems))
    if not rows:
        raise DataError(f"{path}: no rows below the header")
    uneven = [
        f"{path.name}:{line}: {len(cells)} cells; the header has {len(columns)} columns"
        for line, cells in rows
        if len(cells) != len(columns)
    ]
    if uneven:
        raise DataError(f"{path}:\n{list_problems(uneven)}")
    return [
        Line(
            origin=f"{path.name}:{line}",
            cells={name: cell.strip() for name, cell in zip(columns, cells, strict=True) if name},
        )
        for line, cells in rows
    ]


def _parse(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row's line (its last one) and cells. Raises: DataError."""
    content = _content(path)
    first, _, _ = content.partition(b"\n")
    delimiter = "\t" if b"\t" in first and b"," not in first else ","
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter)
        header = [name.strip() for name in next(reader, [])]
        return header, [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 ({error.reason}); save the table as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a CSV table: {error}") from None


def _content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); download it again") from None
    if len(content) > LARGEST:
        raise DataError(f"{path}: unpacks to more than {LARGEST // 2**20} MiB, which is no table of labels")
    return content


def _missing(columns: list[str], needs: Sequence[str]) -> list[str]:
    problems = []
    for wanted in needs:
        if wanted not in columns:
            near = difflib.get_close_matches(wanted, columns, n=1)
            hint = f". did you mean '{near[0]}'?" if near else ""
            problems.append(f"column '{wanted}' missing; found: {', '.join(columns)}{hint}")
    return problems


def _repeated(columns: list[str]) -> list[str]:
    counts = Counter(name for name in columns if name)
    return [f"column '{name}' stands {count} times; keep one" for name, count in counts.items() if count > 1]
