"""Pre-train vit_nano on Fashion-MNIST and write the weights that raypeft ships.

Run:      python benchmarks/pretrain_vit_nano.py --epochs 15      (Debian package dataset-fashion-mnist)
Cost and accuracy: docs/vit_nano.md
"""

import argparse
import gzip
import hashlib
import math
import struct
import time
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save
from torch import nn

from raypeft.core.files import write_bytes
from raypeft.models.vit import make_vit_nano

OUTPUT = Path(__file__).parents[1] / "raypeft" / "models" / "weights" / "vit_nano.safetensors"
HELD_OUT, BATCH, WARMUP, SEED = 5000, 128, 0.1, 0


def main() -> None:
    """Train on 55,000 images, watch 5,000, score the 10,000 test images once at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    generator = np.random.default_rng(SEED)
    images, labels = read_split(options.data, "train")
    train, val = images[HELD_OUT:], images[:HELD_OUT]
    train_labels, val_labels = labels[HELD_OUT:], labels[:HELD_OUT]
    model = make_vit_nano()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    num_steps = options.epochs * math.ceil(len(train) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, num_steps))
    started = time.perf_counter()
    for epoch in range(1, options.epochs + 1):
        model.train()
        for cases in torch.from_numpy(generator.permutation(len(train))).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            logits = model(augment(train[cases], generator))
            nn.functional.cross_entropy(logits, train_labels[cases], label_smoothing=0.1).backward()
            optimizer.step()
            schedule.step()
        seconds = time.perf_counter() - started
        print(
            f"epoch {epoch}: val accuracy {accuracy(model, val, val_labels):.4f}, {seconds:.0f} s", flush=True
        )
    test = accuracy(model, *read_split(options.data, "t10k"))
    about = {"epochs": options.epochs, "seed": SEED, "test_accuracy": f"{test:.4f}"}
    about |= {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "script": "benchmarks/pretrain_vit_nano.py",
    }
    content = save(model.state_dict(), {name: str(value) for name, value in about.items()})
    write_bytes(options.output, content)
    print(f"test accuracy {test:.4f}; {options.output}")
    print(f"sha256 {hashlib.sha256(content).hexdigest()}")


def read_split(folder: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 3, 32, 32) in [-1, 1] and labels (n,) from the idx files."""
    with gzip.open(next(folder.rglob(f"{split}-images-idx3-ubyte.gz"))) as file:
        _, count, height, width = struct.unpack(">4I", file.read(16))
        pixels = np.frombuffer(file.read(), np.uint8).reshape(count, 1, height, width)
    with gzip.open(next(folder.rglob(f"{split}-labels-idx1-ubyte.gz"))) as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    padded = np.pad(pixels, ((0, 0), (0, 0), (2, 2), (2, 2)))
    images = (torch.from_numpy(padded) / 127.5 - 1).expand(-1, 3, -1, -1)
    return images, torch.from_numpy(labels.astype(np.int64))


def augment(images: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Shift a batch by up to three pixels either way and mirror half of it."""
    padded = nn.functional.pad(images, (3, 3, 3, 3), value=-1.0)
    top, left = generator.integers(0, 7, (2, len(images)))
    shifted = torch.stack(
        [image[:, y : y + 32, x : x + 32] for image, y, x in zip(padded, top, left, strict=True)]
    )
    mirrored = torch.from_numpy(generator.random(len(images)) < 0.5).view(-1, 1, 1, 1)
    return torch.where(mirrored, shifted.flip(3), shifted)


def rate(step: int, num_steps: int) -> float:
    """Linear warm-up, then half a cosine."""
    warmup = WARMUP * num_steps
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (num_steps - warmup)))


@torch.inference_mode()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of right answers, in [0, 1]."""
    model.eval()
    right = sum(
        (model(x).argmax(1) == y).sum().item()
        for x, y in zip(images.split(500), labels.split(500), strict=True)
    )
    return right / len(labels)


if __name__ == "__main__":
    main()
