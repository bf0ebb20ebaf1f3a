"""TrialSpec -> model, task and splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raypeft.core.spec import TrialSpec
from raypeft.datasets import Table, open_prepared, split_table, subset
from raypeft.methods import ParameterCounts, apply_method
from raypeft.metrics import score
from raypeft.models import build_model, stored_weights
from raypeft.tasks import Classify
from raypeft.train.state import autocast_dtype, resolve_precision, seed_everything


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Everything that one training run needs; `train`, `val` and `test` index into `table`."""

    model: nn.Module
    counts: ParameterCounts
    task: Classify
    table: Table
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    precision: str

    def scores(
        self, split: str, cases: np.ndarray, probabilities: torch.Tensor | None = None
    ) -> Mapping[str, float]:
        """Every registered metric over `cases`, keyed "<split>/<metric>"."""
        if probabilities is None:
            probabilities = self.task.predict(self.model, cases)
        labels = torch.from_numpy(self.table.labels[cases])
        return {f"{split}/{name}": value for name, value in score(labels, probabilities).items()}


def build_trial(spec: TrialSpec, *, cache_dir: Path, device: torch.device) -> Trial:
    """Seed, then build the network, the method's parameters and the data, in this order.

    `cache_dir` holds the data that the plan prepared.
    """
    preprocessing = spec.preprocessing
    assert spec.recipe.image_size is not None, "the plan resolves the image size"
    table, images = open_prepared(
        spec.data_digest,
        image_size=spec.recipe.image_size,
        interpolation=preprocessing.interpolation,
        cache_dir=cache_dir,
    )
    split = split_table(table, seed=spec.split_seed)
    seed_everything(spec)
    model = build_model(
        spec.cell.model,
        num_classes=len(table.classes),
        weights=stored_weights(cache_dir, spec.weights_digest),
    )
    counts = apply_method(spec.cell.method, model)
    precision = resolve_precision(spec.recipe.precision, model=model, device=device)
    return Trial(
        model=model.to(device),
        counts=counts,
        task=Classify(
            images,
            table.labels,
            mean=preprocessing.mean,
            std=preprocessing.std,
            device=device,
            autocast=autocast_dtype(precision),
            # Scoring keeps no activations for a backward pass: four times as many images fit.
            batch_size=4 * spec.recipe.micro_batch_size,
        ),
        table=table,
        train=subset(split.train, table, fraction=spec.cell.fraction, seed=spec.seed),
        val=split.val,
        test=split.test,
        precision=precision,
    )
