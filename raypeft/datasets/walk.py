"""Every file below a folder, once: links are followed, and a second way to one place is told, not taken."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from raypeft.core.errors import DataError

Identity = tuple[int, int]  # device and number of a folder: names differ with links, mounts and case


@dataclass(kw_only=True)
class Walk:
    """Paths below the root, with slashes; bytes that are not UTF-8 as os.fsdecode gives them."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)  # those read, the root "" among them
    broken: list[str] = field(default_factory=list)  # links to nothing
    special: list[str] = field(default_factory=list)  # pipes, sockets, devices: to open one may block
    unreadable: dict[str, OSError] = field(default_factory=dict)  # folders
    same_files: dict[str, str] = field(default_factory=dict)  # a link -> the path under which it is a file
    same_folders: dict[str, str] = field(default_factory=dict)
    loops: list[str] = field(default_factory=list)  # links to a folder above themselves


def walk(root: Path) -> Walk:
    """What lies below `root`. Of several ways to one place the one without links counts, then by name.

    A link to a folder above itself is a loop, even where that folder lies above the root: it would make
    the siblings of a class part of the class. Raises: DataError when `root` cannot be read.
    """
    return _Walker(root).walk()


class _Walker:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._found = Walk()
        self._seen: dict[Identity, str] = {}  # folders read
        self._real: dict[str, str] = {}  # the real path of each file -> its path below the root
        self._file_links: list[tuple[str, str]] = []  # path below the root, real path

    def walk(self) -> Walk:
        found = self._found
        folder_links = self._read("", os.path.realpath(self._root), ())
        if "" in found.unreadable:
            raise DataError(f"folder:{self._root}: cannot be read ({found.unreadable[''].strerror})")
        while folder_links:  # first all folders that are really here, then what links lead to
            folder_links = [link for one in sorted(folder_links) for link in self._follow(*one)]
        for path, real in sorted(self._file_links):
            first = self._real.setdefault(real, path)
            if first == path:
                found.files.append(path)
            else:
                found.same_files[path] = first
        return found

    def _follow(self, path: str, real: str, places: tuple[str, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
        """Read the folder that the link `path` leads to; `places` are the folders of the links on the way."""
        try:
            identity = _identity(real)
            above = {_identity(folder) for place in places for folder in _and_above(place)}
        except OSError as error:
            self._found.unreadable[path] = error
            return []
        if identity in above:
            self._found.loops.append(path)
            return []
        return self._read(path, real, places)

    def _read(self, top: str, real_top: str, places: tuple[str, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
        """All below a folder but what links to folders lead to: those are returned."""
        links = []
        waiting = [(top, real_top)]
        while waiting:
            folder, real = waiting.pop()
            try:
                first = self._seen.setdefault(_identity(real), folder)
                if first != folder:
                    self._found.same_folders[folder] = first
                    continue
                with os.scandir(real) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._found.unreadable[folder] = error
                continue
            self._found.folders.append(folder)
            for entry in listed:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink():
                    links += self._link(path, entry.path, (*places, real))
                elif entry.is_dir():
                    waiting.append((path, entry.path))
                elif entry.is_file():
                    self._found.files.append(path)
                    self._real[entry.path] = path
                else:
                    self._found.special.append(path)
        return links

    def _link(self, path: str, link: str, places: tuple[str, ...]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        real = os.path.realpath(link)
        if os.path.isdir(real):
            yield path, real, places
        elif os.path.isfile(real):
            self._file_links.append((path, real))
        elif os.path.exists(real):
            self._found.special.append(path)
        else:
            self._found.broken.append(path)


def _identity(folder: str) -> Identity:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _and_above(folder: str) -> Iterator[str]:
    yield folder
    while (parent := os.path.dirname(folder)) != folder:
        folder = parent
        yield folder
