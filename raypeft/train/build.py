"""TrialSpec -> model, task and splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from raypeft.core.spec import TrialSpec
from raypeft.datasets import Prepared, open_prepared
from raypeft.methods import ParameterCounts, apply_method
from raypeft.metrics import score
from raypeft.models import build_model, stored_weights
from raypeft.tasks import Augmenter, Classify
from raypeft.train.loop import trained_state
from raypeft.train.state import autocast_dtype, prepare_network, resolve_precision, seed_everything
from raypeft.train.workers import Workers, whole


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Everything that one training run needs; `train`, `val` and `test` index into `data`."""

    model: nn.Module
    counts: ParameterCounts
    task: Classify
    data: Prepared
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    precision: str

    def scores(self, split: str, cases: np.ndarray, probabilities: torch.Tensor) -> Mapping[str, float]:
        """Every registered metric over `cases`, keyed "<split>/<metric>"."""
        labels = torch.from_numpy(self.data.labels[cases])
        return {f"{split}/{name}": value for name, value in score(labels, probabilities).items()}


def build_trial(
    spec: TrialSpec, *, cache_dir: Path, device: torch.device, workers: Workers, micro_batch_size: int
) -> Trial:
    """Seed, then build the network, the method's parameters and the data, in this order.

    `cache_dir` holds the data that the plan prepared. Sharding workers leave the network on the CPU:
    it need not fit their device as a whole.
    """
    preprocessing = spec.preprocessing
    assert spec.recipe.image_size is not None, "the plan resolves the image size"
    data, images = open_prepared(
        spec.data_digest,
        image_size=spec.recipe.image_size,
        interpolation=preprocessing.interpolation,
        cache_dir=cache_dir,
    )
    seed_everything(spec)
    model, counts = _build_network(spec, num_classes=len(data.classes), cache_dir=cache_dir)
    precision = resolve_precision(spec.recipe.precision, model=model, device=device)
    prepare_network(model, precision=precision, device=device)
    return Trial(
        model=model if workers.sharded else model.to(device),
        counts=counts,
        task=Classify(
            images,
            data.labels,
            mean=preprocessing.mean,
            std=preprocessing.std,
            device=device,
            autocast=autocast_dtype(precision),
            # Scoring keeps no activations for a backward pass: four times as many images fit.
            batch_size=4 * micro_batch_size,
            augmenter=_augmenter(spec, num_cases=len(data.labels)),
        ),
        data=data,
        train=data.subset(fraction=spec.cell.fraction, seed=spec.seed),
        val=data.cases("val"),
        test=data.cases("test"),
        precision=precision,
    )


def whole_model(spec: TrialSpec, trial: Trial, *, cache_dir: Path) -> nn.Module:
    """The trained model, in one piece where workers hold parts of it; then every worker must call."""
    if not any(isinstance(parameter, DTensor) for parameter in trial.model.parameters()):
        return trial.model
    state = {name: whole(tensor) for name, tensor in trained_state(trial.model).items()}
    model, _ = _build_network(spec, num_classes=len(trial.data.classes), cache_dir=cache_dir)
    model.load_state_dict(state, strict=False)
    return model


def _build_network(
    spec: TrialSpec, *, num_classes: int, cache_dir: Path
) -> tuple[nn.Module, ParameterCounts]:
    weights = stored_weights(cache_dir, spec.weights_digest)
    model = build_model(spec.cell.model, num_classes=num_classes, weights=weights)
    return model, apply_method(spec.cell.method, model)


def _augmenter(spec: TrialSpec, *, num_cases: int) -> Augmenter | None:
    settings = spec.recipe.augmentation
    return None if settings is None else Augmenter(settings, num_cases=num_cases, seed=spec.seed)
