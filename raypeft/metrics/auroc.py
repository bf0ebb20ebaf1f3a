"""Area under the ROC curve: how well the probabilities order the cases, whatever the threshold."""

import numpy as np

from raypeft.metrics.base import Array, register_metric


@register_metric("auroc", label="AUROC", higher_is_better=True)
def auroc(labels: Array, probabilities: Array) -> float | None:
    """Mean over classes of the one-versus-rest area, in [0, 1], higher is better; 0.5 by guessing.

    None when a class is absent from the labels: its curve does not exist, and a mean over the
    others would not compare with a mean over all. torchmetrics would warn and leave the class out.
    """
    num_classes = probabilities.shape[1]
    if len(np.unique(labels)) < num_classes:
        return None
    import torch
    from torchmetrics.functional.classification import multiclass_auroc

    return multiclass_auroc(
        torch.from_numpy(probabilities),
        torch.from_numpy(labels),
        num_classes=num_classes,
        average="macro",
        validate_args=False,
    ).item()
