"""Read text tables as spreadsheets, pandas and R write them: separators, encodings, decimal commas."""

import csv
import gzip
import io
import itertools
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypeft.core.errors import DataError, list_problems
from raypeft.core.spelling import is_missing
from raypeft.core.text import count

LARGEST = 2**30  # bytes of a table; a malicious gzip file unpacks to more
SEPARATORS = ",;\t|"
SEP_LINE = re.compile(r'"?sep=(.)"?[ \t;,]*(\r\n|\r|\n)', re.IGNORECASE)  # which Excel obeys
BOMS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
NO_TEXT = (
    (b"PK\x03\x04", "a spreadsheet or an archive"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet"),
    (b"PAR1", "a Parquet file"),
)
GZIP = b"\x1f\x8b"
UNNAMED = re.compile(r"(Unnamed: \d+)?")  # pandas renames empty column names to the second form
DECIMAL = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
LOOKED_AT = 200  # lines from which the separator is inferred

Numbered = tuple[int, list[str]]  # the file's line on which a row begins, and its cells


@dataclass(frozen=True, kw_only=True)
class Delimited:
    """A table of text in which every row has as many cells as there are columns."""

    path: Path
    columns: tuple[str, ...]
    rows: list[Numbered]
    notes: tuple[str, ...]  # what was decided in reading it

    def place(self, line: int) -> str:
        """Return a line's place for a message, as in "labels.csv:17"."""
        return f"{self.path.name}:{line}"

    def find(self, name: str) -> str | None:
        """Return the column of this name, else one that differs only in case, else None."""
        folded = (column for column in self.columns if column.casefold() == name.casefold())
        return name if name in self.columns else next(folded, None)

    def cells(self, column: str) -> list[str]:
        """Return one cell of `column` per row."""
        place = self.columns.index(column)
        return [cells[place] for _, cells in self.rows]


def read_delimited(path: Path, *, expects: Sequence[str] = (), encoding: str | None = None) -> Delimited:
    """Read a table, gzipped or not, and strip the spaces around its cells.

    The separator is the one that "sep=;" in the first line declares, or else the one that best gives the
    columns that the caller `expects` and rows as long as the header. The encoding is `encoding` if given,
    else UTF-8, UTF-16 with BOM, or Windows-1252. Blank rows and unnamed columns are left out; decimal commas
    become points.
    Raises: DataError if this is not a table, with the line of each row of the wrong length.
    """
    text, notes = _decoded(path, _content(path), encoding)
    declared = SEP_LINE.match(text)
    separator = declared[1] if declared else _separator(text, expects)
    rows = _parse(path, text, separator)[1 if declared else 0 :]
    rows = [(line, [cell.strip() for cell in cells]) for line, cells in rows]
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if not rows:
        raise DataError(f"{path}: an empty file; a table begins with a line of column names")
    (first, header), *body = rows
    if _lacks_index(header, body):
        header = ["", *header]
    if problems := _repeated(header, expects):
        raise DataError("\n".join(f"{path}:{first}: {problem}" for problem in problems))
    body = _evened(path, header, body)
    named = [place for place, name in enumerate(header) if not UNNAMED.fullmatch(name)]
    notes += _unnamed_notes(header, named, body)
    body = [(line, [cells[place] for place in named]) for line, cells in body]
    body = [(line, cells) for line, cells in body if any(cells)]
    columns = tuple(header[place] for place in named)
    if separator != ",":
        notes += _point_decimals(body, columns)
    return Delimited(path=path, columns=columns, rows=body, notes=tuple(notes))


def _content(path: Path) -> bytes:
    if path.is_dir():
        found = sorted(one.name for one in path.iterdir() if one.suffix in (".csv", ".tsv"))
        raise DataError(
            f"{path}: a folder; name the table in it"
            + (f": {', '.join(found[:5])}" if found else ", or give class folders as folder:PATH")
        )
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == GZIP
            file.seek(0)
            content = (gzip.GzipFile(fileobj=file) if is_packed else file).read(LARGEST + 1)
    except FileNotFoundError:
        near = sorted(one.name for one in path.parent.glob("*") if one.name.lower() == path.name.lower())
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise DataError(f"{path}: no such file{hint}") from None
    except (OSError, EOFError, zlib.error) as error:
        what = "not a whole gzip file" if path.suffix == ".gz" else "cannot be read"
        raise DataError(f"{path}: {what} ({error}); download or copy it again") from None
    if len(content) > LARGEST:
        raise DataError(f"{path}: more than {LARGEST // 2**20} MiB of text, which is no table of labels")
    for magic, what in NO_TEXT:
        if content.startswith(magic):
            raise DataError(f"{path}: {what}, not text; save it as CSV (UTF-8)")
    return content


def _decoded(path: Path, content: bytes, encoding: str | None) -> tuple[str, list[str]]:
    """Return the text, and a note if its encoding was guessed."""
    known = encoding or next((name for bom, name in BOMS if content.startswith(bom)), None)
    half = len(content) // 2
    if known is None and content[1::2].count(0) > half / 2:
        known = "utf-16-le"
    elif known is None and content[::2].count(0) > half / 2:
        known = "utf-16-be"
    try:
        return content.decode(known or "utf-8").removeprefix("\ufeff"), []
    except LookupError:
        raise DataError(f"{path}: no encoding '{encoding}'; use utf-8, cp1252, gbk, ...") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        if known:
            raise DataError(f"{path}:{line}: not {known} ({error.reason}); save the table as UTF-8") from None
    try:
        note = f"read as Windows-1252 (cp1252): line {line} is not UTF-8; if names look wrong"
        return content.decode("cp1252"), [f"{note}, save it as UTF-8 or say encoding='...'"]
    except UnicodeDecodeError:
        raise DataError(
            f"{path}:{line}: not UTF-8, nor Windows-1252; save the table as UTF-8, or say encoding='...'"
        ) from None


def _separator(text: str, expects: Sequence[str]) -> str:
    """Return the separator with the most expected columns, then the most even rows, then the most columns."""
    sample = "".join(itertools.islice(io.StringIO(text, newline=""), LOOKED_AT))
    wanted = {name.casefold() for name in expects}

    def fitness(separator: str) -> tuple[int, float, int]:
        rows = [cells for cells in csv.reader(io.StringIO(sample, newline=""), **_form(separator)) if cells]
        if not rows or len(rows[0]) == 1:
            return 0, 0.0, 0
        header, *body = rows
        found = wanted & {name.strip().casefold() for name in header}
        alike = sum(len(cells) == len(header) for cells in body) / max(1, len(body))
        return len(found), alike, len(header)

    return max(SEPARATORS, key=fitness)


def _form(separator: str) -> dict[str, Any]:
    return {"delimiter": separator, "skipinitialspace": True}


def _parse(path: Path, text: str, separator: str) -> list[Numbered]:
    """Return every row that is not blank. Quotes inside a cell are text; an unclosed quote is refused."""
    try:
        return list(_rows(csv.reader(io.StringIO(text, newline=""), strict=True, **_form(separator))))
    except csv.Error:
        reader = csv.reader(io.StringIO(text, newline=""), **_form(separator))
    rows: list[Numbered] = []
    try:
        for row in _rows(reader):
            if reader.line_num > row[0]:
                raise csv.Error('a quote (") opens and does not close on its line; close or remove it')
            rows.append(row)
    except csv.Error as error:
        line = rows[-1][0] + 1 if rows else 1
        raise DataError(f"{path}:{line}: {error}") from None
    return rows


def _rows(reader: Any) -> Iterator[Numbered]:
    """Yield each row with the line on which it begins."""
    first = 1
    for cells in reader:
        if cells:
            yield first, cells
        first = reader.line_num + 1


def _lacks_index(header: list[str], body: list[Numbered]) -> bool:
    """True if every row begins with its own number under no column name, as R writes tables."""
    width, numbers = len(header), {cells[0] for _, cells in body if cells[0].isdecimal()}
    is_longer = all(len(_trimmed(cells, width)) == width + 1 for _, cells in body)
    return bool(body) and is_longer and len(numbers) == len(body) and all(header)


def _evened(path: Path, header: list[str], body: list[Numbered]) -> list[Numbered]:
    """Return rows as long as the header.

    Cells beyond the header must be empty; cells of unnamed columns may be missing.

    Raises: DataError with the line of each other row.
    """
    width, least = len(header), len(_trimmed(header))
    rows = [(line, _trimmed(cells, width)) for line, cells in body]
    uneven = [
        f"{path.name}:{line}: {count(len(cells), 'cell')}; the header has {count(width, 'column')}"
        for line, cells in rows
        if not least <= len(cells) <= width
    ]
    if uneven:
        raise DataError(f"{path}:\n{list_problems(uneven)}")
    return [(line, cells + [""] * (width - len(cells))) for line, cells in rows]


def _trimmed(cells: list[str], least: int = 0) -> list[str]:
    """Return the cells without empty ones at the end; the first `least` are kept."""
    while len(cells) > least and not cells[-1]:
        cells = cells[:-1]
    return cells


def _repeated(header: Sequence[str], expects: Sequence[str]) -> list[str]:
    """Return a problem for each repeated column name; for expected columns, case is ignored."""
    counts = Counter(name for name in header if name)
    problems = [f"column '{name}' stands {n} times; keep one" for name, n in counts.items() if n > 1]
    for wanted in expects:
        spelled = [name for name in counts if name.casefold() == wanted.casefold()]
        if len(spelled) > 1:
            problems.append(f"columns '{spelled[0]}' and '{spelled[1]}' differ only in case; rename one")
    return problems


def _unnamed_notes(columns: list[str], named: list[int], body: list[Numbered]) -> list[str]:
    """Return a note for each unnamed column that holds more than row numbers."""
    return [
        f"column {place + 1} has no name and is left out"
        for place in range(len(columns))
        if place not in named and any(cells[place] and not cells[place].isdecimal() for _, cells in body)
    ]


def _point_decimals(body: list[Numbered], columns: Sequence[str]) -> list[str]:
    """Replace decimal commas by points, in place, in each column that holds only numbers; return notes."""
    changed = []
    for place, name in enumerate(columns):
        found = {cells[place] for _, cells in body if not is_missing(cells[place])}
        several = all(found >= set(cell.split(",")) for cell in found)  # of numbers that also stand alone
        if any("," in cell for cell in found) and all(map(DECIMAL.fullmatch, found)) and not several:
            changed.append(name)
            for _, row in body:
                row[place] = row[place].replace(",", ".")
    return [f"decimal commas read as points: {', '.join(changed)}"] if changed else []
