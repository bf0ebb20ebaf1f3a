"""What a final run of a text-to-image model leaves: samples, their features, and their scores.

Every score is recorded with the number of samples and compared only at equal numbers, because FID falls
as the number grows.
"""

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn

from raypeft.core.errors import DivergedError, DrainedError
from raypeft.core.files import new_file
from raypeft.metrics import REFERENCES
from raypeft.metrics.torch.generation import (
    frechet_distance,
    frechet_interval,
    kernel_distance,
    memorised_share,
)
from raypeft.models import build_model
from raypeft.tasks import Generate
from raypeft.train.build import Trial
from raypeft.train.context import Context
from raypeft.train.extractor import BATCH_SIZE, Extractor, open_extractor
from raypeft.train.tensors import cache_path, cached_tensors, cut, divided_tensors

THUMBNAIL = 32  # pixels
SHOWN = 8  # samples in the strip that reports show
IMAGES, FEATURES = "images", "features"


@dataclass(frozen=True, kw_only=True)
class _Features:
    """The features of samples, the untuned pipeline's samples and real images: float32 (n, d).

    They are rounded to float16, as they are stored, so that every score can be recomputed from the store.
    """

    network: str
    generated: torch.Tensor
    untuned: torch.Tensor
    real: torch.Tensor  # the test images whose prompts were used
    train: torch.Tensor
    test: torch.Tensor


def score_samples(trial: Trial, task: Generate) -> tuple[dict[str, float], str]:
    """Sample images for the test split's prompts and compare them with its images; return scores by name.

    An interrupted run keeps its samples. The scores: test/fid (with test/fid_low and test/fid_high, a 95%
    interval over images), test/kid, test/kid_sd, test/fid_num_images, test/fid_untuned and test/kid_untuned
    (the same prompts and noise without tuning), test/memorised and test/memorised_pixels (by features, and by
    grey thumbnails), val/noise_mse, test/noise_mse. The second value is the name of the network whose
    features were compared.

    Raises: DrainedError if the checkpoints ask to end; DivergedError if all samples are alike.
    """
    spec, store, workers = trial.spec, trial.context.store, trial.context.workers
    num_images = spec.recipe.generates_by.num_images

    errors = {
        f"{split}/noise_mse": task.score(workers.predict(task, trial.model, cases), cases)
        for split, cases in (("val", trial.val), ("test", trial.test))
    }
    cases = prompted_cases(trial, num_images)
    images, untuned = (
        sample(trial.context, task, model, cases, num_images, folder=folder)
        for model, folder in (
            (lambda: trial.model, store.partial_samples(spec.trial_id)),
            _untuned(trial, task),
        )
    )
    features = _all_features(trial, cases, images, untuned)
    if not (features.generated - features.generated[0]).any():
        raise DivergedError("all samples are alike")
    metrics = errors | _compare(features, seed=spec.seed)
    metrics["test/memorised_pixels"] = memorised_share(
        *(thumbnails(part) for part in (images, trial.images[trial.train], trial.images[trial.test]))
    )
    if workers.is_first:
        _write(store.predictions(spec.trial_id), trial, cases, features)
        write_strip(store.samples(spec.trial_id), images[:SHOWN])
        if trial.data.is_public:
            write_strip(store.real_samples(spec.data_digest), trial.images[cases[:SHOWN]])
    return metrics, features.network


def prompted_cases(trial: Trial, num_images: int) -> np.ndarray:
    """Return the test cases, int64, whose prompts are used and whose images are compared with the samples.

    They are sorted by pseudonym, which is an arbitrary order, so the first of them are a fair choice.
    """
    return np.array(sorted(trial.test.tolist(), key=trial.data.case_ids.__getitem__))[:num_images]


def sample(
    context: Context,
    task: Generate,
    model: Callable[[], nn.Module],
    cases: np.ndarray,
    num_images: int,
    *,
    folder: Path,
) -> np.ndarray:
    """Return images for the prompts of `cases` in turn, uint8 (num_images, side, side, 3).

    Finished batches are kept in `folder` and not drawn again. `model` returns the network on the context's
    device when one is needed.
    Raises: DrainedError if the checkpoints ask to end.
    """
    workers, device, checkpoints = context.workers, context.device, context.checkpoints

    def leave() -> None:
        context.beat()
        if checkpoints is not None and workers.any(checkpoints.is_draining, device=device):
            raise DrainedError("its samples so far are saved")

    def work(start: int) -> torch.Tensor:
        leave()
        numbers = range(start, min(start + task.batch_size, num_images))

        def draw() -> dict[str, torch.Tensor]:
            return {IMAGES: torch.from_numpy(task.sample(model(), cases, numbers=numbers))}

        # Several workers meet in `leave`: who waits for another must not call it.
        waiting = leave if workers.size == 1 else lambda: None
        return cached_tensors(folder / f"{start:06d}.safetensors", draw, waiting=waiting)[IMAGES].float()

    starts = range(0, num_images, task.batch_size)
    return workers.gather(work, starts, total=num_images, device=device).to(torch.uint8).numpy()


