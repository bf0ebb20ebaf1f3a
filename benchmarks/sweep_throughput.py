#!/usr/bin/env python
"""The same sweep by raypeft and as people write it without: wall time, in turns.

Run:    python benchmarks/sweep_throughput.py --images ../shared/data/busi/Dataset_BUSI_with_GT --output DIR
        python benchmarks/sweep_throughput.py --workload vit_base --rivals tune,tune_tuned --output DIR
        python benchmarks/sweep_throughput.py --workload minutes --rivals '' --output DIR
Shows:  per way wall seconds, trials per hour, busy share of the machine's cores, seconds to the first result,
        scores; the ratios to raypeft of the same round; and the limit: the sum of bare forward and backward
        times over the cores.

Ways: raypeft; tune (Ray Tune's function trainables, float32, a DataLoader over image files, a fresh process
per trial); tune_tuned (warm processes, decoded images, autocast); loop (one process, trial after trial);
scripts (a process per trial, one after the other); trainer (transformers' Trainer, one process). Fixed work:
the same cells, rates, seeds and epochs, no early stopping. Without --images, 780 generated images of 256 x
256 pixels. Rounds take turns: every way once, then again.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from rival_trial import Work
from rivals import RIVALS

CLASSES, GENERATED = 3, 780
LOW, HIGH = 1e-4, 1e-1  # learning rates; raypeft's first four candidates lie evenly between
WORKLOADS: dict[str, dict[str, Any]] = {
    "short": {
        "methods": {
            "efficientnet_lite0": ["linear", "full", "bn", "ssf"],
            "vit_nano": ["linear", "lora", "bitfit"],
        },
        "fractions": [0.25, 1.0], "num_rates": 2, "seeds": [0], "epochs": 2, "batch_size": 32,
        "image_size": 64,
    },
    "lora": {
        "methods": {"vit_tiny(weights='random')": ["lora"]},
        "fractions": [0.25], "num_rates": 4, "seeds": [0, 1], "epochs": 2, "batch_size": 16,
        "image_size": 224,
    },
    "vit_base": {
        "methods": {"vit_base(weights='random')": ["linear", "lora", "bitfit"]},
        "fractions": [0.25], "num_rates": 2, "seeds": [0], "epochs": 1, "batch_size": 8, "image_size": 224,
    },
    "minutes": {
        "methods": {"vit_base(weights='random')": ["lora", "bitfit"]},
        "fractions": [0.25], "num_rates": 8, "seeds": [0], "epochs": 1, "batch_size": 8, "image_size": 224,
    },
    "seconds": {
        "methods": {"vit_tiny(weights='random')": ["lora", "bitfit", "ssf"]},
        "fractions": [0.25], "num_rates": 10, "seeds": [0], "epochs": 2, "batch_size": 16,
        "image_size": 224,
    },
}  # fmt: skip
SWEEP_FILE = """from raypeft.core.spec import LogUniform, Recipe, Search, Sweep, grid

