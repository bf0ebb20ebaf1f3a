"""What is wrong with the labels of a data set: spellings of one, several in a cell."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from raypeft.core.spelling import alike, folded

ALONE, ANYWHERE = re.compile(r"[,/+&]|\\n"), re.compile(r"[|;]")  # what may stand between labels of one cell


def label_problems(places: Mapping[str, str]) -> list[str]:
    """What is wrong with the labels of a data set; `places`: label -> where it first stands."""
    return [*alike(places, noun="labels"), *_several(places)]


def _several(places: Mapping[str, str]) -> list[str]:
    """Cells with several labels: each part stands alone elsewhere; beside | and ; in another cell."""
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
