"""What the columns of a user's own table are: image, label, group, subgroups, or better not kept."""

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raypeft.core.delimited import Delimited
from raypeft.core.errors import DataError
from raypeft.core.spelling import is_missing, plain_number
from raypeft.datasets.column_names import (
    IDENTIFIES,
    OF_CODES,
    has_number,
    identifies,
    joined,
    level_of,
    words_of,
)
from raypeft.datasets.one_hot import class_columns, is_one

Values = Mapping[str, Sequence[str]]  # by column

MOST_VALUES = 12  # of a subgroup
LIKELY_GROUPS = 20  # more values than this, or a tenth of the images, look like a group
FEWEST_GROUPS = 3  # as many as the sides of a split
LIKELY_NAMES = {
    "image": "filename file file_name path filepath image_path image_id image_name img img_path id name",
    "label": "dx diagnosis class target finding finding_labels labels category disease grade y",
    "group": "patient_id patient subject_id lesion_id",
}
OPTIONAL = {"source": "source", "split": "split", "prompt": "prompt", "checksum": "sha256"}  # field -> column
RESERVED = frozenset(("case_id", "label", "group"))  # columns of the predictions


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The names of a table's columns, by role."""

    image: str
    labels: tuple[str, ...]  # one; or one per class, of which one is 1
    may_lack_group: bool  # an image without a group is then one of its own
    optional: Mapping[str, str]  # field of a row -> column: group, source, split, prompt, checksum
    subgroups: tuple[str, ...]
    notes: tuple[str, ...]  # what was decided


def assign_columns(
    table: Delimited, *, image: str, label: str, group: str | None, subgroups: Sequence[str]
) -> Columns:
    """Find the columns by name in any case; the group also by how its name and values look.

    Raises: DataError naming every column that is missing, or that may not be a subgroup.
    """
    problems: list[str] = []

    def needed(wanted: str, role: str) -> str:
        if (name := table.find(wanted)) is None:
            problems.append(_missing(wanted, role, table.columns))
        return name or ""

    image_column = needed(image, "image")
    optional = {role: one for role, name in OPTIONAL.items() if (one := table.find(name))}
    labels = (one,) if (one := table.find(label)) else class_columns(table, label=label, taken=[image_column])
    if not labels:
        needed(label, "label")
    group_column = table.find("group") if group is None else needed(group, "group")
    wished = [one for name in subgroups if (one := needed(name, "subgroup"))]
    taken = {image_column, *labels, group_column, *optional.values()}
    rest = {name: table.cells(name) for name in table.columns if name not in taken}
    notes = [_class_note(table, labels)] if len(labels) > 1 else []
    if is_guess := not group_column:
        group_column, told = _guessed_group(rest)
        notes += told
    problems += _unfit_subgroups(table, wished, group_column)
    if problems:
        raise DataError("\n".join(f"{table.path}: {problem}" for problem in problems))
    rest.pop(group_column or "", None)
    if (source := optional.get("source")) and identifies("source", table.cells(source), strictly=True):
        rest[optional.pop("source")] = table.cells(source)
    kept, more = _subgroups(rest, wished)
    if group_column:
        optional["group"] = group_column
    return Columns(
        image=image_column,
        labels=labels,
        may_lack_group=group is not None or (is_guess and group_column is not None),
        optional=optional,
        subgroups=tuple(kept),
        notes=(*notes, *more),
    )


def _unfit_subgroups(table: Delimited, wished: Sequence[str], group_column: str | None) -> list[str]:
    problems = []
    for name in wished:
        if name == group_column or identifies(name, table.cells(name), strictly=True):
            problems.append(
                f"column '{name}' may identify people or files, and subgroups are stored in clear"
            )
        elif _is_reserved(name):
            problems.append(f"column '{name}': predictions have a column of that name; rename it")
    return problems


def _guessed_group(rest: Values) -> tuple[str | None, list[str]]:
    """Return the column that is taken for the group, if any, and notes on it or on possible groups."""
    nominated = _nominated(rest)
    if not nominated:
        return None, _codes_notes(rest)
    return nominated[0], [_group_note(nominated, rest)]


