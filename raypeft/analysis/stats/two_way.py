"""Estimate the score of a method where it was not run, as a sum of block and method effects."""

import numpy as np

Array = np.ndarray


def fit_two_way(scores: Array) -> tuple[Array, Array]:
    """Return least-squares effects, ((blocks,), (methods,)), whose sums fit `scores` (blocks, methods).

    NaN marks a missing score. Every block and method needs a score, and blocks must link all methods, because
    otherwise the difference between two of them is undetermined. Method effects sum to 0.
    """
    known = ~np.isnan(scores)
    filled = np.where(known, scores, 0.0)
    per_block, per_method = known.sum(axis=1), known.sum(axis=0)
    # the blocks' effects eliminated from the normal equations
    shared = known.T @ (known / per_block[:, None])
    centred = filled.sum(axis=0) - known.T @ (filled.sum(axis=1) / per_block)
    methods = np.linalg.pinv(np.diag(per_method) - shared, hermitian=True) @ centred
    methods -= methods.mean()
    blocks = (filled - known * methods).sum(axis=1) / per_block
    return blocks, methods
