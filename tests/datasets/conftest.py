"""Small image folders, written with PIL."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def write_image() -> Callable[..., Path]:
    def write(path: Path, *, seed: int = 0, side: int = 20) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def class_folders(tmp_path, write_image) -> Path:
    """Two classes of 20 different images each."""
    root = tmp_path / "busi"
    for label, name in enumerate(("benign", "malignant")):
        for number in range(20):
            write_image(root / name / f"{number}.png", seed=100 * label + number)
    return root
