"""Area under the ROC curve: how well the probabilities order the cases, at any threshold."""

import numpy as np

from raypeft.metrics.base import Array, register_metric


@register_metric("auroc", label="AUROC", higher_is_better=True)
def auroc(labels: Array, probabilities: Array) -> float | None:
    """Return the mean over classes of the one-versus-rest area, in [0, 1], higher is better.

    Guessing gives 0.5. Returns None if a class is absent from the labels: its curve does not exist, and a
    mean over the other classes could not be compared with a mean over all.
    """
    num_classes = probabilities.shape[1]
    if len(np.unique(labels)) < num_classes:
        return None
    from sklearn.metrics import roc_auc_score

    # One column per class: given class numbers, scikit-learn refuses rows that do not add up to 1 in float16.
    return float(roc_auc_score(np.eye(num_classes, dtype=int)[labels], probabilities, average="macro"))
