"""Faults inside raypeft's own processes, for tests: on PYTHONPATH, Python imports this at its start.

RAYPEFT_TEST_FAULTS names them, separated by commas; each changes one module after its import. A fault
"once" strikes one process of all: the first that makes its mark in RAYPEFT_TEST_MARKS.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from pathlib import Path


def first(mark):
    path = Path(os.environ["RAYPEFT_TEST_MARKS"]) / mark
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def before_loss(fault):
    """Let `fault(cases)` go first at each training loss."""

    def change(module):
        original = module.Classify.loss

        def loss(self, model, cases, *, epoch):
            changed = fault(cases)
            value = original(self, model, cases, epoch=epoch)
            return value if changed is None else value * changed

        module.Classify.loss = loss

    return change


def slow(seconds):
    return before_loss(lambda cases: time.sleep(float(seconds)))


def gpu_memory(most):
    """As a GPU whose memory holds `most` images."""

    def fault(cases):
        if len(cases) > int(most):
            import torch

            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    return before_loss(fault)


def counted(strike, after):
    calls = 0

    def fault(cases):
        nonlocal calls
        calls += 1
        if calls == int(after) and first(strike.__name__):
            return strike()
        return None

    return fault


def nan(after):
    def poison():
        return float("nan")

    return before_loss(counted(poison, after))


def hang(after):
    def stand_still():
        time.sleep(10_000)

    return before_loss(counted(stand_still, after))


def hangs(after):
    """Each process, at its first call after so many."""
    calls = 0

    def fault(cases):
        nonlocal calls
        calls += 1
        if calls == int(after):
            time.sleep(10_000)

    return before_loss(fault)


def eat(after):
    """Memory of the machine, until someone stops it."""

    def devour():
        held = []
        while True:
            held.append(bytearray(os.urandom(2**16)) * 2**10)
            time.sleep(0.02)

    return before_loss(counted(devour, after))


def fails(text):
    def fault(cases):
        raise ValueError(f"{text} {os.getpid()}")

    return before_loss(fault)


def clock(seconds):
    def change(module):
        from datetime import UTC, datetime, timedelta

        module._now = lambda: (datetime.now(UTC) + timedelta(seconds=float(seconds))).isoformat(
            timespec="milliseconds"
        )

    return change


def version(name):
    """The library says that it is another version."""

    def change(module):
        original = module.version
        module.version = lambda asked: "0.0.1" if asked == name else original(asked)

    return change


MODULES = {
    **dict.fromkeys((slow, gpu_memory, nan, hang, hangs, eat, fails), "raypeft.tasks.classify"),
    clock: "raypeft.train.run",
    version: "raypeft.launch.preflight",
}


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, changes):
        self.changes = changes

    def find_spec(self, name, path=None, target=None):
        if name not in self.changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for change in self.changes[name]:
                change(module)

        spec.loader.exec_module = exec_module
        return spec


changes = {}
for asked in filter(None, os.environ.get("RAYPEFT_TEST_FAULTS", "").split(",")):
    kind, _, argument = asked.partition(":")
    fault = globals()[kind]
    changes.setdefault(MODULES[fault], []).append(fault(argument))
if changes:
    sys.meta_path.insert(0, Finder(changes))
