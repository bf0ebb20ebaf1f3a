"""Find images that are segmentation masks of others: they pair with images by name and hold few greys."""

import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from raypeft.core.resize import Resize
from raypeft.core.spelling import words_in
from raypeft.datasets.decoder import decode_into

MASK = re.compile(r"_mask(_\d+)?$", re.IGNORECASE)  # as BUSI's are named: needs no look at the pixels
SAID = (
    "mask masks seg segs segmentation segmentations label labels gt gts groundtruth ground truth annot "
    "annotation annotations manual contour contours trimap trimaps roi rois"
)
WORDS = frozenset(SAID.split())
BESIDE_WORDS = WORDS | {"image", "images", "img", "imgs"}  # image_1.png pairs with mask_1.png
SEPARATOR = re.compile(r"[ _.-]+")

SAMPLE = Resize(image_size=64, interpolation="nearest")  # values of the image's own pixels
FEW, SHARE = 16, 0.85  # so many colours hold this share of a mask's pixels; of the busiest real images, half
SAMPLES = 6  # images of a kind that are looked at
UNNAMED = 32  # kinds looked at of which no word says masks: patients' folders with equal names are many


@dataclass(kw_only=True)
class Kind:
    """Images that share a folder's name, or a part of the file's name."""

    name: str
    members: list[str] = field(default_factory=list)
    partners: list[str] = field(default_factory=list)  # images that members pair with, one of each

    @property
    def words(self) -> frozenset[str]:
        """Return the words of the name, in lower case."""
        return frozenset(words_in(self.name))

    @property
    def has_partners(self) -> bool:
        """True if at least half of the images have a partner."""
        return 2 * len(self.partners) >= len(self.members)


def says_mask(name: str) -> bool:
    """True if a folder's name says that it holds masks."""
    return bool(Kind(name=name).words & WORDS)


def named_masks(root: Path, images: Sequence[str]) -> tuple[set[str], list[Kind]]:
    """Return the masks among images (paths below `root`) by name, and the kinds whose pixels deny it."""
    masks = {path for path in images if MASK.search(_stem(path))}
    rest = [path for path in images if path not in masks]
    kinds = [kind for kind in [*_by_folder(rest), *_by_word(rest)] if kind.words & WORDS]
    levels = _Levels(root)
    levels.read(path for kind in kinds for path in _sample(kind.members))
    doubtful = []
    for kind in kinds:
        is_plain = kind.words <= WORDS  # "masks"; "with_mask" may be a class
        is_deep = not any(path.startswith(f"{kind.name}/") for path in kind.members)  # no class folder
        if levels.are_few(kind.members):
            masks.update(kind.members if is_plain or is_deep or kind.has_partners else ())
        elif is_plain and kind.has_partners:
            doubtful.append(kind)
    return masks, doubtful


def unnamed_masks(root: Path, images: Sequence[str], *, level: Callable[[str], int]) -> set[str]:
    """Return masks that no word reveals: images of few grey levels whose partners have many.

    `level`: the depth of an image's class folder. Class folders are never taken for masks here, because equal
    file names in them mean nothing.
    """
    kinds = [kind for kind in [*_by_folder(images, below=level), *_by_rest(images)] if kind.has_partners]
    kinds = kinds[:: -(-len(kinds) // UNNAMED) or 1]
    levels = _Levels(root)
    levels.read(path for kind in kinds for path in _sample(kind.members))
    suspects = [kind for kind in kinds if levels.are_few(kind.members) and levels.differ(kind.members)]
    levels.read(path for kind in suspects for path in _sample(kind.partners))
    return {path for kind in suspects if not levels.are_few(kind.partners) for path in kind.members}


def _by_folder(images: Sequence[str], *, below: Callable[[str], int] = lambda path: -1) -> list[Kind]:
    """Return images in folders of one name; a partner of this name is in a folder beside it, or above."""
    names: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)  # parent, key -> folder -> image
    places = []
    for path in images:
        *folders, file = path.split("/")
        bare = _bare(_stem(file))[0]
        names["/".join(folders), bare].setdefault("", path)
        class_level = below(path)
        for depth, folder in enumerate(folders):
            place = "/".join(folders[:depth]), "/".join([*folders[depth + 1 :], bare])
            names[place].setdefault(folder, path)
            if depth > class_level:
                places.append((folder, path, place))
    kinds: dict[str, Kind] = {}
    for folder, path, place in places:
        others = names[place]
        kind = kinds.setdefault(folder, Kind(name=folder))
        kind.members.append(path)
        kind.partners += [other for name, other in others.items() if name != folder][:1]
    return list(kinds.values())


def _by_word(images: Sequence[str]) -> list[Kind]:
    """Return images whose name ends or begins with a word, as in a_seg.png; partners lack the word."""
    names: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)  # folder, bare name -> word -> image
    places = []
    for path in images:
        folder, _, file = path.rpartition("/")
        bare, word = _bare(_stem(file))
        names[folder, bare].setdefault(word, path)
        if word:
            places.append((word, path, (folder, bare)))
    kinds: dict[str, Kind] = {}
    for word, path, place in places:
        kind = kinds.setdefault(word, Kind(name=word))
        kind.members.append(path)
        kind.partners += [other for name, other in names[place].items() if name != word][:1]
    return [kind for kind in kinds.values() if kind.has_partners]


