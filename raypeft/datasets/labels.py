"""Labels as pandas and people write them: numbers, missing ones, spellings of one, several in a cell."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

MISSING = frozenset(("", "nan", "na", "n/a", "n.a.", "none", "null", "nil", "<na>", "#n/a", "nat"))
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
BETWEEN = re.compile(r"(?<=[^\W_])(?!\s+-\d)[\s_\-\u2010-\u2015]+(?=[^\W_])")  # two letters or digits
ALONE, ANYWHERE = re.compile(r"[,/+&]|\\n"), re.compile(r"[|;]")  # what may stand between labels of one cell


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value, as pandas, R, SQL or Excel write it."""
    return text.strip().casefold() in MISSING


def plain_number(text: str) -> str:
    """One text per number: 1.0, 01 and +1 are 1. What is no number stays."""
    if not NUMBER.fullmatch(text):
        return text
    number = Decimal(text).normalize()
    return f"{number or Decimal(0):f}"


def label_problems(places: Mapping[str, str]) -> list[str]:
    """What is wrong with the labels of a data set; `places`: label -> where it first stands."""
    return [*_alike(places), *_several(places)]


def folded(label: str) -> str:
    """Equal for spellings of one label; `grade 1` and `grade 2`, `1-2` and `12`, `-1` and `1` differ."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf").strip(" \t\n_")
    if NUMBER.fullmatch(text):
        return plain_number(text)
    return BETWEEN.sub(lambda gap: " " if _is_between_digits(gap) else "", text)


def _alike(places: Mapping[str, str]) -> list[str]:
    """Labels that only case, spaces, hyphens, underscores or Unicode forms tell apart."""
    spelled: dict[str, str] = {}
    problems = []
    for label, place in places.items():
        if (other := spelled.setdefault(folded(label), label)) != label:
            problems.append(
                f"labels '{other}' ({places[other]}) and '{label}' ({place}) differ only in spelling (case, "
                "spaces, hyphens, underscores, zeros or Unicode form); spell them alike"
            )
    return problems


def _is_between_digits(gap: re.Match[str]) -> bool:
    return gap.string[gap.start() - 1].isdigit() and gap.string[gap.end()].isdigit()


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
