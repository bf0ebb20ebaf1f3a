"""One training step of every method beside full tuning and the forward pass alone, on a CPU or a GPU.

Run:      OMP_NUM_THREADS=1 python benchmarks/step.py --models vit_base --batches 4 --output DIR
On a GPU: python benchmarks/step.py --models vit_base,vit_large,vit_huge --batches 512 --micro-batch 64
          --precisions bf16 --compile no,yes --peak-tflops 989 --output DIR

Random weights, random images, the same network, precision and AdamW as in a trial. Each method has a process
of its own, which takes turns with one of full tuning: full, method, full, method; the first turn is not
counted. Seconds are the medians over ROUNDS turns, ratios the medians of the turns' ratios. On a CPU seconds
are process CPU time, which other processes on the machine do not lengthen; memory is the resident set. On a
GPU seconds are of the wall clock, and memory is what torch allocated. Utilisation is of the operations that
the method needs (raypeft.train.estimate), by --peak-tflops or by a large matrix product at that precision.
"""

import argparse
import csv
import itertools
import multiprocessing
import os
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import timm  # noqa: F401  imported once, before the processes fork
import torch
from torch import nn

from raypeft.methods import METHODS, bind_method
from raypeft.models import bind_model, build_model, image_size_of
from raypeft.train.cost import PeakMemory
from raypeft.train.estimate import KeptBytes, step_cost
from raypeft.train.state import AUTOCAST, compile_blocks, prepare_network

CLASSES = 3
COMMIT = subprocess.run(
    ["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty"], capture_output=True, text=True
).stdout.strip()
LARGE = {"cpu": 2048, "cuda": 8192}  # side of the matrix product that stands for the device's peak


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is timed."""

    model: str
    method: str
    batch: int
    micro_batch: int
    precision: str
    compile: str
    image_size: int | None = None  # None: the model's own, or 224


class Runner:
    """One case in the process of its own; parent side: `turn()`."""

    def __init__(self, case: Case) -> None:
        """Forked, so that libraries are imported once; the parent starts neither CUDA nor threads."""
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(case, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.facts: dict[str, Any] = self._pipe.recv()

    def turn(self) -> tuple[float, float]:
        """Seconds of one step, and of the forward pass of as many images."""
        self._pipe.send(True)
        step, forward, self.facts["peak_memory_bytes"] = self._pipe.recv()
        return step, forward

    def end(self) -> None:
        """Stop the process."""
        self._pipe.send(False)
        self._process.join()


def main() -> None:
    """Print a line per case as it is measured; write step.csv and step.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="vit_base")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--batches", default="8")
    parser.add_argument("--micro-batch", type=int, default=0, help="0: the whole batch at once")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--compile", default="no", help="no, yes or no,yes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, help="of the device at that precision")
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for model, batch, precision, compiled in itertools.product(
        *(text.split(",") for text in (asked.models, asked.batches, asked.precisions, asked.compile))
    ):
        case = Case(
            model=model,
            method="full",
            batch=int(batch),
            micro_batch=min(asked.micro_batch or int(batch), int(batch)),
            precision=precision,
            compile=compiled,
        )
        for row in measure(case, fitting_methods(model, asked.methods), asked.rounds, asked.peak_tflops):
            rows.append(row)
            print(_line(row), flush=True)
            _write(asked.output, rows)


def measure(case: Case, methods: list[str], rounds: int, peak_tflops: float | None) -> Any:
    """A row per method, full tuning first."""
    full = Runner(case)
    turns = [full.turn() for _ in range(rounds + 1)][1:]
    yield _row(case, full.facts, turns, turns, peak_tflops)
    for method in methods:
        other = Runner(replace(case, method=method))
        pairs = [(full.turn(), other.turn()) for _ in range(rounds + 1)][1:]
        fulls, others = (list(seconds) for seconds in zip(*pairs, strict=True))
        yield _row(replace(case, method=method), other.facts, others, fulls, peak_tflops)
        other.end()
    full.end()


def fitting_methods(model: str, asked: str) -> list[str]:
    """Those of `asked` but full tuning; "all": all that fit the model."""
    parts = bind_model(model).parts
    fitting = [name for name, method in METHODS.items() if method.needs <= parts and name != "full"]
    return fitting if asked == "all" else [name for name in asked.split(",") if name != "full"]


def _row(
    case: Case,
    facts: dict[str, Any],
    turns: list[tuple[float, float]],
    fulls: list[tuple[float, float]],
    peak_tflops: float | None,
) -> dict[str, Any]:
    steps, forwards = zip(*turns, strict=True)
    ratios = [step / full for step, (full, _) in zip(steps, fulls, strict=True)]
    seconds = statistics.median(steps)
    peak_flops = peak_tflops * 1e12 if peak_tflops else facts["peak_flops"]
    return asdict(case) | facts | {
        "step_seconds": seconds,
        "step_seconds_min": min(steps),
        "step_seconds_max": max(steps),
        "images_per_second": case.batch / seconds,
        "forward_seconds": statistics.median(forwards),
        "vs_full": statistics.median(ratios),
        "vs_full_min": min(ratios),
        "vs_full_max": max(ratios),
        "vs_forward": statistics.median(step / forward for step, forward in turns),
        "peak_flops": peak_flops,
        "utilisation": case.batch * facts["train_flops_per_image"] / seconds / peak_flops,
        "rounds": len(turns),
        "torch": torch.__version__,
        "git": COMMIT,
    }  # fmt: skip


