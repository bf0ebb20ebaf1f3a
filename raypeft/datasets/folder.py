"""The user's own images in class folders: every file is an image of a class, or is counted with a reason."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from raypeft.core.errors import DataError, list_problems
from raypeft.core.text import visible
from raypeft.datasets.base import register_source
from raypeft.datasets.layout import Layout, LayoutError, find_layout
from raypeft.datasets.manifest import Row, Table, make_table
from raypeft.datasets.masks import named_masks, says_mask, unnamed_masks
from raypeft.datasets.selection import (
    AGAIN,
    EMPTY,
    EXCLUDED,
    HIDDEN,
    LOOP,
    MASK,
    NO_CLASS,
    NO_IMAGE,
    NOT_INCLUDED,
    SYSTEM,
    SYSTEM_FOLDERS,
    Choice,
    count_left_out,
    why_not,
)
from raypeft.datasets.walk import Walk, walk

NO_LOSS = frozenset((NO_IMAGE, EXCLUDED, NOT_INCLUDED, AGAIN, LOOP))
"""Reasons that explain a folder without images: it is not a class that was lost."""


@register_source(
    "folder", meaning="one folder per class, images at any depth below it; or such in train, val and test"
)
def folder(path: str, *, include: str | tuple[str, ...] = (), exclude: str | tuple[str, ...] = ()) -> Table:
    """Read class folders, which name the classes; folders named train, val and test are the official split.

    Globs match a path below `path`, of a file or of a folder above it; `*` matches slashes too. With
    `include` nothing else is read, and what it matches is read even if it looks like a mask.
    Raises: DataError for a missing folder, fewer than two classes, every empty class, and whatever is unclear
    about the folders.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"folder:{visible(path)}: no such folder")
    name = f"folder:{visible(path)}"
    choice = Choice(include=_globs(include), exclude=_globs(exclude))
    found = walk(root, passes_over=choice.passes_over)
    why = why_not(root, found, choice)
    try:
        layout = _layout(root, found, why, judges_masks=not include)
    except LayoutError as error:
        raise DataError(f"{name}: {visible(str(error))}") from None
    rows = [_row(root, image, layout) for image in _used(found, why)]
    if problems := [*_conflicts(found, why, layout), *_empty_classes(found, why, layout)]:
        raise DataError(f"{name}:\n{list_problems(problems)}")
    if len(classes := {row.label for row in rows}) < 2:
        raise DataError(f"{name}: one class only, '{visible(min(classes))}'; classification needs two")
    class_of = {path: visible(place[0]) for path in why if (place := layout.place(path))}
    parents = " and ".join(visible(parent) for parent in sorted(layout.parents))
    notes = [f"the class folders are those in {parents}"] if parents else []
    return make_table(name, rows, left_out=count_left_out(why, _used(found, why), class_of), notes=notes)


def _globs(option: str | tuple[str, ...]) -> tuple[str, ...]:
    return (option,) if isinstance(option, str) else option


def _used(found: Walk, why: Mapping[str, str]) -> list[str]:
    return [path for path in found.files if path not in why]


def _layout(root: Path, found: Walk, why: dict[str, str], *, judges_masks: bool) -> Layout:
    """Return the layout of the used files; add masks, and images in no class folder, to `why`.

    Raises: LayoutError.
    """
    if not _used(found, why):
        left = "; ".join(str(part) for part in count_left_out(why, [], {}))
        raise LayoutError(f"no images in it{f' ({left})' if left else ''}")
    if judges_masks:
        masks, doubtful = named_masks(root, _used(found, why))
        for kind in doubtful:
            raise LayoutError(
                f"are the images named '{kind.name}', as {kind.members[0]}, segmentation masks of others, as "
                f"of {kind.partners[0]}? Their names say so, but they hold many grey levels. Leave them out "
                "with exclude='GLOB' (--exclude), or say with include='GLOB' (--include) what to read"
            )
        why |= dict.fromkeys(masks, MASK)
        if not _used(found, why):
            raise LayoutError(
                "all of its images look like segmentation masks; include='*' (--include '*') reads them"
            )
    images = _used(found, why)
    layout = find_layout(root, images)
    if judges_masks:
        masks = unnamed_masks(root, images, level=lambda path: layout.level(path) or 0)
        why |= dict.fromkeys(masks, MASK)
    why |= {image: NO_CLASS for image in images if image not in why and layout.place(image) is None}
    return layout


def _row(root: Path, image: str, layout: Layout) -> Row:
    place = layout.place(image)
    assert place is not None, "what lies in no class folder is left out"
    label, side = place
    return Row(path=root / image, case_id=image, label=label, split=side)


def _conflicts(found: Walk, why: Mapping[str, str], layout: Layout) -> Iterator[str]:
    """Yield links through which an image would be in two classes, or on two sides of the split."""
    for path, first in found.again.items():
        one, other = (layout.place(f"{way}x" if way.endswith("/") else way) for way in (first, path))
        is_judged = why[path] not in (HIDDEN, SYSTEM, EXCLUDED, NOT_INCLUDED) and first not in why
        if is_judged and one and other and one != other:
            yield visible(
                f"{path} and {first} are the same {'folder' if path.endswith('/') else 'file'}, which cannot "
                "be of two classes or sides of the split; remove one, or leave it out with "
                "exclude='...' (--exclude)"
            )


def _empty_classes(found: Walk, why: Mapping[str, str], layout: Layout) -> Iterator[str]:
    """Yield class folders of which nothing is read, unless the user or their files explain it."""
    filled = {layout.class_folder(path) for path in _used(found, why)}
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for path, reason in why.items():
        class_folder = layout.class_folder(path)
        if class_folder and class_folder not in filled:
            reasons[class_folder][reason] += 1
    for class_folder, counts in sorted(reasons.items()):
        name = class_folder.rpartition("/")[2]
        if name.startswith(".") or name in SYSTEM_FOLDERS:
            continue
        rest = counts.keys() - {HIDDEN, SYSTEM, EMPTY}
        is_mask_folder = rest == {MASK} and says_mask(name)
        if not is_mask_folder and not (rest and rest <= NO_LOSS):
            why_so = ", ".join(f"{reason} ({number:,})" for reason, number in sorted(counts.items()))
            yield visible(
                f"class '{name}' has 0 images; found in {class_folder}: {why_so}. Add images, remove the "
                "folder, or leave it out with exclude='...' (--exclude)"
            )