def thumbnails(images: np.ndarray) -> torch.Tensor:
    """Return grey values at 32 x 32 pixels, float32 (n, 1024), in [0, 255], which reveal copies."""
    small = [
        nn.functional.interpolate(
            torch.tensor(part).permute(0, 3, 1, 2).float().mean(1, keepdim=True),
            size=(THUMBNAIL, THUMBNAIL),
            mode="area",
        )
        for part in np.array_split(images, max(1, len(images) // 1000))
    ]
    return torch.cat(small).flatten(1)


def write_strip(path: Path, images: np.ndarray) -> None:
    """Write `images`, uint8 (n, side, side, 3), side by side as one PNG. The write is atomic."""
    strip = Image.fromarray(np.concatenate(list(images), axis=1))
    with new_file(path) as file:
        strip.save(file, format="PNG")


def _untuned(trial: Trial, task: Generate) -> tuple[Callable[[], nn.Module], Path]:
    """Return the untuned pipeline, and the folder of its samples for the same prompts and noise."""
    spec, context = trial.spec, trial.context

    @functools.cache
    def make() -> nn.Module:
        return build_model(trial.backbone, num_classes=0).to(context.device)

    path = cache_path(
        context.store.cache / "untuned",
        *(spec.weights_digest, spec.data_digest, context.precision),
        *(spec.recipe.image_size, spec.seed, task.batch_size, asdict(spec.recipe.generates_by)),
    )
    return make, path.with_suffix("")


def _all_features(trial: Trial, cases: np.ndarray, images: np.ndarray, untuned: np.ndarray) -> _Features:
    spec, context = trial.spec, trial.context
    extractor = open_extractor(
        spec.recipe.generates_by.features,
        data=trial.data,
        resize=spec.resize,
        cache_dir=context.store.cache,
        device=context.device,
    )
    known = _known_features(extractor, trial)
    drawn = [extractor.features(part, device=context.device).half().float() for part in (images, untuned)]
    return _Features(
        network=extractor.name,
        generated=drawn[0],
        untuned=drawn[1],
        real=known[cases],
        train=known[trial.train],
        test=known[trial.test],
    )


def _known_features(extractor: Extractor, trial: Trial) -> torch.Tensor:
    """Return the features of every image of the data set, float32 (n, d), rounded to float16 and cached."""
    context = trial.context

    def compute(images: np.ndarray) -> dict[str, torch.Tensor]:
        found = []
        for some in np.array_split(images, -(-len(images) // 1000)):
            context.beat()
            found.append(extractor.features(some, device=context.device).half())
        return {FEATURES: torch.cat(found)}

    path = cache_path(
        context.store.cache / FEATURES, extractor.name, trial.data.digest, asdict(trial.spec.resize)
    )
    parts = [functools.partial(compute, trial.images[some]) for some in cut(len(trial.images), BATCH_SIZE)]
    return divided_tensors(path, parts, waiting=context.beat)[FEATURES].float()


def _compare(features: _Features, *, seed: int) -> dict[str, float]:
    real, generated = features.real, features.generated
    kernel, untuned = (kernel_distance(real, drawn, seed=seed) for drawn in (generated, features.untuned))
    reference = REFERENCES["generate"]
    low, high = frechet_interval(real, generated)
    return {
        "test/fid": frechet_distance(real, generated),
        "test/fid_low": low,
        "test/fid_high": high,
        "test/fid_num_images": float(len(generated)),
        reference.of("test/fid"): frechet_distance(real, features.untuned),
        "test/kid": kernel.mean,
        "test/kid_sd": kernel.std,
        reference.of("test/kid"): untuned.mean,
        "test/memorised": memorised_share(generated, features.train, features.test),
    }


def _write(path: Path, trial: Trial, cases: np.ndarray, features: _Features) -> None:
    """Write one row per image: whether it is generated, its case (or its prompt's), and its features."""
    num_generated, width = features.generated.shape
    both = np.concatenate([cases[np.arange(num_generated) % len(cases)], cases])
    values = torch.cat([features.generated, features.real]).half().flatten().numpy()
    table = pa.table(
        {
            "generated": pa.array(np.arange(len(both)) < num_generated),
            "case_id": pa.array([trial.data.case_ids[case] for case in both]),
            "label": pa.array(trial.data.labels[both]),
            "features": pa.FixedSizeListArray.from_arrays(pa.array(values), width),
        }
    )
    with new_file(path) as file:
        pq.write_table(table, file)
