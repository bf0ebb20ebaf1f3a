"""Turn images into features, for FID and related scores. There are three extractors, chosen by name.

classifier        of the target data set itself, trained on first use (target_classifier.py): needs no
                  download, and its features separate the classes
inception         the InceptionV3 with which FID was defined; torchxrayvision: a chest X-ray encoder. Both
                  need weights that raypeft never downloads by itself (public_encoders.py)

Scores by different extractors are different scores, so `Extractor.name` ends with a digest of the weights
and is recorded with every number.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from raypeft.core.errors import UnknownNameError
from raypeft.core.resize import Resize
from raypeft.datasets import Prepared
from raypeft.train.public_encoders import ENCODERS
from raypeft.train.target_classifier import check_classes, open_classifier

CLASSIFIER = "classifier"
BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A network by whose features images are compared."""

    name: str  # as it stands in the ledger, e.g. classifier:vit_nano:1a2b3c4d
    network: nn.Module  # uint8 (batch, 3, side, side), RGB, to float (batch, d); in eval mode

    def features(self, images: np.ndarray, *, device: torch.device) -> torch.Tensor:
        """Return float32 (n, d) on the CPU for `images`: uint8 (n, side, side, 3), RGB, any side, n >= 1.

        Computed in batches of 64, without autocast. The other images change an image's features only by
        rounding; equal sets give equal bits on one device with one number of threads.
        """
        network = self.network.to(device)
        with torch.no_grad():
            return torch.cat(
                [
                    network(
                        torch.tensor(images[start : start + BATCH_SIZE], device=device).permute(0, 3, 1, 2)
                    )
                    for start in range(0, len(images), BATCH_SIZE)
                ]
            ).cpu()


def check_extractor(name: str, *, data: Prepared) -> None:
    """Check that `name` can be opened for `data`; nothing is trained.

    Raises: UnknownNameError; ConfigError if there is only one class; WeightsError if a package or its weights
    are missing or damaged, with how to get them.
    """
    if _known(name) == CLASSIFIER:
        check_classes(data)
    else:
        with _own_generators(torch.device("cpu")):
            ENCODERS[name]()


def open_extractor(
    name: str, *, data: Prepared, resize: Resize, cache_dir: Path, device: torch.device
) -> Extractor:
    """Return the extractor `name`; a classifier is trained on `device` unless `cache_dir` holds it.

    `prepare` must have put `data` and its images, by `resize`, into `cache_dir`.
    The caller's random generators are left unchanged.
    Raises: as check_extractor.
    """
    with _own_generators(device):
        if _known(name) == CLASSIFIER:
            check_classes(data)
            title, network = open_classifier(data, resize=resize, cache_dir=cache_dir, device=device)
        else:
            title, network = ENCODERS[name]()
    return Extractor(name=title, network=network.eval().requires_grad_(False))


def _known(name: str) -> str:
    known = (CLASSIFIER, *ENCODERS)
    if name not in known:
        raise UnknownNameError(f"no feature extractor named '{name}'; known: {', '.join(known)}")
    return name


@contextmanager
def _own_generators(device: torch.device) -> Iterator[None]:
    """Seed torch and make it deterministic inside the block; restore both afterwards."""
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            torch.use_deterministic_algorithms(True, warn_only=True)
            yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic, warn_only=warned_only)