def _serve(case: Case, pipe: Connection) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, trainable = make_network(case.model, case.method, device)
    network = network.to(device)
    family = bind_model(case.model).kind
    prepare_network(network, family, precision=case.precision, device=device)
    bind_method(case.method).set_train_mode(network)
    memory = PeakMemory(device)
    step = Step(network, case, device)
    cost = step_cost(case.model, case.method, num_classes=CLASSES, image_size=None)
    facts = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "clock": "wall" if device.type == "cuda" else "process CPU",
        "trainable": trainable,
        "train_flops_per_image": cost.train_flops,
        "kept_bytes_per_image": step.kept_bytes_per_image(),
        "peak_flops": _peak_flops(device, case.precision),
    }
    if case.compile == "yes":
        started = time.perf_counter()
        compile_blocks(network, family, kind=case.method)
        step.turn()
        facts["compile_seconds"] = time.perf_counter() - started
    pipe.send(facts)
    while pipe.recv():
        pipe.send((*step.turn(), memory.peak_bytes()))


def make_network(model: str, method: str, device: torch.device) -> tuple[nn.Module, int]:
    """With random weights, on the CPU; and how many numbers the method trains."""
    with device:  # drawing 600 million numbers takes a CPU long
        network = build_model(bind_model(f"{model}(weights='random')"), num_classes=CLASSES)
    network = network.cpu()
    return network, bind_method(method).apply(network).trainable


class Step:
    """A network with its optimizer and images."""

    def __init__(
        self,
        network: nn.Module,
        case: Case,
        device: torch.device,
        *,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        """Images are drawn once: making them is no part of a step. `layout` is theirs in memory."""
        self._network, self._case, self._device = network, case, device
        trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trainable, lr=1e-4, fused=True)
        side = image_size_of(bind_model(case.model), case.image_size or 224)
        images = torch.randn(case.micro_batch, 3, side, side, device=device)
        self._images = images.to(memory_format=layout)
        self._labels = torch.randint(0, CLASSES, (case.micro_batch,), device=device)

    def turn(self) -> tuple[float, float]:
        """Seconds of one optimizer step on the batch, and of its forward passes alone."""
        num_micro_batches = -(-self._case.batch // self._case.micro_batch)
        started = self._now()
        self._optimizer.zero_grad(set_to_none=True)
        for _ in range(num_micro_batches):
            loss = nn.functional.cross_entropy(self._logits(self._images), self._labels)
            torch.autograd.backward(loss / num_micro_batches)
        self._optimizer.step()
        stepped = self._now()
        with torch.no_grad():
            for _ in range(num_micro_batches):
                self._logits(self._images)
        return stepped - started, self._now() - stepped

    def kept_bytes_per_image(self) -> float:
        """For the backward pass; two more images, so that bf16 copies of weights do not count."""
        kept = []
        for number in (2, 4):
            count = KeptBytes(self._network)
            with torch.autograd.graph.saved_tensors_hooks(count.pack, lambda tensor: tensor):
                self._logits(self._images[:1].expand(number, -1, -1, -1).contiguous())
            kept.append(count.num_bytes)
        return (kept[1] - kept[0]) / 2

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        dtype = AUTOCAST[self._case.precision]
        with torch.autocast(self._device.type, dtype, enabled=dtype is not None):
            logits: torch.Tensor = self._network(images)
        return logits.float()

    def _now(self) -> float:
        if self._device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def _peak_flops(device: torch.device, precision: str) -> float:
    side = LARGE[device.type]
    matrix = torch.randn(side, side, device=device, dtype=AUTOCAST[precision] or torch.float32)
    seconds = []
    for _ in range(4):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.process_time() if device.type == "cpu" else time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append((time.process_time() if device.type == "cpu" else time.perf_counter()) - started)
    return 2 * side**3 / min(seconds)


def processor() -> str:
    """The CPU's name and number of cores."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{names[0].partition(':')[2].strip()}, {os.cpu_count()} cores"


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['model']:12s} {row['method']:12s} batch {row['batch']} {row['precision']} "
        f"compile {row['compile']:3s} {row['step_seconds']:8.3f} s, {row['vs_full']:.2f} of full "
        f"[{row['vs_full_min']:.2f} to {row['vs_full_max']:.2f}]"
    )


COLUMNS = (
    "method",
    "step s",
    "of full (range)",
    "times forward",
    "images/s",
    "kept MiB/image",
    "peak MiB",
    "of peak",
)


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """step.csv, every number; step.md, a table per model, batch, precision and compile."""
    folder.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(name for row in rows for name in row)
    with (folder / "step.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    text = []
    for title, group in itertools.groupby(rows, _title):
        text += [title, "", f"| {' | '.join(COLUMNS)} |", "|---" + "|--:" * (len(COLUMNS) - 1) + "|"]
        text += [f"| {' | '.join(_cells(row))} |" for row in group] + [""]
    (folder / "step.md").write_text("\n".join(text))


def _title(row: dict[str, Any]) -> str:
    return (
        f"{row['model']}, batch {row['batch']} in micro-batches of {row['micro_batch']}, {row['precision']}, "
        f"compile {row['compile']}; {row['device']}, {row['threads']} threads, {row['clock']} time, "
        f"torch {row['torch']}, commit {row['git']}"
    )


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["method"],
        f"{row['step_seconds']:.3f}",
        f"{row['vs_full']:.2f} ({row['vs_full_min']:.2f} to {row['vs_full_max']:.2f})",
        f"{row['vs_forward']:.2f}",
        f"{row['images_per_second']:.1f}",
        f"{row['kept_bytes_per_image'] / 2**20:.1f}",
        f"{row['peak_memory_bytes'] / 2**20:.0f}",
        f"{row['utilisation']:.0%}",
    ]


if __name__ == "__main__":
    main()
