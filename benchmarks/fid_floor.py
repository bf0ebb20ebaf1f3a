#!/usr/bin/env python
"""How low can FID get, and what moves it: the digits' own classifier as extractor, on real images alone.

Run:    OMP_NUM_THREADS=1 python benchmarks/fid_floor.py [--source digits] [--image-size 32] [--cache DIR]
        (about a minute of one core; the classifier is trained once and kept in --cache)
Shows:  FID and KID by n between real images and real, blurred and noise images, each a mean over five draws;
        the 95% interval of one draw; what share counts as memorised among real images and among copies.
        `seen` images are those that the classifier was trained on, `unseen` those of val and test.
"""

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from raypeft.core.resize import Resize
from raypeft.datasets import Prepared, open_prepared, prepare
from raypeft.metrics.torch.generation import (
    frechet_distance,
    frechet_interval,
    kernel_distance,
    memorised_share,
)
from raypeft.train.extractor import Extractor, open_extractor

SIZES, DRAWS, CPU = (50, 100, 200, 500), 5, torch.device("cpu")
BLURS, NOISE = (1.5, 3), 8  # standard deviations in pixels; grey values either way


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="digits")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "raypeft-fid-floor"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    resize, cache = Resize(image_size=arguments.image_size, interpolation="bicubic"), arguments.cache
    data = prepare(arguments.source, resizes=[resize], split="auto", split_seed=0, cache_dir=cache)
    images = open_prepared(data.digest, resize=resize, cache_dir=cache)[1]
    extractor = open_extractor("classifier", data=data, resize=resize, cache_dir=cache, device=CPU)
    seen, unseen = data.cases["train"], np.concatenate([data.cases["val"], data.cases["test"]])
    sets = {name: extractor.features(made, device=CPU) for name, made in make_sets(images, unseen).items()}
    sets["seen"] = extractor.features(images[seen], device=CPU)
    print(f"{extractor.name}, {len(seen)} seen and {len(unseen)} unseen images\n")
    print_distances(sets)
    print_shares(images, data, extractor)


def make_sets(images: np.ndarray, unseen: np.ndarray) -> dict[str, np.ndarray]:
    """Images to score: real ones that the classifier never saw, and what was made of them."""
    real, rng = images[unseen], np.random.default_rng(0)
    return {
        "unseen": real,
        **{f"blurred by {blur} px": gaussian_filter(real, sigma=(0, blur, blur, 0)) for blur in BLURS},
        "pixels in random order": rng.permuted(real.reshape(len(real), -1, 3), axis=1).reshape(real.shape),
        "uniform noise": rng.integers(0, 256, size=real.shape, dtype=np.uint8),
    }


def print_distances(sets: dict[str, torch.Tensor]) -> None:
    """A table of FID and one of KID, by n."""
    pairs = [("seen", "seen"), ("unseen", "unseen"), *(("seen", other) for other in sets if other != "seen")]
    for title, distance in (
        ("FID", frechet_distance),
        ("KID", lambda real, other: kernel_distance(real, other, seed=0).mean),
        ("FID, interval of one draw", frechet_interval),
    ):
        print(f"| {title}, n = | {' | '.join(map(str, SIZES))} |\n|---|{'--:|' * len(SIZES)}")
        for real, other in pairs:
            cells = [score(distance, sets[real], sets[other], n, real == other) for n in SIZES]
            print(f"| {real} and {other} | {' | '.join(cells)} |")
        print()


def score(distance, real: torch.Tensor, other: torch.Tensor, n: int, is_one_set: bool) -> str:
    """Mean over draws of n images of each set; of two halves where both sets are one."""
    if len(other) < n * (1 + is_one_set):
        return "—"
    values = []
    for draw in range(1 if distance is frechet_interval else DRAWS):
        rng = np.random.default_rng([draw, n])
        mine, theirs = rng.permutation(len(real))[:n], rng.permutation(len(other))[:n]
        if is_one_set:
            mine, theirs = np.split(rng.permutation(len(real))[: 2 * n], 2)
        values.append(distance(real[mine], other[theirs]))
    mean = np.mean(values, axis=0)
    return f"{mean[0]:.3g} to {mean[1]:.3g}" if mean.ndim else f"{mean:.3g}"


def print_shares(images: np.ndarray, data: Prepared, extractor: Extractor) -> None:
    """What share counts as memorised, of images that are no copies and of some that are."""
    train, test, val = (images[data.cases[side]] for side in ("train", "test", "val"))
    copies, rng = train[: len(val)], np.random.default_rng(0)
    noise = rng.integers(-NOISE, NOISE + 1, size=copies.shape)
    print("| memorised share of | by features | by features of length 1 | by pixels |\n|---|--:|--:|--:|")
    for name, made in {
        "validation images": val,
        "copies": copies,
        f"copies, +-{NOISE} grey values of noise": np.clip(copies + noise, 0, 255).astype(np.uint8),
        "copies, brighter by a fifth": np.clip(copies * 1.2, 0, 255).astype(np.uint8),
        "copies, moved by a pixel": np.roll(copies, 1, axis=2),
        **{
            f"copies, blurred by {blur} px": gaussian_filter(copies, sigma=(0, blur, blur, 0))
            for blur in BLURS
        },
    }.items():
        features = [extractor.features(one, device=CPU) for one in (made, train, test)]
        ways = (
            features,
            [torch.nn.functional.normalize(one) for one in features],
            [torch.from_numpy(one.reshape(len(one), -1).astype(np.float32)) for one in (made, train, test)],
        )
        print(f"| {name} | {' | '.join(f'{memorised_share(*sets):.3f}' for sets in ways)} |")


if __name__ == "__main__":
    main()
