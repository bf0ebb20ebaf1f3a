"""Where bf16 autocast is faster than float32 on this device: the basis of precision="auto".

Run:      python benchmarks/precision.py          (one thread, interleaved, medians)
"""

import statistics
import time

import timm
import torch
from torch import nn

BATCH, ROUNDS = 8, 7


def main() -> None:
    """Print training images/s in float32, and the ratio of bf16 autocast to it."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name, make, size in (
        ("vit, width 128, 32 px", lambda: vit(128, 32), 32),
        ("vit, width 128, 224 px", lambda: vit(128, 224), 224),
        ("vit, width 192, 224 px (ViT-tiny)", lambda: vit(192, 224), 224),
        ("vit, width 384, 224 px (ViT-small)", lambda: vit(384, 224), 224),
        ("efficientnet_lite0, 64 px", lambda: timm.create_model("efficientnet_lite0"), 64),
        ("resnet18, 112 px", lambda: timm.create_model("resnet18"), 112),
    ):
        model = make().to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for autocast in seconds:
                seconds[autocast].append(step(model, optimizer, size, device, autocast=autocast))
        fp32, bf16 = (statistics.median(seconds[autocast][1:]) for autocast in (False, True))
        print(f"{name:36s} fp32 {BATCH / fp32:7.1f} images/s, bf16 autocast x{fp32 / bf16:.2f}", flush=True)


def vit(width: int, size: int) -> nn.Module:
    """A ViT of twelve blocks, patch 16 (8 at 32 px)."""
    patch = 8 if size == 32 else 16
    return timm.models.VisionTransformer(
        img_size=size, patch_size=patch, embed_dim=width, depth=12, num_heads=width // 32
    )


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, size: int, device: torch.device, *, autocast: bool
) -> float:
    """Seconds of one full training step."""
    images = torch.randn(BATCH, 3, size, size, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (BATCH,), device=device)
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        logits = model(images)
    nn.functional.cross_entropy(logits.float(), labels).backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
