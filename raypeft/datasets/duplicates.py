"""Find images that belong together: equal pixels, similar images, one patient."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from raypeft.datasets.images import Fingerprint
from raypeft.datasets.manifest import Table

BLOCK = 2048  # images compared at a time: 2048 x n distances


def identical_images(found: Sequence[Fingerprint]) -> list[list[int]]:
    """Return each set of two or more images with equal pixels, as indices."""
    same = defaultdict(list)
    for case, one in enumerate(found):
        same[one.pixels].append(case)
    return [cases for cases in same.values() if len(cases) > 1]


def similar_images(found: Sequence[Fingerprint], *, distance: int) -> np.ndarray:
    """Return pairs (m, 2), first < second, whose pHashes differ in at most `distance` of 256 bits.

    Images with equal pixels are included.
    """
    bits = np.unpackbits(
        np.frombuffer(b"".join(one.phash for one in found), np.uint8).reshape(-1, 32), axis=1
    )
    signs = bits.astype(np.float32) * 2 - 1
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(signs), BLOCK):
        # equal bits minus unequal ones: 256 - 2 x distance
        agreement = signs[start : start + BLOCK] @ signs[start:].T
        first, second = np.nonzero(agreement >= bits.shape[1] - 2 * distance)
        keep = first < second
        pairs.append(np.stack([first[keep], second[keep]], axis=1) + start)
    return np.concatenate(pairs)


def find_units(table: Table, found: Sequence[Fingerprint], *, similar: int | None) -> np.ndarray:
    """Return the unit of each image, int64 (n,); no split may divide a unit.

    Images are in one unit if they share a group or all pixels, or look alike up to the pHash distance
    `similar`; also indirectly, through other images.
    """
    from scipy.sparse import coo_array  # half a second, and decoding processes import this module
    from scipy.sparse.csgraph import connected_components

    links = [np.empty((0, 2), dtype=np.int64)]
    together = identical_images(found)
    if table.groups is not None:
        members = defaultdict(list)
        for case, group in enumerate(table.groups):
            members[group].append(case)
        together += members.values()
    links += [
        np.array([(cases[0], other) for other in cases[1:]], np.int64).reshape(-1, 2) for cases in together
    ]
    if similar is not None:
        links.append(similar_images(found, distance=similar))
    first, second = np.concatenate(links).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(table), len(table)))
    units: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int64)
    return units
