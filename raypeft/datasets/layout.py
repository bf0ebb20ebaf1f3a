"""Tell the class of an image, and its side of the split, from the folders above it."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from raypeft.core.spelling import words_in
from raypeft.core.text import listed

SIDE_OF = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of folders, in any case -> side of the split."""
HOLDERS = "image images img imgs picture pictures photo photos data dataset archive raw"
CONTAINERS = frozenset(HOLDERS.split())
"""Names of folders that hold class folders and are no class themselves."""
NUMBERED = "part fold split batch chunk shard subset image img patient subject participant"
PARTS = frozenset(NUMBERED.split())
"""Words before a number in the names of folders that hold parts of one data set, not classes."""


class LayoutError(Exception):
    """The folders are ambiguous; the message says how to state what is meant."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The places of the class folders, as paths below the root."""

    parents: dict[str, str | None]  # folder of class folders -> side of the split
    has_inner_sides: bool = False  # CLASS/train/..., CLASS/test/...

    def place(self, path: str) -> tuple[str, str | None] | None:
        """Return the class and the side of a file; None if it is in no class folder."""
        level = self.level(path)
        parts = path.split("/")
        if level is None or len(parts) < level + 2 + self.has_inner_sides:
            return None
        side = self.parents["/".join(parts[:level])]
        if self.has_inner_sides:
            side = SIDE_OF.get(parts[level + 1].casefold())
        return parts[level], side

    def class_folder(self, path: str) -> str | None:
        """Return the class folder of a file, or of a folder (ending in a slash); None if it has none."""
        level = self.level(path)
        parts = path.split("/")
        return None if level is None or len(parts) < level + 2 else "/".join(parts[: level + 1])

    def level(self, path: str) -> int | None:
        """Return how many folders are above the class folder of a file; None if it is in none."""
        parts = path.split("/")
        return next((n for n in range(len(parts)) if "/".join(parts[:n]) in self.parents), None)


def find_layout(root: Path, images: Collection[str]) -> Layout:
    """Return the layout of one or more images, given as paths below `root`.

    Folders named train and at least one of val and test are the split, above the class folders or inside each
    of them; folders next to them are not classes.
    Raises: LayoutError.
    """
    base = _descend(root, "", images)
    children = _children(base, images)
    sides = _sides(base, children)
    if sides:
        parents = {_below_containers(_join(base, child), images): side for child, side in sides.items()}
        if not _children(next(one for one, side in parents.items() if side == "train"), images):
            raise LayoutError(f"the images in '{_join(base, 'train')}' {IN_NO_CLASS}")
        for parent in parents:
            _check_no_split(parent, _children(parent, images))
        return Layout(parents=dict(parents))
    has_inner_sides = _has_inner_sides(base, children, images)
    if not has_inner_sides:
        _check_no_split(base, children)
        _check_no_parts(base, children)
    _check_no_copy(base, children, images)
    return Layout(parents={base: None}, has_inner_sides=has_inner_sides)


IN_NO_CLASS = (
    "lie in no class folder; put those of each class into a folder named as the class, or name images and "
    "labels in a table: csv:PATH"
)


def _descend(root: Path, base: str, images: Collection[str]) -> str:
    """Return the folder of the class or split folders: `base`, or the only possible one below it."""
    children = _children(base, images)
    if not children:
        raise LayoutError(f"the images{f' in {base!r}' if base else ''} {IN_NO_CLASS}")
    if len(children) > 1:
        return base
    only = children[0]
    below = _join(base, only)
    inner = _children(below, images)
    is_container = (
        only.casefold() in CONTAINERS or only == (root.resolve() / base).name or bool(_sides(below, inner))
    )
    if not is_container:
        advice = f"; if {_some(inner)} in it are classes, give folder:{root / below}" if inner else ""
        raise LayoutError(
            f"one folder with images, '{below}', and classification needs at least two classes{advice}"
        )
    return _descend(root, below, images)


def _below_containers(folder: str, images: Collection[str]) -> str:
    """Return train/images for train/images/CLASS."""
    children = _children(folder, images)
    while len(children) == 1 and children[0].casefold() in CONTAINERS:
        folder = _join(folder, children[0])
        children = _children(folder, images)
    return folder


