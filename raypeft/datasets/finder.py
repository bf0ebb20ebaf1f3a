"""Find image files by the names in a table: as written, or under the one spelling that exists."""

import functools
import os
from collections import defaultdict
from pathlib import Path, PurePosixPath

from raypeft.core.spelling import plain_number
from raypeft.datasets.images import is_image_file

MOST_FILES = 500_000
"""The most files to search for another spelling, which takes about ten seconds."""


class Finder:
    """A search for images below a folder that counts those found under another spelling."""

    def __init__(self, root: Path) -> None:
        """Search below `root`, from which relative names start."""
        self.root = root
        self.respelled = 0
        self.is_searched = True  # False for a folder with too many files

    def find(self, name: str) -> Path | str:
        """Return the file, or what is wrong.

        Another spelling is accepted if exactly one file fits: backslashes, a leading slash, another case,
        no suffix, no folders.
        """
        if os.path.isfile(self.root / name):  # unlike Path.is_file, it does not raise for invalid names
            return self.root / name
        below = os.path.normpath(name.replace("\\", "/").lstrip("/")) if name else ""
        fits = [below] if os.path.isfile(self.root / below) else self._fits(below.casefold())
        if len(fits) == 1:
            self.respelled += 1
            return self.root / fits[0]
        if fits:
            return f"image '{name}' not found; several files are called so: {', '.join(sorted(fits)[:3])}"
        stem = _stem(PurePosixPath(below.casefold()).name)
        near = sorted(self._files.get(("stem", stem)) or self._files.get(("number", plain_number(stem)), []))
        hint = f"; did you mean '{near[0]}'?" if near else ""
        if not self.is_searched:
            hint = f"; more than {MOST_FILES:,} files lie there, among which none is searched for"
        return f"image '{name}' not found in {self.root}{hint}"

    def notes(self) -> list[str]:
        """Return a note on how many names were found under another spelling."""
        if not self.respelled:
            return []
        verb = "image was" if self.respelled == 1 else "images were"
        return [f"{self.respelled:,} {verb} found under another spelling (case, suffix, folder or slashes)"]

    def _fits(self, name: str) -> list[str]:
        """Return files whose path, or bare name if `name` has no folder, matches with or without suffix."""
        for kind in ("path", "path without suffix", *(("name", "stem") if "/" not in name else ())):
            if found := [one for one in self._files.get((kind, name), []) if is_image_file(self.root / one)]:
                return found
        return []

    @functools.cached_property
    def _files(self) -> dict[tuple[str, str], list[str]]:
        """Return paths below root, by kind of name in lower case; links are followed, each folder once."""
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        seen: set[str] = set()
        count = 0
        for folder, below, names in os.walk(self.root, followlinks=True):
            if (count := count + len(names)) > MOST_FILES:
                self.is_searched = False
                return {}
            if (real := os.path.realpath(folder)) in seen:
                below.clear()
                continue
            seen.add(real)
            below[:] = sorted(one for one in below if not one.startswith("."))
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), self.root)
                folded = path.casefold()
                found["path", folded].append(path)
                found["path without suffix", _stem(folded)].append(path)
                found["name", name.casefold()].append(path)
                stem = _stem(name.casefold())
                found["stem", stem].append(path)
                found["number", plain_number(stem)].append(path)  # a spreadsheet makes 7 of 0007
        return found


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
