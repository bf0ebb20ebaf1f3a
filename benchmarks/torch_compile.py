"""What torch.compile gives a training step, by how much of a network it gets; and that trials stay equal.

Run:      python benchmarks/torch_compile.py --models vit_base --methods full,lora,ssf --micro-batch 64
          python benchmarks/torch_compile.py --models resnet50 --methods full,bias --forms eager,whole,blocks
          python benchmarks/torch_compile.py --models vit_base --methods lora,ssf,full --trials
Prints, per case: seconds of the first step, which compiles, images/s of steps of two micro-batches (median),
and the peak of memory. bf16 autocast, deterministic algorithms asked for, random weights, images of 224 px.
Forms: eager; blocks (one by one, as raypeft does for ViTs on a GPU); dynamic (blocks, one graph for all
batch sizes); whole; explicit (blocks, attention as two products and a softmax). With --trials: two trials of
one kind through raypeft's loop, what they leave, seconds, and graphs compiled so far; run it again for
another process, and with TORCHDYNAMO_DISABLE=1 for the numbers without. --profile lists a step's kernels.
"""

import argparse
import hashlib
import itertools
import statistics
import time
from collections.abc import Iterable

import numpy as np
import torch
from step import CLASSES, make_network
from torch import nn
from torch._dynamo.utils import counters

from raypeft.methods import bind_method
from raypeft.models import bind_model
from raypeft.tasks import Classify
from raypeft.train.fitting import FitSettings
from raypeft.train.loop import fit, trained_state
from raypeft.train.state import GRAPHS_PER_KIND, compile_blocks, prepare_network

SIDE, STEPS, KERNELS = 224, 5, 40
STAGES = ("layer1", "layer2", "layer3", "layer4")  # of a ResNet
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    """A line per case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="vit_base")
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument("--forms", default="eager,blocks,dynamic,whole,explicit")
    parser.add_argument("--micro-batch", type=int, default=64)
    parser.add_argument("--trials", action="store_true")
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch._dynamo.config.recompile_limit = GRAPHS_PER_KIND
    for model, method in itertools.product(asked.models.split(","), asked.methods.split(",")):
        if asked.trials:
            for number in (1, 2):
                print(
                    f"{model} {method} trial {number}: {trial(model, method, asked.micro_batch)}", flush=True
                )
            continue
        for form in asked.forms.split(","):
            torch.compiler.reset()
            print(f"{model} {method} {form}: {steps(model, method, form, asked)}", flush=True)


def steps(model: str, method: str, form: str, asked: argparse.Namespace) -> str:
    """Seconds, images/s and memory of one form."""
    network = make_network(model, method, DEVICE)[0].to(DEVICE)
    bind_method(method).set_train_mode(network)
    for module in network.modules():
        if form == "explicit" and hasattr(module, "fused_attn"):
            module.fused_attn = False
    if form == "whole":
        network.compile()
    for block in blocks(network) if form in ("blocks", "dynamic", "explicit") else ():
        block.compile(dynamic=True if form == "dynamic" else None)
    images = torch.randn(asked.micro_batch, 3, SIDE, SIDE, device=DEVICE)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (asked.micro_batch,), device=DEVICE)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4, fused=True)

    def step() -> float:
        started = now()
        optimizer.zero_grad(set_to_none=True)
        for _ in range(2):
            with torch.autocast(DEVICE.type, torch.bfloat16):
                logits = network(images).float()
            torch.autograd.backward(nn.functional.cross_entropy(logits, labels))
        optimizer.step()
        return now() - started

    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    first, _, *seconds = (step() for _ in range(STEPS + 2))
    if asked.profile:
        with torch.profiler.profile() as profile:
            step()
        print(profile.key_averages().table(sort_by="self_device_time_total", row_limit=KERNELS))
    peak = torch.cuda.max_memory_allocated() / 2**30 if DEVICE.type == "cuda" else float("nan")
    rate = 2 * asked.micro_batch / statistics.median(seconds)
    return f"first step {first:.1f} s, {rate:.0f} images/s, peak {peak:.1f} GiB"


def blocks(network: nn.Module) -> Iterable[nn.Module]:
    """What the network repeats."""
    if hasattr(network, "blocks"):
        return network.blocks
    return itertools.chain.from_iterable(getattr(network, stage) for stage in STAGES)


def trial(model: str, method: str, micro_batch: int) -> str:
    """Three epochs on 150 images of noise: a digest of what was trained, the losses, seconds, graphs."""
    torch.manual_seed(0)
    network, _ = make_network(model, method, DEVICE)
    family = bind_model(model).kind
    prepare_network(network, family, precision="bf16", device=DEVICE)
    compile_blocks(network, family, kind=f"{method} on {model}")
    network = network.to(DEVICE)
    generator = np.random.default_rng(0)
    task = Classify(
        generator.integers(0, 256, (200, SIDE, SIDE, 3), dtype=np.uint8),
        generator.integers(0, CLASSES, 200),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        device=DEVICE,
        autocast=torch.bfloat16,
        batch_size=4 * micro_batch,
    )
    started = now()
    fitted = fit(
        network,
        task,
        train=np.arange(150),
        val=np.arange(150, 200),
        settings=FitSettings(
            epochs=3, batch_size=64, micro_batch_size=micro_batch, lr=1e-4, weight_decay=0.01, seed=0
        ),
        report=lambda curve: None,
        train_mode=bind_method(method).set_train_mode,
    )
    seconds, state = now() - started, trained_state(network)
    digest = hashlib.sha256(b"".join(state[name].cpu().numpy().tobytes() for name in sorted(state)))
    losses = ", ".join(f"{epoch['train/loss']:.6f}" for epoch in fitted.curve)
    graphs = counters["stats"].get("unique_graphs", 0)
    return f"{digest.hexdigest()[:12]}, losses {losses}, {seconds:.2f} s, {graphs} graphs"


def now() -> float:
    """Seconds, when the device has done what it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