def _by_rest(images: Sequence[str]) -> list[Kind]:
    """Return images named as another plus something: a_b.png for a.png, a.png for a.jpg."""
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)  # folder, stem -> images
    for path in images:
        stems[path.rpartition("/")[0], _stem(path)].append(path)
    kinds: dict[str, Kind] = {}
    for (folder, stem), paths in stems.items():
        cuts = [match.start() for match in SEPARATOR.finditer(stem)]
        cut = next((cut for cut in reversed(cuts) if (folder, stem[:cut]) in stems), None)
        for path in paths:
            rest, partner = os.path.splitext(path)[1], next((one for one in paths if one != path), None)
            if cut is not None:
                rest, partner = stem[cut:], stems[folder, stem[:cut]][0]
            if partner is not None:
                kind = kinds.setdefault(rest, Kind(name=rest))
                kind.members.append(path)
                kind.partners.append(partner)
    return list(kinds.values())


def _stem(path: str) -> str:
    return os.path.splitext(path.rpartition("/")[2])[0]


def _bare(stem: str) -> tuple[str, str]:
    """Return a file's name without the words for image or mask at its ends, and these: a, seg for a_seg_2."""
    tokens = [token for token in SEPARATOR.split(stem.casefold()) if token]
    words: list[str] = []

    def word(place: int) -> str:
        found = tokens[place].rstrip("0123456789")
        return found if found in BESIDE_WORDS else ""

    if len(tokens) > 2 and tokens[-1].isdigit() and word(-2):
        tokens.pop()
    while len(tokens) > 1 and word(-1):
        words.append(word(-1))
        tokens.pop()
    if len(tokens) > 1 and word(0):
        words.append(word(0))
        tokens.pop(0)
    if len(tokens) == 1 and (only := word(0)) and only != tokens[0]:  # mask1 beside image1
        words, tokens = [only], [tokens[0].removeprefix(only)]
    return "_".join(tokens), " ".join(reversed(words))


def _sample(paths: Sequence[str]) -> Sequence[str]:
    """Return SAMPLES of the paths, evenly spread."""
    return paths[:: max(1, len(paths) // SAMPLES)][:SAMPLES]


class _Levels:
    """The number of colours in sampled images, which separate processes decode."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counts: dict[str, tuple[float, int]] = {}  # share of the FEW most frequent colours; colours

    def read(self, paths: Iterable[str]) -> None:
        asked = sorted(set(paths) - self._counts.keys())
        if not asked:
            return
        shape = (len(asked), SAMPLE.image_size, SAMPLE.image_size, 3)
        with tempfile.TemporaryDirectory() as folder:
            pixels = Path(folder, "pixels")
            with pixels.open("wb") as file:
                file.truncate(int(np.prod(shape)))
            results, _ = decode_into(pixels, [self._root / path for path in asked], resize=SAMPLE)
            images = np.fromfile(pixels, dtype=np.uint8).reshape(shape)
        for path, image, result in zip(asked, images, results, strict=True):
            if not isinstance(result, str):
                counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)[1]
                self._counts[path] = float(np.sort(counts)[-FEW:].sum() / counts.sum()), len(counts)

    def are_few(self, paths: Collection[str]) -> bool:
        """True if nearly all images that were read hold few colours."""
        shares = [self._counts[path][0] for path in paths if path in self._counts]
        return bool(shares) and sum(share >= SHARE for share in shares) >= 0.9 * len(shares)

    def differ(self, paths: Collection[str]) -> bool:
        """True if an image has more than one colour; uniform images are not masks."""
        return any(self._counts[path][1] > 1 for path in paths if path in self._counts)
