"""Find every file below a folder once; links are followed, and a second way to one place is only noted."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from raypeft.core.errors import DataError

Link = tuple[str, str, tuple[str, ...]]  # path below the root, real path, real folders of the links so far
Identity = tuple[int, int]  # device and number of a folder: names differ with links, mounts and case


@dataclass(kw_only=True)
class Walk:
    """Paths below the root, with slashes; bytes that are not UTF-8 appear as os.fsdecode gives them.

    A folder that is listed itself, and not for its files, ends in a slash.
    """

    files: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # links to nothing
    special: list[str] = field(default_factory=list)  # pipes, sockets, devices: to open one may block
    again: dict[str, str] = field(default_factory=dict)  # a file or folder -> the way it was found first
    loops: list[str] = field(default_factory=list)  # links to a folder above themselves
    unfollowed: list[str] = field(default_factory=list)  # links to folders that are passed over
    empty: list[str] = field(default_factory=list)  # folders
    unreadable: dict[str, str] = field(default_factory=dict)  # folder -> what the system says


def walk(root: Path, *, passes_over: Callable[[str], bool] = lambda path: False) -> Walk:
    """Return what is below `root`; of several ways to one place, one without links comes first, then by name.

    What is passed over is noted, but does not count as a first way: links may lead into .git. A link to a
    folder above itself is a loop, even if that folder is above the root: it would put the neighbours of a
    class folder into the class.
    Raises: DataError if `root` cannot be read.
    """
    return _Walker(root, passes_over).walk()


class _Walker:
    def __init__(self, root: Path, passes_over: Callable[[str], bool]) -> None:
        self._root = root
        self._passes_over = passes_over
        self._found = Walk()
        self._folders: list[str] = []
        self._seen: dict[Identity, str] = {}  # a folder -> its first way
        self._real: dict[str, str] = {}  # the real path of each file -> its path below the root
        self._file_links: list[tuple[str, str]] = []  # path below the root, real path

    def walk(self) -> Walk:
        found = self._found
        folder_links = self._read("", os.path.realpath(self._root), ())
        if "/" in found.unreadable:
            raise DataError(f"folder:{self._root}: cannot be read ({found.unreadable['/']})")
        while folder_links:  # first all real folders, then the targets of links
            folder_links = [link for one in sorted(folder_links) for link in self._follow(*one)]
        for path, real in sorted(self._file_links):
            first = path if self._passes_over(path) else self._real.setdefault(real, path)
            if first == path:
                found.files.append(path)
            else:
                found.again[path] = first
        found.files.sort()
        found.empty = list(self._empty())
        return found

    def _follow(self, path: str, real: str, places: tuple[str, ...]) -> list[Link]:
        """Read the folder that the link `path` leads to; `places` are the folders of the links on the way."""
        try:
            above = {_identity(folder) for place in places for folder in _and_above(place)}
            is_loop = _identity(real) in above
        except OSError as error:
            self._found.unreadable[f"{path}/"] = str(error.strerror)
            return []
        if is_loop:
            self._found.loops.append(f"{path}/")
            return []
        return self._read(path, real, places)

    def _read(self, top: str, real_top: str, places: tuple[str, ...]) -> list[Link]:
        """Read all below a folder except the targets of links to folders; return those links."""
        links: list[Link] = []
        waiting = [(top, real_top)]
        while waiting:
            folder, real = waiting.pop()
            try:
                first = self._first_way(folder, real)
                if first != folder:
                    self._found.again[f"{folder}/"] = f"{first}/"
                    continue
                with os.scandir(real) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._found.unreadable[f"{folder}/"] = str(error.strerror)
                continue
            self._folders.append(folder)
            for entry in listed:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink():
                    links += self._link(path, entry.path, (*places, real))
                elif entry.is_dir():
                    waiting.append((path, entry.path))
                else:
                    self._file(path, entry)
        return links

    def _first_way(self, folder: str, real: str) -> str:
        identity = _identity(real)
        if self._passes_over(f"{folder}/"):
            return self._seen.get(identity, folder)
        return self._seen.setdefault(identity, folder)

    def _file(self, path: str, entry: os.DirEntry[str]) -> None:
        if not entry.is_file():
            self._found.special.append(path)
            return
        self._found.files.append(path)
        if not self._passes_over(path):
            self._real[entry.path] = path

    def _link(self, path: str, link: str, places: tuple[str, ...]) -> Iterator[Link]:
        real = os.path.realpath(link)
        if os.path.isdir(real):
            if self._passes_over(f"{path}/"):
                self._found.unfollowed.append(f"{path}/")
            else:
                yield path, real, places
        elif os.path.isfile(real):
            self._file_links.append((path, real))
        else:
            (self._found.special if os.path.exists(real) else self._found.broken).append(path)

    def _empty(self) -> Iterator[str]:
        """Yield the topmost folders that contain only empty folders."""
        found = self._found
        things = [found.files, found.broken, found.special, found.again, found.loops]
        things += [found.unfollowed, found.unreadable]
        filled = {""} | {folder for thing in things for path in thing for folder in _parents(path)}
        for folder in self._folders:
            if folder not in filled and folder.rpartition("/")[0] in filled:
                yield f"{folder}/"


def _parents(path: str) -> Iterator[str]:
    while path := path.rstrip("/").rpartition("/")[0]:
        yield path


def _identity(folder: str) -> Identity:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _and_above(folder: str) -> Iterator[str]:
    yield folder
    while (parent := os.path.dirname(folder)) != folder:
        folder = parent
        yield folder
