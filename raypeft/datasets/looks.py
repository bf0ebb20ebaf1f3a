"""What decoding a data set showed: images without features, and how deep values became grey."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raypeft.core.errors import DataError, list_problems
from raypeft.core.text import count
from raypeft.datasets.images import Fingerprint
from raypeft.datasets.manifest import Table
from raypeft.datasets.pixels import WINDOWED

MOST = 0.5  # share of a class that may be images without features
APART = 0.2  # how much the windowed shares of two classes may differ


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Images of one data set that have something in common."""

    what: str
    cases: tuple[int, ...]  # indices into the table

    def by_class(self, table: Table) -> dict[str, int]:
        """Return the number of these images per class, without classes that have none."""
        counts = np.bincount(table.labels[list(self.cases)], minlength=len(table.classes)).tolist()
        return {name: number for name, number in zip(table.classes, counts, strict=True) if number}

    def line(self, table: Table) -> str:
        """Return one line: `12 images: almost entirely black (normal 12)`."""
        return describe(len(self.cases), self.what, self.by_class(table))


def describe(images: int, what: str, by_class: Mapping[str, int]) -> str:
    """Return one line: `12 images: almost entirely black (normal 12)`."""
    classes = ", ".join(f"{name} {number:,}" for name, number in by_class.items())
    return f"{count(images, 'image')}: {what} ({classes})"


def featureless(found: Sequence[Fingerprint]) -> list[Finding]:
    """Return images of one value, of a handful of grey levels, or nearly all black or white."""
    return _findings((case, one.featureless) for case, one in enumerate(found) if one.featureless)


def decisions(found: Sequence[Fingerprint]) -> list[Finding]:
    """Return what was decided in reading the images: the span of deep values, tags taken as absent, ..."""
    return _findings((case, note) for case, one in enumerate(found) for note in one.notes)


def window_shortcut(table: Table, found: Sequence[Fingerprint]) -> list[str]:
    """Return a warning if the label tells whether an image was shown in a window; else an empty list."""
    is_windowed = np.array([WINDOWED in one.notes for one in found])
    shares = {
        name: float(is_windowed[table.labels == label].mean())
        for label, name in enumerate(table.classes)
        if (table.labels == label).any()
    }
    most, least = (choose(shares, key=lambda name: shares[name]) for choose in (max, min))
    if round(shares[most] - shares[least], 9) <= APART:  # 0.9 - 0.7 is more than 0.2 in floats
        return []
    return [
        f"{shares[most]:.0%} of the images of class '{most}' and {shares[least]:.0%} of class '{least}' are "
        "shown in a window of their DICOM header, the others by their range of values or as they are: a "
        "model can learn this difference in place of what is in the images; give all files the same window, "
        "or remove WindowCenter, WindowWidth and VOILUTSequence from all of them"
    ]


def featureless_classes(table: Table, found: Sequence[Fingerprint]) -> list[str]:
    """Return a problem for each class that consists mostly of images without features."""
    is_bare = np.array([bool(one.featureless) for one in found])
    problems = []
    for label, name in enumerate(table.classes):
        bare = np.flatnonzero(is_bare & (table.labels == label)).tolist()
        total = int((table.labels == label).sum())
        if len(bare) > MOST * total:
            examples = [f"{table.place(case)}: {found[case].featureless}" for case in bare]
            problems.append(
                f"class '{name}': {len(bare):,} of {count(total, 'image')} "
                f"{'shows' if len(bare) == 1 else 'show'} nothing to learn from; repair or remove "
                f"{'it' if len(bare) == 1 else 'them'}, or leave the class out:\n"
                f"{list_problems(examples)}"
            )
    return problems


def refuse_featureless_classes(table: Table, found: Sequence[Fingerprint]) -> None:
    """Raise DataError naming each class that consists mostly of images without features, if any does."""
    if problems := featureless_classes(table, found):
        raise DataError(f"{table.name}: " + "\n".join(problems))


def _findings(pairs: Iterable[tuple[int, str]]) -> list[Finding]:
    cases: dict[str, list[int]] = {}
    for case, what in pairs:
        cases.setdefault(what, []).append(case)
    return [Finding(what=what, cases=tuple(cases[what])) for what in sorted(cases)]
