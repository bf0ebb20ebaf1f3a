"""Expected calibration error: how far stated confidence is from the share that is right."""

from raypeft.metrics.base import Array, register_metric

NUM_BINS = 15


@register_metric("ece", label="calibration error (ECE)", higher_is_better=False)
def ece(labels: Array, probabilities: Array) -> float:
    """Mean over 15 equal bins of |accuracy - confidence|, weighted by cases; in [0, 1], lower is better.

    Of the top class alone (Guo et al., ICML 2017). A confidence on an edge belongs to the bin
    above, and 1 to the last bin. An empty bin has no weight; absent classes play no part.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    # torchmetrics gives a confidence of exactly 1 a bin of its own; rounding to float16 makes many
    below_one = torch.from_numpy(probabilities).clamp(max=1 - 2**-24)
    return multiclass_calibration_error(
        below_one,
        torch.from_numpy(labels),
        num_classes=probabilities.shape[1],
        n_bins=NUM_BINS,
        norm="l1",
        validate_args=False,
    ).item()
