"""Recognise different spellings of one thing: numbers, missing values, names."""

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal

MISSING = frozenset(("", "nan", "na", "n/a", "n.a.", "none", "null", "nil", "<na>", "#n/a", "nat"))
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
BETWEEN = re.compile(r"(?<=[^\W_])(?!\s+-\d)[\s_\-\u2010-\u2015]+(?=[^\W_])")  # two letters or digits


def words_in(name: str) -> list[str]:
    """Return the words of a name in lower case: ground and truth for GroundTruth_2."""
    return [word.lower() for word in WORD.findall(name)]


def is_missing(text: str) -> bool:
    """True if a cell says that there is no value, as pandas, R, SQL or Excel write it."""
    return text.strip().casefold() in MISSING


def plain_number(text: str) -> str:
    """Return one text per number: 1.0, 01 and +1 become 1. Other text is returned unchanged."""
    if not NUMBER.fullmatch(text):
        return text
    number = Decimal(text).normalize()
    return f"{number or Decimal(0):f}"


def folded(label: str) -> str:
    """Return a key that is equal for spellings of one label.

    `grade 1` and `grade 2`, `1-2` and `12`, `-1` and `1` keep different keys.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf").strip(" \t\n_")
    if NUMBER.fullmatch(text):
        return plain_number(text)
    return BETWEEN.sub(lambda gap: " " if _is_between_digits(gap) else "", text)


def alike(places: Mapping[str, str], *, noun: str) -> list[str]:
    """Return a problem for each name that differs from another only in case, spaces, hyphens or Unicode form.

    `places`: name -> where it first appears; `noun`: what the names are, in the plural.
    """
    spelled: dict[str, str] = {}
    problems = []
    for label, place in places.items():
        if (other := spelled.setdefault(folded(label), label)) != label:
            problems.append(
                f"{noun} '{other}' ({places[other]}) and '{label}' ({place}) differ only in spelling (case, "
                "spaces, hyphens, underscores, zeros or Unicode form); spell them alike"
            )
    return problems


def _is_between_digits(gap: re.Match[str]) -> bool:
    return gap.string[gap.start() - 1].isdigit() and gap.string[gap.end()].isdigit()
