"""What is computed once per store, by whoever is there."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raypeft.train.tensors import cut, divided_tensors

NUM_PARTS = 12
PROCESS = f"""
import functools, os, signal, sys, time
from pathlib import Path
import torch
from raypeft.train.tensors import divided_tensors

path, log, dies_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def compute(number):
    if number == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)
    with log.open("a") as file:
        file.write(f"{{number}} {{os.getpid()}}\\n")
    time.sleep(0.2)
    return {{"even" if number % 2 == 0 else "odd": torch.full((2, 3), float(number))}}

print("ready", flush=True)
sys.stdin.readline()
divided_tensors(path, [functools.partial(compute, n) for n in range({NUM_PARTS})], waiting=lambda: None)
"""


def start(folder: Path, *, dies_at: int = -1) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(folder / "found.safetensors"), str(folder / "log"), str(dies_at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"  # it has imported torch
    return process


def go(*processes: subprocess.Popen) -> list[int]:
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    return [process.returncode for process in processes]


def logged(folder: Path) -> list[tuple[int, int]]:
    return [tuple(map(int, line.split())) for line in (folder / "log").read_text().splitlines()]


def assert_whole(folder: Path) -> None:
    """Rows of twos, in the order of the parts, whoever computed which."""
    found = load_file(folder / "found.safetensors")
    for name, numbers in (("even", range(0, NUM_PARTS, 2)), ("odd", range(1, NUM_PARTS, 2))):
        expected = torch.tensor([float(number) for number in numbers for _ in range(2)])
        assert torch.equal(found[name], expected[:, None].expand(-1, 3))
    assert not (folder / "found.parts").exists()


def test_processes_that_want_the_same_divide_it(tmp_path):
    assert go(start(tmp_path), start(tmp_path)) == [0, 0]
    by_number = Counter(number for number, _ in logged(tmp_path))
    assert by_number == Counter(range(NUM_PARTS)), "each part once"
    by_process = Counter(pid for _, pid in logged(tmp_path))
    assert min(by_process.values()) >= NUM_PARTS // 3
    assert len(by_process) == 2
    assert_whole(tmp_path)


def test_what_a_killed_process_had_is_kept(tmp_path):
    assert go(start(tmp_path, dies_at=7)) == [-signal.SIGKILL]
    assert go(start(tmp_path)) == [0]
    assert [number for number, _ in logged(tmp_path)] == list(range(NUM_PARTS)), "none twice"
    assert_whole(tmp_path)


def test_a_damaged_part_is_computed_again(tmp_path):
    path = tmp_path / "found.safetensors"
    damaged = tmp_path / "found.parts" / "000001.safetensors"
    damaged.parent.mkdir()
    damaged.write_bytes(b"half")
    parts = [lambda n=n: {"x": torch.tensor([n])} for n in range(3)]
    assert divided_tensors(path, parts, waiting=lambda: None)["x"].tolist() == [0, 1, 2]
    assert {one.name for one in tmp_path.iterdir()} == {"found.safetensors"}


@pytest.mark.parametrize(("number", "at_least", "sizes"), [
    (0, 64, []),
    (64, 64, [64]),
    (65, 64, [64, 1]),
    (64 * 64, 64, [64] * 64),
    (64 * 64 + 1, 64, [65] * 63 + [2]),
])  # fmt: skip
def test_parts_are_few_and_leave_nothing_out(number, at_least, sizes):
    parts = cut(number, at_least)
    assert [len(range(number)[part]) for part in parts] == sizes
    assert [n for part in parts for n in range(number)[part]] == list(range(number))