SWEEP = Sweep(
    name="throughput",
    cells={cells},
    search=Search(trials={num_rates}, lr=LogUniform(low={low}, high={high}), grace_epochs={epochs}),
    recipe=Recipe(
        epochs={epochs}, batch_size={batch_size}, micro_batch_size={batch_size}, image_size={image_size}
    ),
    final_seeds={seeds},
    allow_leakage=True,  # the rivals' split is drawn image by image
)
"""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One way's sweep in one round."""

    way: str
    round: int
    wall: float
    busy: float  # share of the cores, by whomever
    first: float  # seconds from the command to the first result
    trials: int
    test_f1: float  # mean of the final runs


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", choices=WORKLOADS, default="short")
    parser.add_argument("--images", type=Path, help="a folder of classes")
    parser.add_argument(
        "--rivals", default="tune,tune_tuned,loop,scripts", help=", ".join(RIVALS) + "; '': none"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        work = make_work(folder, WORKLOADS[asked.workload], asked.images)
        for number in range(asked.rounds):
            for way in ("raypeft", *filter(None, asked.rivals.split(","))):
                turns.append(take_turn(way, number, work, folder / f"{way}_{number}"))
                print(turns[-1], flush=True)
                write(asked.output, asked.workload, work, turns)
        limit = limit_seconds(work)
    write(asked.output, asked.workload, work, turns, limit=limit)


def make_work(folder: Path, workload: dict[str, Any], images: Path | None) -> Work:
    """Copy or generate the images, split per class: 70% train, 10% val, 20% test."""
    generator = np.random.default_rng(0)
    found = list_images(images) if images else generate(folder / "generated", generator)
    lines = []
    for label, paths in found.items():
        for place, number in enumerate(generator.permutation(len(paths))):
            share = place / len(paths)
            split = "train" if share < 0.7 else "val" if share < 0.8 else "test"
            target = folder / "images" / f"{label}_{number}.png"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(paths[number].read_bytes())
            lines.append((f"images/{target.name}", label, split))
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label", "split"), *lines])
    number = workload["num_rates"]
    rates = [float(f"{LOW * (HIGH / LOW) ** ((part + 0.5) / number):.3g}") for part in range(number)]
    settings = {name: value for name, value in workload.items() if name != "num_rates"}
    return Work(table=str(path), rates=rates, **settings)


def list_images(folder: Path) -> dict[str, list[Path]]:
    """Images by class; BUSI's masks lie beside them."""
    return {
        one.name: [path for path in sorted(one.iterdir()) if "_mask" not in path.stem]
        for one in sorted(folder.iterdir())
        if one.is_dir()
    }


def generate(folder: Path, generator: np.random.Generator) -> dict[str, list[Path]]:
    """Noise with one bright disc, whose size is the class."""
    folder.mkdir()
    rows, columns = np.mgrid[:256, :256]
    found: dict[str, list[Path]] = defaultdict(list)
    for number in range(GENERATED):
        label = number % CLASSES
        row, column = generator.uniform(64, 192, 2)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < (16 * (label + 1)) ** 2
        pixels = np.clip(generator.normal(90 + 60 * disc, 30)[..., None], 0, 255).repeat(3, 2)
        path = folder / f"{number}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        found[f"class{label}"].append(path)
    return found


def take_turn(way: str, number: int, work: Work, folder: Path) -> Turn:
    """Run the sweep, as a command that a shell starts, and look at what it left."""
    folder.mkdir()
    results = folder / "results.jsonl"
    if way == "raypeft":
        sweep = folder / "sweep.py"
        sweep.write_text(sweep_text(work))
        command = [sys.executable, "-m", "raypeft", "run", str(sweep), "--store", str(folder / "store")]
    else:
        rivals = str(Path(__file__).with_name("rivals.py"))
        command = [sys.executable, rivals, way, json.dumps(asdict(work)), str(results)]
    before, started = psutil.cpu_times(), time.time()
    with (folder / "talk.txt").open("w") as talk:
        code = subprocess.run(command, stdout=talk, stderr=subprocess.STDOUT, check=False).returncode
    wall, after = time.time() - started, psutil.cpu_times()
    if code:
        raise SystemExit(f"{way} ended with {code}: {(folder / 'talk.txt').read_text()[-3000:]}")
    rows = raypeft_rows(folder / "store") if way == "raypeft" else rival_rows(results)
    if len(rows) != work.num_trials:
        raise SystemExit(f"{way}: {len(rows)} results of {work.num_trials} trials")
    spent = sum(after) - sum(before)
    idle = after.idle + after.iowait - before.idle - before.iowait
    return Turn(
        way=way,
        round=number,
        wall=wall,
        busy=1 - idle / spent,
        first=min(at for at, _ in rows) - started,
        trials=len(rows),
        test_f1=statistics.mean(score for _, score in rows if score is not None),
    )


def sweep_text(work: Work) -> str:
    """The same sweep in raypeft's words."""
    from raypeft.models import bind_model

    dataset = f"csv:{work.table}"
    cells = " + ".join(
        f"grid(method={tuple(methods)!r}, model=({model!r},), dataset=({dataset!r},), "
        f"fraction={tuple(work.fractions)!r})"
        for model, methods in work.methods.items()
    )
    settings = asdict(work) | {"num_rates": len(work.rates), "seeds": tuple(work.seeds)}
    if all(bind_model(model).fixed_size for model in work.methods):
        settings["image_size"] = None
    return SWEEP_FILE.format(cells=cells, low=LOW, high=HIGH, **settings)


def raypeft_rows(store: Path) -> list[tuple[float, float | None]]:
    """When each trial was committed, and the test F1 of final runs."""
    from datetime import datetime

    from raypeft.store import Store

    return [
        (datetime.fromisoformat(row.ended).timestamp(), row.metrics.get("test/f1_macro"))
        for row in Store(store).rows()
    ]


def rival_rows(results: Path) -> list[tuple[float, float | None]]:
    """As raypeft_rows."""
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    return [(line["at"], line.get("test")) for line in lines]


def limit_seconds(work: Work) -> float:
    """Bare forward and backward seconds of all trials, one thread, over the cores.

    A linear probe needs one forward pass of each image, for all its trials; validation and test are counted.
    """
    import torch
    from step import Case, Step

    from raypeft.methods import bind_method
    from raypeft.models import bind_model, build_model
    from raypeft.train.state import prepare_network

    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with Path(work.table).open(newline="") as file:
        sides = [row["split"] for row in csv.DictReader(file)]
    num = {side: sides.count(side) for side in ("train", "val", "test")}
    total = 0.0
    for model, methods in work.methods.items():
        for method in methods:
            backbone, bound = bind_model(model), bind_method(method)
            network = build_model(backbone, num_classes=CLASSES)
            bound.apply(network)
            precision = prepare_network(network, backbone.kind, precision="auto", device=cpu)
            bound.set_train_mode(network)
            case = Case(
                model=model, method=method, batch=work.batch_size, micro_batch=work.batch_size,
                precision=precision, compile="no", image_size=work.image_size,
            )  # fmt: skip
            step = Step(network, case, cpu)
            trained, forward = (
                statistics.median(values) / work.batch_size
                for values in zip(*(step.turn() for _ in range(6)), strict=True)
            )
            if method == "linear":
                total += forward * sum(num.values())
                continue
            for fraction in work.fractions:
                images = fraction * num["train"] * trained + num["val"] * forward
                total += work.epochs * images * (len(work.rates) + len(work.seeds))
                total += num["test"] * forward * len(work.seeds)
    return total / psutil.cpu_count()


def write(folder: Path, workload: str, work: Work, turns: list[Turn], limit: float | None = None) -> None:
    """Every turn as CSV, and a table of medians as Markdown."""
    with (folder / f"{workload}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(turns[0])))
        writer.writeheader()
        writer.writerows(map(asdict, turns))
    own = {turn.round: turn.wall for turn in turns if turn.way == "raypeft"}
    lines = [
        f"{workload}: {work.num_trials} trials, {work.epochs} epochs, batch {work.batch_size}, "
        f"{work.image_size} px, {psutil.cpu_count()} cores, medians of {len(own)} rounds (range)",
        "",
        "| way | wall s | of raypeft's | trials/h | cores busy | first result s | test F1 |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for way in dict.fromkeys(turn.way for turn in turns):
        its = [turn for turn in turns if turn.way == way]
        walls = [turn.wall for turn in its]
        lines.append(
            f"| {way} | {spread(walls, 0)} | {spread([turn.wall / own[turn.round] for turn in its], 2)} | "
            f"{3600 * work.num_trials / statistics.median(walls):.0f} | "
            f"{statistics.median(turn.busy for turn in its):.2f} | "
            f"{spread([turn.first for turn in its], 0)} | {spread([turn.test_f1 for turn in its], 3)} |"
        )
    if limit is not None:
        share = limit / statistics.median(own.values())
        lines += [
            "",
            f"Bare forward and backward times: {limit:.0f} s on all cores, {share:.2f} of raypeft's wall.",
        ]
    (folder / f"{workload}.md").write_text("\n".join(lines) + "\n")


def spread(values: list[float], digits: int) -> str:
    """Median and range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
