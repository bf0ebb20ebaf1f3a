#!/usr/bin/env python
"""Several candidates of a cell in one step over one frozen backbone, against one step after the other.

Run:    OMP_NUM_THREADS=1 python benchmarks/stacked.py
Shows:  milliseconds of process CPU time for K gradients of the loss on K batches, one by one and as one
        torch.func.vmap over stacked parameters, medians of ROUNDS turns, and the ratio; and the largest
        difference between the gradients.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from raypeft.methods import bind_method
from raypeft.models import bind_model, build_model, image_size_of

CLASSES, ROUNDS = 3, 7


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="vit_nano")
    parser.add_argument("--methods", default="bitfit,lora")
    parser.add_argument("--batches", default="4,16,32")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--image-size", type=int, default=64)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| method | batch | one by one ms | stacked ms | ratio | largest difference |")
    print("|---|--:|--:|--:|--:|--:|")
    for method in asked.methods.split(","):
        for batch in map(int, asked.batches.split(",")):
            compare(asked.model, method, batch, asked.candidates, asked.image_size)


def compare(model: str, method: str, batch: int, candidates: int, asked_size: int) -> None:
    """Print one line."""
    network = build_model(bind_model(model), num_classes=CLASSES)
    bind_method(method).apply(network)
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # the fused kernel has no batching rule: vmap would loop over it
    trained = {name: one for name, one in network.named_parameters() if one.requires_grad}
    fixed = {name: one for name, one in network.named_parameters() if not one.requires_grad}
    fixed |= dict(network.named_buffers())
    side = image_size_of(bind_model(model), asked_size)
    images = torch.randn(candidates, batch, 3, side, side)
    labels = torch.randint(0, CLASSES, (candidates, batch))
    stacked = {
        name: torch.stack([one.detach() + 1e-3 * torch.randn_like(one) for _ in range(candidates)])
        for name, one in trained.items()
    }

    def loss(own: dict[str, torch.Tensor], pixels: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(network, own | fixed, (pixels,)), wanted)

    def alone() -> list[dict[str, torch.Tensor]]:
        found = []
        for number in range(candidates):
            own = {name: value[number].clone().requires_grad_() for name, value in stacked.items()}
            gradients = torch.autograd.grad(loss(own, images[number], labels[number]), list(own.values()))
            found.append(dict(zip(own, gradients, strict=True)))
        return found

    together = vmap(grad(loss))
    seconds: dict[str, list[float]] = {"alone": [], "together": []}
    for _ in range(ROUNDS + 1):
        seconds["alone"].append(timed(alone))
        seconds["together"].append(timed(lambda: together(stacked, images, labels)))
    apart, joined = alone(), together(stacked, images, labels)
    difference = max(
        float((joined[name][number] - one[name]).abs().max())
        for number, one in enumerate(apart)
        for name in one
    )
    one_by_one, at_once = (statistics.median(values[1:]) for values in seconds.values())
    print(
        f"| {method} | {batch} | {1e3 * one_by_one:.1f} | {1e3 * at_once:.1f} | {one_by_one / at_once:.2f} | "
        f"{difference:.1e} |",
        flush=True,
    )


def timed(work: Callable[[], object]) -> float:
    """Process CPU seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
