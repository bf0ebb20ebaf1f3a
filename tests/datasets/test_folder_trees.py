"""Generated folders: what is in order is read whole, all else is refused in words, never a traceback."""

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from raypeft.core.errors import DataError
from raypeft.core.text import visible
from raypeft.datasets import Table, open_dataset

FORMS = {
    ".png": "PNG",
    ".JPG": "JPEG",
    ".jfif": "JPEG",
    ".gif": "GIF",
    ".pgm": "PPM",
    "": "JPEG",
    ".1.2": "PNG",
}
CLASSES = ["benign", "Malignant tumour", "m\udce9lanome", "[x]", "grade 1", "grade 2"]
LAYOUTS = [
    [("", None)],
    [("train/", "train"), ("TEST/", "test")],
    [("Training/", "train"), ("dev/", "val"), ("test/", "test")],
]
JUNK = {
    "Thumbs.db": b"\xd0\xcf\x11\xe0",
    ".DS_Store": b"\0\0\0\1Bud1",
    "notes.txt": b"x",
    "empty": b"",
    "._1.png": b"x",
    "sub/desktop.ini": b"x",
    "__MACOSX/1.png": b"x",
    ".cache/2.png": b"\x89PNG\r\n\x1a\n",
    "a\udcffb.csv": b"x",
}


def encoded(form: str, seed: int, *, is_mask: bool = False) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if is_mask:
        image = Image.new("L", (24, 24))
        ImageDraw.Draw(image).ellipse((2, 2, 9 + seed % 12, 15), fill=255)
    file = io.BytesIO()
    image.save(file, format=form)
    return file.getvalue()


class Tree:
    """Writes files below a folder, and remembers what is an image of which class and side."""

    def __init__(self, folder: Path) -> None:
        self.root, self.disk = folder / "set", folder / "disk"
        self.root.mkdir()
        self.images: dict[str, tuple[str, str | None]] = {}  # real path -> class, side
        self.refused = False
        self._number = 0

    def write(self, path: Path, content: bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def image(self, folder: Path, suffix: str, place: tuple[str, str | None]) -> Path:
        """A picture with a name that no other has."""
        self._number += 1
        path = self.write(folder / f"{self._number:03}{suffix}", encoded(FORMS[suffix], self._number))
        self.images[os.path.realpath(path)] = place
        return path

    def links(self, folder: Path, suffix: str, place: tuple[str, str | None]) -> None:
        """To a folder and a file on a disk, one of them twice, in circles, and to nothing."""
        self._number += 1
        site = self.disk / f"site {self._number}"
        image = self.image(site / "deep", suffix, place)
        self.image(self.disk / "files", suffix, place)
        (folder / "file").symlink_to(list(self.images)[-1])
        (folder / "same").symlink_to(image)
        (folder / f"site {self._number}").symlink_to(site)
        (folder / "again").symlink_to(site)
        (site / "back").symlink_to(folder)
        (folder / "loop").symlink_to(self.root)
        (folder / "above").symlink_to(self.root.parent)
        (folder / "broken.png").symlink_to(folder / "none.png")
        os.mkfifo(folder / "pipe.png")


def opened(root: Path) -> Table | str:
    """The table, or why there is none."""
    try:
        return open_dataset(f"folder:{root}")
    except DataError as error:
        if error.__cause__ is not None:  # an error of ours, made a message
            raise error.__cause__ from None
        return str(error)


def files_below(root: Path) -> Iterator[str]:
    """Real folders' entries that are no folders: each folder once, links followed, but not above the root."""
    above = {os.path.realpath(root.parent)}
    waiting, seen = [os.path.realpath(root)], set()
    while waiting:
        folder = waiting.pop()
        if folder not in seen and folder not in above:
            seen.add(folder)
            for entry in os.scandir(folder):
                if entry.is_dir():
                    waiting.append(os.path.realpath(entry.path))
                else:
                    yield entry.path


@st.composite
def class_folder(draw: st.DrawFn) -> dict:
    suffixes = st.sampled_from(list(FORMS))
    return {
        "images": draw(
            st.lists(st.tuples(st.sampled_from(["", "p 1", "p 1/a", "p2"]), suffixes), min_size=1, max_size=4)
        ),
        "junk": draw(st.lists(st.sampled_from(list(JUNK)), unique=True, max_size=3)),
        "links": draw(st.none() | st.none() | suffixes),
        "masks": draw(st.sampled_from(["", "", "", "_mask.png", "masks/"])),
    }


@settings(max_examples=25, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    names=st.lists(st.sampled_from(CLASSES), min_size=2, max_size=3, unique=True),
    contents=st.lists(class_folder(), min_size=9, max_size=9),
    beside=st.lists(st.sampled_from(list(JUNK)), unique=True, max_size=3),
    holds_empty=st.sampled_from([False, False, False, True]),
)
def test_a_folder_in_order_is_read_whole_and_every_file_is_counted(
    layout, names, contents, beside, holds_empty
):
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder))
        for above, side in layout:
            for name in names:
                fill(tree, tree.root / f"{above}{name}", contents.pop(), (visible(name), side))
        for junk in ["notes.txt", *beside]:
            tree.write(tree.root / "documents" / junk, JUNK[junk])
        if holds_empty:
            (tree.root / layout[0][0] / "normal").mkdir()
        check_read(tree, refuses="class 'normal' has 0 images" if holds_empty else None)


