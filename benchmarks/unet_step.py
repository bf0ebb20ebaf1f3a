"""One training step of the full-size Stable Diffusion 1.5 U-Net, random weights, under every method.

Run:      python benchmarks/unet_step.py                             (CPU, latents of 8 x 8, batch 1)
          python benchmarks/unet_step.py --latents 64 --batch 4 --device cuda
Prints, per method: seconds of applying it (SV-Diff decomposes every weight), of a first step and of the
median of further ones, and the peak of memory; each method in a process of its own. Through raypeft's own
loop and task, bf16 autocast over float32 weights, AdamW.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import torch

from raypeft.core.recipe import Generation
from raypeft.methods import METHODS, bind_method
from raypeft.models.families import UNET
from raypeft.models.stable_diffusion import SD1_CONFIG, make_unet
from raypeft.tasks import Encoded, Generate
from raypeft.train.cost import PeakMemory
from raypeft.train.fitting import FitSettings
from raypeft.train.loop import fit

TOKENS = 77


def main() -> None:
    """One process per method; a Markdown table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--methods", default=",".join(n for n, m in METHODS.items() if m.needs <= UNET.parts))
    parser.add_argument("--latents", type=int, default=8, help="side, in latent pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3, help="after the first")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options)))
        return
    print(
        "| method | trainable | apply s | first step s | step s | peak GiB |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for method in options.methods.split(","):
        command = [sys.executable, __file__, *sys.argv[1:], "--one", method]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"| {method} | failed: {done.stderr.strip().splitlines()[-1:]} |", flush=True)
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        cells = [f"{row['trainable']:,}", *(f"{row[name]:.2f}" for name in ("apply", "first", "step", "gib"))]
        print(f"| {method} | {' | '.join(cells)} |", flush=True)


def measure(method: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds and bytes of one method."""
    device = torch.device(options.device)
    torch.manual_seed(0)
    unet = make_unet(SD1_CONFIG).to(device)
    clock = time.perf_counter()
    counts = bind_method(method).apply(unet)
    applied = time.perf_counter() - clock
    if options.gradient_checkpointing:
        UNET.recompute(unet)
    shape = (options.batch, 4, options.latents, options.latents)
    encoded = Encoded(
        mean=torch.randn(shape).half(),
        std=torch.ones(shape).half(),
        text=torch.randn(2, TOKENS, SD1_CONFIG["cross_attention_dim"]).half(),
        images=np.arange(options.batch),
        prompts=np.ones(options.batch, dtype=np.int64),
    )
    from diffusers import DDPMScheduler

    task = Generate(
        encoded,
        vae=SimpleNamespace(config=SimpleNamespace(scaling_factor=0.18215)),  # encoding is not measured
        scheduler=DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        settings=Generation(),
        seed=0,
        device=device,
        autocast=torch.bfloat16,
        batch_size=options.batch,
    )
    memory, ended = PeakMemory(device), [time.perf_counter()]
    loss = task.loss

    def timed(*arguments: object, **named: object) -> torch.Tensor:
        if device.type == "cuda":
            torch.cuda.synchronize()
        ended.append(time.perf_counter())
        return loss(*arguments, **named)

    task.loss = timed
    cases = np.arange(options.batch)
    fit(
        unet,
        task,
        train=np.tile(cases, options.steps + 2),
        val=cases[:1],
        settings=FitSettings(
            epochs=1,
            batch_size=options.batch,
            micro_batch_size=options.batch,
            lr=1e-4,
            weight_decay=0.01,
            seed=0,
        ),
        report=lambda curve: None,
        train_mode=bind_method(method).set_train_mode,
    )
    steps = np.diff(ended[1:]).tolist()
    return {
        "trainable": counts.trainable,
        "apply": applied,
        "first": steps[0],
        "step": statistics.median(steps[1:]),
        "gib": memory.peak_bytes() / 2**30,
    }


if __name__ == "__main__":
    main()
