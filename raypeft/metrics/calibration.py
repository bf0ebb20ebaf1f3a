"""Expected calibration error: how far the stated confidence is from the share of correct predictions."""

import numpy as np

from raypeft.metrics.base import Array, register_metric

NUM_BINS = 15


@register_metric("ece", label="calibration error (ECE)", higher_is_better=False)
def ece(labels: Array, probabilities: Array) -> float:
    """Return the mean over 15 equal bins of |accuracy - confidence|, by cases; in [0, 1], lower is better.

    Only the top class counts (Guo et al., ICML 2017). A confidence on an edge belongs to the bin above, and 1
    to the last bin. An empty bin has no weight; absent classes have no effect.
    """
    confidence, is_right = probabilities.max(1).astype(float), probabilities.argmax(1) == labels
    gaps = np.bincount(bins_of(confidence), weights=is_right - confidence, minlength=NUM_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def bins_of(confidence: Array) -> Array:
    """Return the bin, 0 to 14, of each confidence, float64 (n,) in [0, 1]."""
    return np.asarray(np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1))
