"""Seconds and peak memory of one training step of every method, on backbones with random weights at 224 px.

Run:      python benchmarks/step_cost.py --models resnet50,vit_base --batch 16 --micro-batch 8
On a GPU: python benchmarks/step_cost.py --models vit_base,vit_large,vit_huge --batch 512 --micro-batch 64

A step is AdamW on `batch` images, micro-batched, bf16 autocast on a GPU and for ViTs. Each method has a
process of its own; time is the median of ROUNDS steps after a first one; memory is the peak resident set
of that process on a CPU, the peak that torch allocated on a GPU.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from typing import Any

import timm  # noqa: F401  imported once, before the processes fork
import torch
from torch import nn

from raypeft.methods import METHODS, apply_method, set_train_mode
from raypeft.models import bind_model, build_model
from raypeft.train.cost import PeakMemory

CLASSES, ROUNDS = 3, 3


def main() -> None:
    """Print a table row per method as it is measured, then everything as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default="resnet50,vit_base")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro-batch", type=int, default=8)
    asked = parser.parse_args()
    print("model       method        trainable    step s   vs full   peak MiB   vs full")
    rows: list[dict[str, Any]] = []
    for model in asked.models.split(","):
        family = bind_model(model).family
        fitting = [name for name, method in METHODS.items() if family in method.families]
        for method in sorted(fitting, key=lambda name: name != "full"):
            # forked, so that libraries are imported once; the parent has not started CUDA or threads
            with multiprocessing.get_context("fork").Pool(1) as pool:
                row = pool.apply(measure, (model, method, asked.batch, asked.micro_batch))
            rows.append(row)
            full = next(row for row in rows if row["model"] == model)
            print(
                f"{model:11s} {method:12s} {row['trainable']:11,d} {row['step_seconds']:9.3f} "
                f"{row['step_seconds'] / full['step_seconds']:9.2f} {row['peak_bytes'] / 2**20:10.0f} "
                f"{row['peak_bytes'] / full['peak_bytes']:9.2f}",
                flush=True,
            )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(json.dumps({"device": device, "torch": torch.__version__, **vars(asked), "rows": rows}))


def measure(model: str, method: str, batch: int, micro_batch: int) -> dict[str, Any]:
    """One method on one backbone."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build_model(f"{model}(weights='random')", num_classes=CLASSES)
    counts = apply_method(method, network)
    network = network.to(device)
    memory = PeakMemory(device)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4, fused=True)
    set_train_mode(method, network)
    seconds = [step(network, model, device, batch, micro_batch, optimizer) for _ in range(ROUNDS + 1)]
    return {
        "model": model,
        "method": method,
        "trainable": counts.trainable,
        "step_seconds": statistics.median(seconds[1:]),
        "peak_bytes": memory.peak_bytes(),
    }


def step(
    network: nn.Module,
    model: str,
    device: torch.device,
    batch: int,
    micro_batch: int,
    optimizer: torch.optim.Optimizer,
) -> float:
    """Seconds of one optimizer step on random images."""
    started = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    for _ in range(batch // micro_batch):
        images = torch.randn(micro_batch, 3, 224, 224, device=device)
        labels = torch.randint(0, CLASSES, (micro_batch,), device=device)
        in_bf16 = device.type == "cuda" or bind_model(model).family == "vit"
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16):
            logits = network(images)
        (nn.functional.cross_entropy(logits.float(), labels) * micro_batch / batch).backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
