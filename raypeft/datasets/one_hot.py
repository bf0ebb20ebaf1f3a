"""Read tables with a column of 0 and 1 per class, such as ISIC's GroundTruth."""

from collections.abc import Collection

from raypeft.core.delimited import Delimited
from raypeft.core.errors import DataError
from raypeft.core.spelling import plain_number

ONES, ZEROS = frozenset(("1", "true", "yes")), frozenset(("0", "false", "no"))
SHOWN = 5  # rows in a message


def class_columns(table: Delimited, *, label: str, taken: Collection[str]) -> tuple[str, ...]:
    """Return the columns that `label` lists with commas, or all 0/1 columns that are not `taken`; or none.

    Raises: DataError with the lines where not exactly one of them is 1.
    """
    listed = [name.strip() for name in label.split(",")]
    if set(listed) <= set(table.columns):
        names = listed
    elif label == "label":
        names = [name for name in table.columns if name not in taken and _is_binary(table.cells(name))]
    else:
        names = []
    if len(names) < 2:
        return ()
    ones = zip(*([name if is_one(cell) else "" for cell in table.cells(name)] for name in names), strict=True)
    rows = [[name for name in row if name] for row in ones]
    wrong = [place for place, row in enumerate(rows) if len(row) != 1]
    if wrong:
        lines = [
            f"{table.place(table.rows[place][0])}: {', '.join(rows[place]) or 'none'}"
            for place in wrong[:SHOWN]
        ]
        more = f"; and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else ""
        raise DataError(
            f"{table.path}: column 'label' missing; found: {', '.join(table.columns)}. "
            f"{', '.join(names)} hold 0 and 1: one class each, if exactly one were 1 in every row (several "
            f"labels of an image are not supported yet). It is not in {len(wrong):,} of {len(rows):,} rows: "
            f"{'; '.join(lines)}{more}. Correct them, or name the column of labels, or those of 0 and 1 with "
            "commas, with label='...' (--label-column)"
        )
    return tuple(names)


def is_one(cell: str) -> bool:
    """True if a cell of a 0/1 column says yes."""
    return plain_number(cell.casefold()) in ONES


def _is_binary(cells: Collection[str]) -> bool:
    found = {plain_number(cell.casefold()) for cell in cells}
    return bool(found & (ONES | ZEROS)) and found <= ONES | ZEROS