def _children(folder: str, images: Iterable[str]) -> list[str]:
    """Return the folders in `folder` that hold images, sorted."""
    start = f"{folder}/" if folder else ""
    rests = (path[len(start) :] for path in images if path.startswith(start))
    return sorted({rest.partition("/")[0] for rest in rests if "/" in rest})


def _sides(base: str, names: Collection[str]) -> dict[str, str]:
    """Return the side of each folder named as a split; empty if train or a second side is missing."""
    sides = {name: SIDE_OF[name.casefold()] for name in names if name.casefold() in SIDE_OF}
    if "train" not in sides.values() or len(set(sides.values())) < 2:
        return {}
    for side in set(sides.values()):
        if len(same := [_join(base, name) for name in sides if sides[name] == side]) > 1:
            raise LayoutError(f"{_all(same)} are all named as '{side}' of a split; join or rename them")
    return sides


def _has_inner_sides(base: str, classes: Collection[str], images: Collection[str]) -> bool:
    inner = {name: _children(_join(base, name), images) for name in classes}
    with_sides = [name for name in classes if _sides(_join(base, name), inner[name])]
    if not with_sides:
        return False
    for name in classes:
        start = f"{_join(base, name)}/"
        strangers = [
            path
            for path in images
            if path.startswith(start) and path[len(start) :].split("/")[0].casefold() not in SIDE_OF
        ]
        if strangers:
            raise LayoutError(
                f"'{_join(base, with_sides[0])}' holds train and test folders, but '{strangers[0]}' lies in "
                "none; move it into one, or leave it out with exclude='...' (--exclude)"
            )
    below = [
        set(_children(_join(_join(base, name), side), images)) for name in classes for side in inner[name]
    ]
    if len(same := set.intersection(*below)) > 1:
        first = _join(base, with_sides[0])
        raise LayoutError(
            f"{_all(_join(base, name) for name in classes)} hold train and test folders, and each of these "
            f"{_some(sorted(same))}: if those are the classes, read one alone, as "
            f"by include='{first}' (--include)"
        )
    return True


def _check_no_copy(base: str, classes: Collection[str], images: Collection[str]) -> None:
    """Raise LayoutError for a folder that holds a copy of the folders next to it."""
    for name in classes:
        inner = _children(_join(base, name), images)
        if len(same := [one for one in inner if one in classes]) > 1:
            raise LayoutError(
                f"'{_join(base, name)}' holds folders named as classes beside it, {_some(same)}: a second "
                f"copy? Leave one out, as by exclude='{_join(base, name)}' (--exclude)"
            )


def _check_no_split(base: str, names: Collection[str]) -> None:
    """Raise LayoutError for folders that look like splits without being a complete split."""
    looks = {name: {SIDE_OF[word] for word in words_in(name) if word in SIDE_OF} for name in names}
    is_split = {side for name in names for side in looks[name]} >= {"train"} and sum(
        map(bool, looks.values())
    ) > 1
    plain = [_join(base, name) for name in names if name.casefold() in SIDE_OF]
    suspects = [_join(base, name) for name in names if looks[name]] if is_split else plain
    if suspects:
        raise LayoutError(
            f"{_all(suspects)}: named as {'a split' if len(suspects) == 1 else 'splits'}, not as "
            f"{'a class' if len(suspects) == 1 else 'classes'}. An official split has the folders train, "
            "test and perhaps val, side by side, and the class folders in each; name them so, leave some out "
            "with exclude='...' (--exclude), or name images, labels and splits in a table: csv:PATH"
        )


def _check_no_parts(base: str, names: Collection[str]) -> None:
    """Raise LayoutError for folders that differ only in a number: fold1 and fold2, part_1 and part_2."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if re.search(r"\d", name) and PARTS & {word.removesuffix("s") for word in words_in(name)}:
            alike[re.sub(r"\d+", "#", name.casefold())].append(_join(base, name))
    for parts in alike.values():
        if len(parts) > 1:
            raise LayoutError(
                f"{_some(parts)}: named as parts of one data set, not as classes. Put the images "
                "of each class into a folder named as it, or name images, labels and groups in a csv:TABLE"
            )


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _all(names: Iterable[str]) -> str:
    """Return the names as 'a', 'b' and 'c'."""
    return listed([f"'{name}'" for name in names])


def _some(names: Collection[str], limit: int = 4) -> str:
    return ", ".join([*list(names)[:limit], *(["..."] if len(names) > limit else [])])
