"""Which methods are ranked against each other: those that met, on models that can have them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from raypeft.analysis.ranking.rank import Pool
from raypeft.analysis.read.scores import Block, CellScore, blocks_of, cell_scores, comparable
from raypeft.core.spec import Cell

_ByBlock = Mapping[Block, Mapping[str, CellScore]]


def pools_of(frame: pd.DataFrame, metric: str, planned: Collection[Cell] = ()) -> list[Pool]:
    """Return the rankings that a table of runs holds; `frame` is load_results' or read_scores'.

    Models with the same methods share a ranking; where others have other methods (LoRA is for ViTs), one
    more ranking holds all models and the methods that each of them has. Methods that no chain of common
    blocks links are ranked apart, as are FIDs of different numbers of images. A block in which nothing has
    a score is left out. `planned`: cells that are to run, so that a model lacks no method for being behind.
    Raises: ConfigError as cell_scores does.
    """
    groups = comparable(cell_scores(frame, metric), metric)
    return [pool for number, cells in groups.items() for pool in pools_among(cells, metric, number, planned)]


def pools_among(
    cells: Iterable[CellScore], metric: str, num_images: int, planned: Collection[Cell] = ()
) -> list[Pool]:
    """Return the rankings of cells that are one group of comparable()."""
    by_model: dict[str, set[str]] = {}
    blocks: dict[Block, dict[str, CellScore]] = {}
    for block, own in blocks_of(cells).items():
        by_model.setdefault(block[0], set()).update(cell.method for cell in own)
        if any(cell.runs for cell in own):
            blocks[block] = {cell.method: cell for cell in own}
    for cell in planned:
        if cell.model in by_model:
            by_model[cell.model].add(cell.method)
    alike: dict[frozenset[str], list[str]] = {}
    for model, methods in by_model.items():
        alike.setdefault(frozenset(methods), []).append(model)
    pools = [
        replace(pool, metric=metric, num_images=num_images)
        for methods, models in alike.items()
        for pool in _linked({b: own for b, own in blocks.items() if b[0] in models}, methods)
    ]
    common = frozenset.intersection(*alike) if alike else frozenset()
    if len(alike) > 1 and len(common) > 1:
        pools += [
            replace(pool, metric=metric, num_images=num_images, is_joint=True)
            for pool in _linked(blocks, common)
        ]
    return pools


def _linked(blocks: _ByBlock, methods: Iterable[str]) -> Iterator[Pool]:
    """A pool for each set of methods that common blocks link."""
    ran = {b: {m for m in methods if (cell := own.get(m)) and cell.runs} for b, own in blocks.items()}
    nowhere = dict.fromkeys(set(methods).difference(*ran.values()), 0)
    for part in _components(ran.values()):
        own = [block for block, those in ran.items() if those & part]
        if not any(blocks[block][method].n for block in own for method in ran[block]):
            continue  # all runs diverged
        counts = {method: sum(method in ran[block] for block in own) for method in sorted(part)}
        # of a method on few of the blocks, the place would follow from expectation alone
        few = {method: n for method, n in counts.items() if 2 * n <= max(counts.values())}
        if few:
            linked = _linked({block: blocks[block] for block in own}, part - set(few))
        else:
            linked = iter([_pool(blocks, own, tuple(counts))])
        yield from (replace(pool, left_out={**nowhere, **few, **pool.left_out}) for pool in linked)


def _pool(blocks: _ByBlock, own: Sequence[Block], methods: tuple[str, ...]) -> Pool:
    return Pool(
        models=tuple(sorted({model for model, _, _ in own})),
        methods=methods,
        blocks=tuple(own),
        cells={(b, m): cell for b in own for m, cell in blocks[b].items()},
        metric="",
    )


def _components(groups: Iterable[set[str]]) -> list[set[str]]:
    """Sets that share a member, directly or by others, joined."""
    found: list[set[str]] = []
    for group in groups:
        if group:
            near = [one for one in found if one & group]
            found = [one for one in found if one not in near] + [group.union(*near)]
    return found
