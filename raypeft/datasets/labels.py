"""Find what is wrong with labels: several spellings of one, several labels in a cell."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from raypeft.core.spelling import alike, folded
from raypeft.core.text import count

ALONE, ANYWHERE = re.compile(r"[,/+&]|\\n"), re.compile(r"[|;]")  # what may stand between labels of one cell


UNSAID = frozenset(
    ("-", "--", "?", ".", "unknown", "unlabeled", "unlabelled", "undefined", "unspecified", "missing")
)
"""Names that may be a class, or may mean that there is no label."""


def label_notes(labels: Iterable[str]) -> list[str]:
    """Return a remark on each class whose name may say that there is no label; one label per image."""
    return [
        f"class '{label}' ({count(number, 'image')}) is trained as a class; if it says that there is no "
        f"label, leave {'that image' if number == 1 else 'those images'} out: empty the cells, or exclude "
        "the folder"
        for label, number in sorted(Counter(labels).items())
        if label.strip().casefold() in UNSAID
    ]


def label_problems(places: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the labels; `places`: label -> where it first appears."""
    return [*alike(places, noun="labels"), *_several(places)]


def _several(places: Mapping[str, str]) -> list[str]:
    """Return cells with several labels.

    Each part is a label by itself elsewhere; between | or ; it may also be a part of another cell.
    """
    alone = {folded(label) for label in places}
    cells_of: dict[str, set[str]] = defaultdict(set)
    for label in places:
        for part in ANYWHERE.split(label):
            cells_of[folded(part)].add(label)
    problems = []
    for label, place in places.items():
        for separators in (ALONE, ANYWHERE):
            parts = [part.strip() for part in separators.split(label) if part.strip()]
            known = [
                folded(part) in alone or (separators is ANYWHERE and len(cells_of[folded(part)]) > 1)
                for part in parts
            ]
            if len(parts) > 1 and all(known):
                problems.append(
                    f"label '{label}' ({place}) holds several labels: {_listed(parts)}; images with several "
                    "are not supported yet: leave them out, or give each image one label"
                )
    return problems


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(f"'{part}'" for part in parts)
