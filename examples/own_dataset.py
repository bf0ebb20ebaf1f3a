"""Stripes: grey pictures with lines across or down, made where they are asked for.

Check it:  raypeft data check stripes --plugin examples/own_dataset.py
Train it:  raypeft run own_images --plugin examples/own_dataset.py --datasets stripes

A data set that is downloaded takes its folder instead, and gives one rp.Row per image: see docs/adding.md.
"""

import numpy as np

import raypeft as rp

CLASSES, SIDE, NUM_IMAGES = ("across", "down"), 32, 240


@rp.register_dataset(
    "stripes",
    what="an example: lines across or down, in noise",
    source="examples/own_dataset.py",
    licence="Apache-2.0",
    expected={"across": NUM_IMAGES // 2, "down": NUM_IMAGES // 2},
)
def stripes():
    """One table with its images; the same numbers on every call."""
    random = np.random.default_rng(0)
    labels = np.arange(NUM_IMAGES) % len(CLASSES)
    images = random.normal(128, 40, (NUM_IMAGES, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        lines = 60 * np.sin(np.arange(SIDE) * random.uniform(0.5, 1.5) + random.uniform(0, 6))
        image += lines[:, None] if CLASSES[label] == "across" else lines[None, :]
    return rp.Table(
        name="stripes",
        classes=CLASSES,
        case_ids=tuple(f"{number:03d}" for number in range(NUM_IMAGES)),
        labels=labels,
        images=images.clip(0, 255).astype(np.uint8),
        is_public=True,
    )
