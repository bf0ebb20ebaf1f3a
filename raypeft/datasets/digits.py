"""Handwritten digits: 1,797 real 8 x 8 images that come with scikit-learn.

Source:  Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
Licence: CC BY 4.0.     Layout: inside the package.     Splits: none; 70 / 15 / 15 is drawn.
"""

import numpy as np

from raypeft.datasets.base import register_dataset
from raypeft.datasets.manifest import Table


@register_dataset(
    "digits",
    what="handwritten digits, 8 x 8 (Alpaydin & Kaynak 1998)",
    source="scikit-learn",
    licence="CC BY 4.0",
    expected=dict(zip("0123456789", (178, 182, 177, 183, 181, 182, 181, 179, 174, 180), strict=True)),
)
def digits() -> Table:
    """Return the table; grey values 0 to 16 become 0 to 255, rounded. The writers are unknown: no groups."""
    from sklearn.datasets import load_digits  # takes a second to import

    bunch = load_digits()
    return Table(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        case_ids=tuple(f"{number:04d}" for number in range(len(bunch.target))),
        labels=bunch.target.astype(np.int64),
        is_public=True,
        images=np.rint(bunch.images * (255 / 16)).astype(np.uint8),
    )
