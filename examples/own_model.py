"""Own network: a small convolutional one, with the two methods of timm's networks that raypeft calls.

Check it:  raypeft params --model "own_network(weights='random')" --plugin examples/own_model.py
Train it:  raypeft run own_images --plugin examples/own_model.py --models "own_network(weights='random')"

With weights of yours it is "own_network(weights='/data/own.pth', normalize='imagenet')": see docs/weights.md.
"""

from torch import nn

import raypeft as rp


class OwnNetwork(nn.Module):
    """A stem, blocks, a head; methods look for their layers in what comes between the first and the last."""

    def __init__(self, num_classes=10, width=32):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(block(width) for _ in range(3)))
        self.reset_classifier(num_classes)

    def forward(self, images):
        """Return logits (batch, classes) of normalised images (batch, 3, height, width)."""
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))

    def get_classifier(self):
        """Return the head, which every method trains."""
        return self.head

    def reset_classifier(self, num_classes):
        """Make a new head."""
        self.head = nn.Linear(self.stem.out_channels, num_classes)


def block(width):
    """Return a convolution, its norm and its activation."""
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())


rp.register_model(
    rp.Model(
        name="own_network",
        family="conv",
        architecture="examples/own_model.py",
        source="an example",
        input_size=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bilinear",
        make=OwnNetwork,
        weights=lambda: "/data/own_network.safetensors",
    )
)
