"""Area under the ROC curve: how well the probabilities order the cases, whatever the threshold."""

import torch
from torch import Tensor

from raypeft.metrics.base import register_metric


@register_metric("auroc", higher_is_better=True)
def auroc(labels: Tensor, probabilities: Tensor) -> float | None:
    """Mean over classes of the one-versus-rest area, in [0, 1], higher is better; 0.5 by guessing.

    None when a class is absent from the labels: its curve does not exist, and a mean over the
    others would not compare with a mean over all. torchmetrics would warn and leave the class out.
    """
    from torchmetrics.functional.classification import multiclass_auroc

    num_classes = probabilities.shape[1]
    if len(torch.unique(labels)) < num_classes:
        return None
    return multiclass_auroc(
        probabilities, labels, num_classes=num_classes, average="macro", validate_args=False
    ).item()
