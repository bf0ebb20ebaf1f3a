"""What a final run of a text-to-image model leaves: samples, their features, and how they compare.

Every score is stated with the number of samples, and compared at equal numbers alone: FID falls as they grow.
"""

import hashlib
import json
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
from raypeft.core.files import write_file
from raypeft.core.spec import TrialSpec
from raypeft.metrics.generation import (
    frechet_distance,
    frechet_interval,
    kernel_distance,
    memorised_share,
)
from raypeft.models import build_model, stored_weights
from raypeft.tasks import Generate
from raypeft.train.build import Trial
from raypeft.train.checkpoint import Checkpoints, checkpoint_folder
from raypeft.train.extractor import Extractor, open_extractor
from raypeft.train.tensors import cache_path, cached_tensors
from raypeft.train.workers import Workers

THUMBNAIL = 32  # pixels
SHOWN = 8  # samples in the strip that reports show
IMAGES, FEATURES = "images", "features"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores by their names in rows, the network whose features were compared, and what was noticed."""

    metrics: dict[str, float]
    features: str
    remarks: tuple[str, ...]


def score_samples(
    spec: TrialSpec,
    trial: Trial,
    task: Generate,
    *,
    store: Path,
    workers: Workers,
    checkpoints: Checkpoints | None,
    beat: Callable[[], object],
) -> Scored:
    """Sample for the test split's prompts, and compare with its images; a broken-off run keeps its samples.

    test/fid (with test/fid_low and test/fid_high, a 95% interval over images), test/kid, test/kid_sd,
    test/fid_num_images, test/fid_untuned (the same prompts and noise without tuning), test/memorised and
    test/memorised_pixels (by features, and by grey thumbnails), val/noise_mse, test/noise_mse.
    Raises: DrainedError when `checkpoints` asks to end; DivergedError for samples that are all alike.
    """
    settings = spec.recipe.generation
    assert settings is not None, "the plan resolves the settings of generation"
    assert spec.recipe.image_size is not None, "the plan resolves the image size"
    metrics = {
        f"{split}/noise_mse": task.score(workers.predict(task, trial.model, cases), cases)
        for split, cases in (("val", trial.val), ("test", trial.test))
    }

    device = next(trial.model.parameters()).device

    def leave() -> None:
        beat()
        if checkpoints is not None and workers.any(checkpoints.is_draining, device=device):
            raise DrainedError("its samples so far are saved")

    cases = prompted_cases(trial, settings.num_images)
    folder = checkpoint_folder(store, spec.trial_id) / "samples"
    images = sample(
        task, trial.model, cases, settings.num_images, folder=folder, workers=workers, leave=leave
    )
    untuned = _untuned_images(spec, trial, task, cases, store=store, workers=workers, leave=leave)
    extractor = open_extractor(
        settings.features,
        data=trial.data,
        image_size=spec.recipe.image_size,
        interpolation=spec.preprocessing.interpolation,
        cache_dir=store / "cache",
        device=device,
    )
    # Rounded as they are stored: every score can be computed again from the store.
    generated, reference = (
        extractor.features(part, device=device).half().float() for part in (images, untuned)
    )
    known = _known_features(extractor, trial, cache_dir=store / "cache", device=device, beat=beat)
    real, train, test = (known[own] for own in (cases, trial.train, trial.test))
    if not (generated - generated[0]).any():
        raise DivergedError("all samples are alike")
    kernel = kernel_distance(real, generated, seed=spec.seed)
    low, high = frechet_interval(real, generated)
    metrics |= {
        "test/fid": frechet_distance(real, generated),
        "test/fid_low": low,
        "test/fid_high": high,
        "test/fid_num_images": float(len(images)),
        "test/fid_untuned": frechet_distance(real, reference),
        "test/kid": kernel.mean,
        "test/kid_sd": kernel.std,
        "test/memorised": memorised_share(generated, train, test),
        "test/memorised_pixels": memorised_share(
            thumbnails(images), thumbnails(trial.images[trial.train]), thumbnails(trial.images[trial.test])
        ),
    }
    if workers.is_first:
        path = store / "predictions" / f"{spec.trial_id}.parquet"
        _write(path, trial, cases, generated.numpy(), real.numpy())
        write_strip(store / "samples" / f"{spec.trial_id}.png", images[:SHOWN])
        if trial.data.is_public:
            write_strip(store / "samples" / f"real-{spec.data_digest}.png", trial.images[cases[:SHOWN]])
    return Scored(metrics=metrics, features=extractor.name, remarks=_broken(metrics))


def prompted_cases(trial: Trial, num_images: int) -> np.ndarray:
    """The test cases whose prompts are used, and whose images the samples are compared with, int64.

    In the order of their pseudonyms, which is no order: so the first of them are a fair choice.
    """
    return np.array(sorted(trial.test.tolist(), key=trial.data.case_ids.__getitem__))[:num_images]


def sample(
    task: Generate,
    model: nn.Module,
    cases: np.ndarray,
    num_images: int,
    *,
    folder: Path,
    workers: Workers,
    leave: Callable[[], None],
) -> np.ndarray:
    """Images for the prompts of `cases` in turn, uint8 (num_images, side, side, 3).

    A batch is kept in `folder` once it is drawn, and not drawn again. `leave` is called before each,
    and may raise to end it here.
    """

    def work(start: int) -> torch.Tensor:
        leave()
        numbers = range(start, min(start + task.batch_size, num_images))

        def draw() -> dict[str, torch.Tensor]:
            return {IMAGES: torch.from_numpy(task.sample(model, cases, numbers=numbers))}

        # Several workers meet in `leave`: who waits for another must not call it.
        waiting = leave if workers.size == 1 else lambda: None
        return cached_tensors(folder / f"{start:06d}.safetensors", draw, waiting=waiting)[IMAGES].float()

    starts = range(0, num_images, task.batch_size)
    device = next(model.parameters()).device
    return workers.gather(work, starts, total=num_images, device=device).to(torch.uint8).numpy()


def thumbnails(images: np.ndarray) -> torch.Tensor:
    """Grey values at 32 x 32 pixels, float32 (n, 1024), in [0, 255]: they find copies that features miss."""
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
    """A row of `images`, uint8 (n, side, side, 3), side by side as PNG. Atomic."""
    strip = Image.fromarray(np.concatenate(list(images), axis=1))
    write_file(path, lambda file: strip.save(file, format="PNG"))


def _untuned_images(
    spec: TrialSpec,
    trial: Trial,
    task: Generate,
    cases: np.ndarray,
    *,
    store: Path,
    workers: Workers,
    leave: Callable[[], None],
) -> np.ndarray:
    """What the pipeline makes of the same prompts and noise as it came; drawn once per store and seed."""
    settings = spec.recipe.generation
    assert settings is not None, "the plan resolves the settings of generation"
    names = [spec.weights_digest, spec.data_digest, trial.precision]
    content = [names, spec.recipe.image_size, spec.seed, task.batch_size, asdict(settings)]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    device = next(trial.model.parameters()).device
    weights = stored_weights(store / "cache", spec.weights_digest)
    model = build_model(spec.cell.model, num_classes=0, weights=weights).to(device)
    folder = store / "cache" / "untuned" / digest
    return sample(task, model, cases, settings.num_images, folder=folder, workers=workers, leave=leave)


def _known_features(
    extractor: Extractor, trial: Trial, *, cache_dir: Path, device: torch.device, beat: Callable[[], object]
) -> torch.Tensor:
    """Of every image of the data set, float32 (n, d), rounded to float16; computed once per store."""

    def compute() -> dict[str, torch.Tensor]:
        parts = []
        for part in np.array_split(trial.images, max(1, len(trial.images) // 1000)):
            beat()
            parts.append(extractor.features(part, device=device).half())
        return {FEATURES: torch.cat(parts)}

    path = cache_path(cache_dir / FEATURES, extractor.name, trial.data.digest, trial.images.shape[1])
    return cached_tensors(path, compute, waiting=beat)[FEATURES].float()


def _write(path: Path, trial: Trial, cases: np.ndarray, generated: np.ndarray, real: np.ndarray) -> None:
    """One row per image: whether it is generated, the case whose prompt or image it is, and its features."""
    asked = cases[np.arange(len(generated)) % len(cases)]
    both = np.concatenate([asked, cases])
    width = generated.shape[1]
    features = pa.array(np.concatenate([generated, real]).astype(np.float16).ravel())
    table = pa.table(
        {
            "generated": pa.array(np.arange(len(both)) < len(generated)),
            "case_id": pa.array([trial.data.case_ids[case] for case in both]),
            "label": pa.array(trial.data.labels[both]),
            "features": pa.FixedSizeListArray.from_arrays(features, width),
        }
    )
    write_file(path, lambda file: pq.write_table(table, file))


def _broken(metrics: dict[str, float]) -> tuple[str, ...]:
    """A model that tuning made worse is a broken run, not a finding about its method."""
    if metrics["test/fid"] <= metrics["test/fid_untuned"]:
        return ()
    return (
        f"broken: FID {metrics['test/fid']:.1f} is worse than the {metrics['test/fid_untuned']:.1f} of the "
        "model before tuning",
    )
