"""Why files or folders of a walk are not used, and how many."""

import fnmatch
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from raypeft.core.errors import DataError, list_problems
from raypeft.core.text import count, visible
from raypeft.datasets.images import IMAGE_SUFFIXES, is_image_file
from raypeft.datasets.manifest import LeftOut, left_out
from raypeft.datasets.walk import Walk

HIDDEN = "hidden"
SYSTEM = "left by an operating system"
EXCLUDED = "excluded"
NOT_INCLUDED = "not included"
BROKEN = "link to nothing"
SPECIAL = "pipe, socket or device"
AGAIN = "second way to what is read already"
LOOP = "link to a folder above itself"
EMPTY = "empty folder"
NO_IMAGE = "not an image"
MASK = "segmentation mask"
NO_CLASS = "in no class folder"

OF_NO_CLASS = frozenset((HIDDEN, SYSTEM, NO_IMAGE, MASK))  # counted for no class, wherever they lie
SYSTEM_FOLDERS = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)


class Choice:
    """A user's globs and the names of junk, applied to paths; those of folders end in a slash."""

    def __init__(self, *, include: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        self._include = [_Glob(glob) for glob in include]
        self._exclude = [_Glob(glob) for glob in exclude]

    def reason(self, path: str) -> str | None:
        """Return why not to use a path, or None."""
        parts = path.split("/")
        if any(part.startswith(".") for part in parts):
            return HIDDEN
        if any(part in SYSTEM_FOLDERS for part in parts):
            return SYSTEM
        if any([glob.matches(path) for glob in self._exclude]):
            return EXCLUDED
        is_included = any([glob.matches(path) for glob in self._include]) or not self._include
        # of a folder, the files in it may be included
        return None if is_included or path.endswith("/") else NOT_INCLUDED

    def passes_over(self, path: str) -> bool:
        """True if there is a reason not to use the path."""
        return self.reason(path) is not None

    def idle(self) -> list[str]:
        """Return the globs that matched none of the paths asked for."""
        return [glob.text for glob in (*self._include, *self._exclude) if not glob.has_matched]


class _Glob:
    def __init__(self, text: str) -> None:
        self.text = text
        self.has_matched = False
        self._pattern = re.compile(fnmatch.translate(text.rstrip("/")))
        self._known = {"": False}  # folders

    def matches(self, path: str) -> bool:
        """True if the glob matches the path, or a folder above it."""
        found = bool(self._pattern.match(path)) or self._is_below_match(path.rpartition("/")[0])
        self.has_matched |= found
        return found

    def _is_below_match(self, folder: str) -> bool:
        if folder not in self._known:
            above = folder.rpartition("/")[0]
            self._known[folder] = bool(self._pattern.match(folder)) or self._is_below_match(above)
        return self._known[folder]


def why_not(root: Path, found: Walk, choice: Choice) -> dict[str, str]:
    """Return the reasons against single files and folders; a file without a reason is an image.

    Raises: DataError for a folder or file that cannot be read, and for a glob that matches nothing.
    """
    odd = dict.fromkeys(found.broken, BROKEN) | dict.fromkeys(found.special, SPECIAL)
    odd |= dict.fromkeys(found.again, AGAIN) | dict.fromkeys(found.loops, LOOP)
    odd |= dict.fromkeys(found.empty, EMPTY)
    paths = [*found.files, *odd, *found.unfollowed, *found.unreadable]
    why: dict[str, str] = {}
    problems = []
    for path in paths:
        if reason := choice.reason(path) or odd.get(path):
            why[path] = reason
        elif path in found.unreadable:
            problems.append(f"{root / path}: cannot be read ({found.unreadable[path]})")
        elif not _is_image(root, path):
            why[path] = NO_IMAGE
            if not os.access(root / path, os.R_OK):
                problems.append(f"{root / path}: cannot be read")
    problems = [f"{one}; mend that, or leave it out with exclude='...' (--exclude)" for one in problems]
    for glob in choice.idle():
        example = f"; they are written as '{paths[0]}' is" if paths else ""
        problems.append(f"'{glob}' matches none of {count(len(paths), 'path')} below the folder{example}")
    if problems:
        raise DataError(f"folder:{root}:\n{list_problems([visible(one) for one in problems])}")
    return why


def count_left_out(why: Mapping[str, str], used: Iterable[str], class_of: Mapping[str, str]) -> list[LeftOut]:
    """Return what is left out, by reason; a folder that is left out completely for one reason is named.

    `class_of`: the class of each file, if it has one.
    """
    labels: dict[str, list[str]] = defaultdict(list)
    states: dict[str, str] = {}  # folder -> the one reason of all in it, or ""
    for path, reason in [*why.items(), *((path, "") for path in used)]:
        if reason and not path.endswith("/"):
            labels[reason].append("" if reason in OF_NO_CLASS else class_of.get(path, ""))
        folder = path
        while folder := folder.rpartition("/")[0]:
            states[folder] = reason if states.get(folder, reason) == reason else ""
    whole: dict[str, list[str]] = defaultdict(list)
    for folder, reason in states.items():
        if reason and states.get(folder.rpartition("/")[0]) != reason:
            whole[reason].append(folder)
    return [
        LeftOut(
            reason=reason,
            by_class=left_out(reason, labels[reason]).by_class,
            folders=tuple(visible(folder) for folder in sorted(whole[reason])),
        )
        for reason in sorted(set(why.values()))
    ]


def _is_image(root: Path, path: str) -> bool:
    """True for an image, by its suffix if possible: opening 100,000 network files takes minutes."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES or is_image_file(root / path)
