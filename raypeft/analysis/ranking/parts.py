"""Rankings on part of a pool's blocks, and whether the first of all is behind on one of them."""

from collections.abc import Sequence

from raypeft.analysis.ranking.inference import Inference, infer
from raypeft.analysis.read.scores import Block, format_fraction
from raypeft.analysis.stats.moderated import ALPHA
from raypeft.core.text import natural


def parts_by(one: Inference, axis: str) -> list[tuple[str, Inference]]:
    """Return the ranking of each "model" or "share of the training data", on what was run at several.

    Empty without several. What differs otherwise, a model's data sets or a share's, is left out.
    """
    place = 0 if axis == "model" else 2
    found: dict[tuple[object, ...], set[object]] = {}
    for block in one.pool.blocks:
        found.setdefault(_rest(block, place), set()).add(block[place])
    several = [block for block in one.pool.blocks if len(found[_rest(block, place)]) > 1]
    values = sorted({block[place] for block in several}, key=lambda value: natural(f"{value}"))
    if place == 2:
        values = sorted({block[2] for block in several})
    parts = []
    for value in values:
        own = one.pool.only(block for block in several if block[place] == value)
        name = format_fraction(float(value)) if place == 2 else str(value)
        parts.append((name, infer(own, one.replicates, ties=one.ties, margin=one.asked_margin)))
    return parts


def turned(one: Inference, parts: Sequence[tuple[str, Inference]]) -> list[str]:
    """Return the parts on which the leader of all is shown not to be the best, at 95% over all parts."""
    lead = one.leader.method
    return [
        name
        for name, part in parts
        if lead in part.pool.methods and part.of(lead).p_candidate <= ALPHA / len(parts)
    ]


def _rest(block: Block, place: int) -> tuple[object, ...]:
    return block[:place] + block[place + 1 :]
