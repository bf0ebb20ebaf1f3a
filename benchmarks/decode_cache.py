"""What the decoded cache is worth: an epoch from it against an epoch that decodes files; memory of trials.

Run:    python benchmarks/decode_cache.py folder:/data/ultrasound [--image-size 224] [--repeats 5]
Shows:  seconds per epoch, interleaved in one run: batches from the memory-mapped cache, and torch's
        DataLoader that opens and resizes the files in persistent worker processes, one per core. Then the
        memory of four processes that have each read the whole cache, shared pages counted once (PSS).
"""

import argparse
import multiprocessing
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from raypeft.core.resize import Resize
from raypeft.datasets import Table, open_dataset
from raypeft.datasets.cache import content_digests, decode, image_file, images_digest, open_images
from raypeft.datasets.images import to_rgb

BATCH, PROCESSES = 64, 4
MIB = 2**20


class Files(torch.utils.data.Dataset):
    """The usual way: each item is opened, decoded and resized when it is asked for."""

    def __init__(self, table: Table, side: int) -> None:
        """`side`: pixels."""
        self._paths, self._side = table.paths, side

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, case: int) -> torch.Tensor:
        image = to_rgb(self._paths[case]).resize((self._side, self._side), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image))


def normalised(batch: torch.Tensor) -> torch.Tensor:
    """What both ways end in: float, (batch, 3, height, width)."""
    return (batch.permute(0, 3, 1, 2).float() - 127.5) / 127.5


def cached_epoch(images: np.ndarray, order: np.ndarray) -> float:
    """Seconds."""
    started = time.perf_counter()
    for start in range(0, len(order), BATCH):
        normalised(torch.from_numpy(images[order[start : start + BATCH]]))
    return time.perf_counter() - started


def decoding_epoch(loader: torch.utils.data.DataLoader) -> float:
    """Seconds."""
    started = time.perf_counter()
    for batch in loader:
        normalised(batch)
    return time.perf_counter() - started


def read_all(path: Path, barrier: "multiprocessing.Barrier", answers: "multiprocessing.Queue") -> None:
    """One trial's process: read every image, then measure while the others hold theirs too."""
    before = proportional_bytes()
    images = open_images(path).images
    cached_epoch(images, np.arange(len(images)))
    barrier.wait()
    answers.put(
        (before, proportional_bytes(), mapped_bytes(path.name, "Rss"), mapped_bytes(path.name, "Pss"))
    )
    barrier.wait()


def proportional_bytes() -> int:
    """Of this process; a page that k processes share counts one k-th."""
    found = re.search(r"^Pss: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def mapped_bytes(name: str, field: str) -> int:
    """Of one mapped file in this process."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(name)
        elif inside and line.startswith(f"{field}:"):
            total += int(line.split()[1]) * 1024
    return total


def main() -> None:
    """Both measurements, printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    table = open_dataset(arguments.source)
    contents, cache = content_digests(table), Path(tempfile.mkdtemp())
    resize = Resize(image_size=arguments.image_size, interpolation="bicubic")
    started = time.perf_counter()
    images = decode(table, contents, resize=resize, cache_dir=cache).images
    built = time.perf_counter() - started
    path = image_file(cache, images_digest(contents), resize=resize)
    megabytes = path.stat().st_size / MIB
    print(f"{table.name}: {len(table):,} images at {arguments.image_size} px, cache {megabytes:,.0f} MiB")
    print(f"built once in {built:.2f} s, with a check and a fingerprint of every image")
    loader = torch.utils.data.DataLoader(
        Files(table, arguments.image_size),
        batch_size=BATCH,
        shuffle=True,
        num_workers=multiprocessing.cpu_count(),
        persistent_workers=True,
    )
    decoding_epoch(loader)  # starts the workers
    rng = np.random.default_rng(0)
    pairs = [
        (cached_epoch(images, rng.permutation(len(table))), decoding_epoch(loader))
        for _ in range(arguments.repeats)
    ]
    ratios = [decoding / cached for cached, decoding in pairs]
    for name, values in (("cache", [one for one, _ in pairs]), ("decoding files", [one for _, one in pairs])):
        spread = f"[{min(values):.3f} .. {max(values):.3f}]"
        print(f"epoch, {name}: median {statistics.median(values):.3f} s {spread}")
    print(f"ratio: median {statistics.median(ratios):.1f} [{min(ratios):.1f} .. {max(ratios):.1f}]")
    del loader, images  # its pages are no fifth process's
    show_memory(path)


def show_memory(path: Path) -> None:
    """Of PROCESSES processes that hold every page of the cache."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=read_all, args=(path, barrier, answers)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    before, after, resident, shared = (sum(one[index] for one in found) / MIB for index in range(4))
    print(f"{PROCESSES} processes: cache pages added up {resident:,.0f} MiB, counted once {shared:,.0f} MiB")
    print(f"all their memory, shared counted once: {before:,.0f} MiB before, {after:,.0f} MiB with the cache")


if __name__ == "__main__":
    sys.exit(main())