def _nominated(rest: Values) -> list[str]:
    """Return the columns named as groups that look like them, coarsest first; numbers before names."""
    found = []
    for name, cells in rest.items():
        level, is_number = level_of(name), has_number(name)
        values = _known(cells)
        looks = len(values) > LIKELY_GROUPS or len(values) >= len(cells) / 10 or (is_number and level == 0)
        are_sizes = any(re.fullmatch(r"\d*\.\d+", plain_number(value)) for value in values)
        if level is not None and looks and len(values) >= FEWEST_GROUPS and not are_sizes:
            found.append((level, not is_number, len(values), name))
    return [name for *_, name in sorted(found)]


def _class_note(table: Delimited, labels: Sequence[str]) -> str:
    empty = [name for name in labels if not any(map(is_one, table.cells(name)))]
    lacking = f"; no image has {', '.join(empty)}" if empty else ""
    return f"classes: columns {', '.join(labels)}, of which one is 1 in every row{lacking}"


def _group_note(nominated: Sequence[str], rest: Values) -> str:
    name, *others = nominated
    finer = f"; less coarse: {', '.join(others)}" if others else ""
    return (
        f"group: column {name} ({len(_known(rest[name])):,} values), by its name: images of one value stay "
        f"on one side of a split{finer}; group='...' (--group-column) names another"
    )


def _codes_notes(rest: Values) -> list[str]:
    """Return notes on columns of ids that images share without saying of what: they may be patients."""
    shared = [
        name
        for name, cells in rest.items()
        if words_of(name) & OF_CODES
        and max(FEWEST_GROUPS, len(cells) / 10) <= len(_known(cells)) < len(cells)
    ]
    return [
        f"no group: if images of one {name} belong together, as those of one patient do, say "
        f"group='{name}' (--group-column {shlex.quote(name)})"
        for name in shared
    ]


def _subgroups(rest: Values, wished: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns to keep in clear, and notes on the others."""
    kept, private, many, taken = list(wished), [], [], []
    for name, cells in rest.items():
        if name in wished:
            continue
        values = _known(cells)
        if _is_reserved(name):
            taken.append(name)
        elif identifies(name, cells, strictly=False):
            private.append(name)
        elif _has_few(values, len(cells)) or _is_age(name, values):
            kept.append(name)
        else:
            many.append(f"{name} ({len(values):,} values)")
    notes = []
    if taken:
        notes.append(f"left out, as predictions have a column of that name: {', '.join(taken)}")
    if private:
        notes.append(f"left out, as it may identify people or files: {', '.join(private)}")
    if many:
        why = "left out, too many values for a subgroup"
        notes.append(f"{why}: {', '.join(many)}; subgroups='...' (--subgroup-columns) keeps it")
    return kept, notes


def _is_reserved(name: str) -> bool:
    return name.casefold() in RESERVED or name.startswith("prob/")


def _known(cells: Sequence[str]) -> set[str]:
    return {cell for cell in cells if not is_missing(cell)}


def _has_few(known: set[str], rows: int) -> bool:
    return len(known) <= MOST_VALUES and (len(known) <= 2 or len(known) <= rows / 2)


def _is_age(name: str, known: set[str]) -> bool:
    return bool(words_of(name) & {"age", "ages", "years"}) and all(
        re.fullmatch(r"\d{1,3}(\.\d+)?", one) for one in known
    )


def _missing(wanted: str, role: str, columns: Sequence[str]) -> str:
    """Return a message with the name that may be meant: a similar one, or a usual one for the role."""
    near = difflib.get_close_matches(wanted, columns, n=1)
    usual = LIKELY_NAMES.get(role, "").split()
    near += [name for one in usual for name in columns if joined(name) == joined(one)]
    hint = ""
    if near:
        option, flag = ("subgroups", "subgroup-columns") if role == "subgroup" else (role, f"{role}-column")
        hint = f"; did you mean '{near[0]}'? Then say {option}='{near[0]}' (--{flag} {shlex.quote(near[0])})"
    elif any(form.search(name) for name in columns for form in IDENTIFIES[:2]):
        hint = ". The first line must name the columns"
    return f"column '{wanted}' missing; found: {', '.join(columns)}{hint}"