def fill(tree: Tree, folder: Path, content: dict, place: tuple[str, str | None]) -> None:
    for sub, suffix in content["images"]:
        path = tree.image(folder / sub, suffix, place)
        if content["masks"] == "masks/":
            tree.write(path.parent / "masks" / path.name, encoded("PNG", 1, is_mask=True))
        elif content["masks"]:
            tree.write(path.parent / f"{path.stem}_mask.png", encoded("PNG", 1, is_mask=True))
    for junk in content["junk"]:
        tree.write(folder / junk, JUNK[junk])
    if content["links"] is not None:
        tree.links(folder, content["links"], place)


def check_read(tree: Tree, *, refuses: str | None) -> None:
    table = opened(tree.root)
    if isinstance(table, str):
        assert refuses, table
        assert refuses in table
        return
    assert not refuses
    assert table.paths is not None
    sides = table.splits or [None] * len(table)
    read = {
        os.path.realpath(path): (table.classes[label], side)
        for path, label, side in zip(table.paths, table.labels, sides, strict=True)
    }
    assert len(read) == len(table)
    assert read == tree.images
    assert len(table) + sum(part.total for part in table.left_out) == len(list(files_below(tree.root)))
    table.case_ids[0].encode()


PARTS = [
    "benign", "Benign", "malignant", "train", "Train", "test", "val", "images", "masks", "gt", "p1", ".git",
    "set", "documents", "__MACOSX", "m\udce9", "a\nb", "[/x]", "data", "train_set", "no_mask",
]  # fmt: skip
FILES = [
    "1.png",
    "1.jpg",
    "1",
    "1_mask.png",
    "1_seg.png",
    "2.PNG",
    ".1.png",
    "x.txt",
    "\udcff.png",
    "empty.dat",
    "a;b.gif",
]
KINDS = ["image", "image", "image", "mask", "text", "nothing", "folder"]


@settings(max_examples=30, deadline=None)
@given(
    entries=st.lists(
        st.tuples(
            st.lists(st.sampled_from(PARTS), max_size=3), st.sampled_from(FILES), st.sampled_from(KINDS)
        ),
        max_size=12,
    ),
    links=st.lists(st.tuples(st.lists(st.sampled_from(PARTS), max_size=2), st.integers(0, 12)), max_size=3),
)
def test_any_folder_ends_in_a_table_or_in_words_that_name_it(entries, links):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "set")
        root.mkdir()
        for number, (parts, name, kind) in enumerate(entries):
            put(root.joinpath(*parts, name), kind, number)
        places = [root.parent, root, *(root.joinpath(*parts) for parts, _, _ in entries)]
        for number, (parts, target) in enumerate(links):
            above = root.joinpath(*parts)
            if above.is_dir():
                (above / f"link{number}").symlink_to(places[target % len(places)])
        table = opened(root)
        if isinstance(table, str):
            assert str(root) in table
            return
        assert len(table.classes) >= 2
        assert not set(table.classes) & {"train", "Train", "val", "test", ".git", "__MACOSX"}
        counted = len(table) + sum(part.total for part in table.left_out)
        assert counted >= len({os.path.realpath(file) for file in files_below(root)})
        if not links:
            assert counted == len(list(files_below(root)))


def put(path: Path, kind: str, seed: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "folder":
            path.mkdir(exist_ok=True)
        elif not path.exists():
            content = {"text": b"x", "nothing": b""}.get(kind)
            path.write_bytes(encoded("PNG", seed, is_mask=kind == "mask") if content is None else content)
    except (FileExistsError, NotADirectoryError):
        return  # a file of that name is there already
