"""Scores of text-to-image models. The task predicts noise; raypeft/metrics/torch compares the images."""

import math

from raypeft.metrics.base import METRICS, Metric

# Few images make FID too high (Chong and Forsyth, CVPR 2020); KID is unbiased and may fall below 0.
for metric in (
    Metric(
        name="fid",
        label="FID",
        higher_is_better=False,
        bounds=(0.0, math.inf),
        task="generate",
        needs_equal_n=True,
        needs_equal_features=True,
    ),
    Metric(
        name="kid",
        label="KID",
        higher_is_better=False,
        bounds=(-math.inf, math.inf),
        task="generate",
        needs_equal_features=True,
    ),
    Metric(name="memorised", label="memorised share", higher_is_better=False, task="generate"),
    Metric(
        name="noise_mse", label="noise MSE", higher_is_better=False, bounds=(0.0, math.inf), task="generate"
    ),
):
    METRICS.add(metric.name, metric)
