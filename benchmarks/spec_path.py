#!/usr/bin/env python
"""How far a reader walks through the source to follow one trial, and one sweep.

Run:      python benchmarks/spec_path.py [--sweep] [--order]    (seconds; --sweep starts Ray: two minutes)
Prints:   for `run_trial`, and with --sweep for `raypeft run` up to the last row in the ledger:
          visits (control enters another file of raypeft, by a call or by coming back from one), files,
          returns (visits to a file seen before), and calls up the import order of pyproject.toml.
          --order: also every visit, by function.

The trial is a final run of LoRA on vit_nano and the built-in digits, one epoch, on the CPU, and is traced
with sys.setprofile. A call counts once however often it is repeated: from one function to one of another
file. What is traced of a sweep is its driver; its workers' part is `run_trial`. Imports do not count. What
the driver does while it waits differs by a few visits from run to run.
"""

import argparse
import contextlib
import inspect
import sys
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import raypeft
from raypeft.core.recipe import Recipe
from raypeft.core.spec import LogUniform, Search, Sweep, grid

ROOT = f"{Path(raypeft.__file__).parent}/"
SWEEP = Sweep(
    name="spec_path",
    cells=grid(method=("lora",), model=("vit_nano",), dataset=("digits",), fraction=(0.1,)),
    search=Search(trials=1, lr=LogUniform(low=1e-4, high=1e-2)),
    recipe=Recipe(epochs=1, batch_size=16, micro_batch_size=16),
    final_seeds=(0,),
)


@dataclass(frozen=True)
class Call:
    """A call of a function of raypeft that has not ended."""

    frame: FrameType
    file: str
    name: str
    is_visit: bool


class Walk:
    """In `with`: the visits of this thread and those that it starts, in order, as (file, function)."""

    def __init__(self, *, until: str = "") -> None:
        """`until`: the function after whose last call nothing counts."""
        self.visits: list[tuple[str, str]] = []
        self.upward: list[str] = []
        self._until, self._ranks = until, _ranks()
        self._length: int | None = None
        self._seen: set[tuple[str, str]] = set()
        self._threads = threading.local()

    def __enter__(self) -> "Walk":
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        self.visits = self.visits[: self._length]

    def __str__(self) -> str:
        files = {file for file, _ in self.visits}
        return (
            f"{len(self.visits)} visits to {len(files)} files, {len(self.visits) - len(files)} of them "
            f"returns, {len(self.upward)} calls up the import order"
        )

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        code, of_thread = frame.f_code, self._threads.__dict__
        if event not in ("call", "return") or not code.co_filename.startswith(ROOT):
            return
        if not code.co_flags & inspect.CO_OPTIMIZED:  # a module or a class, which are imported
            of_thread["imports"] = of_thread.get("imports", 0) + (1 if event == "call" else -1)
            return
        if of_thread.get("imports"):
            return
        stack: list[Call] = of_thread.setdefault("stack", [])
        if event == "call":
            stack.append(self._enter(stack[-1] if stack else None, frame))
        elif stack and stack[-1].frame is frame:
            left = stack.pop()
            if left.is_visit and stack:
                self.visits.append((stack[-1].file, f"back in {stack[-1].name}"))
            if left.name == self._until:
                self._length = len(self.visits)

    def _enter(self, caller: Call | None, frame: FrameType) -> Call:
        """Note the visit, unless it is none or was noted before."""
        file, name = frame.f_code.co_filename.removeprefix(ROOT), frame.f_code.co_qualname
        edge = (f"{caller.file}:{caller.name}" if caller else "", f"{file}:{name}")
        is_visit = (caller is None or caller.file != file) and edge not in self._seen
        if is_visit:
            self._seen.add(edge)
            self.visits.append((file, name))
            if caller and self._rank(file) < self._rank(caller.file):
                self.upward.append(" -> ".join(edge))
        return Call(frame, file, name, is_visit)

    def _rank(self, file: str) -> int:
        return self._ranks.get(file.partition("/")[0].removesuffix(".py"), len(self._ranks))


def _ranks() -> dict[str, int]:
    """Where each package stands in the import order, the uppermost at 0."""
    settings = tomllib.loads((Path(ROOT).parent / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if "layers" in contract)
    return {
        name.strip(): rank for rank, layer in enumerate(layers) for name in layer.replace(":", "|").split("|")
    }


def walk_of_a_trial(store: Path) -> Walk:
    """From run_trial to its row."""

    from raypeft.launch.plan import make_plan
    from raypeft.store import Store
    from raypeft.train import Context, run_trial

    plan = make_plan(SWEEP, store=Store(store))
    spec = plan.final_spec(plan.sweep.cells[0], seed=0, lr=1e-3)

    def trial() -> None:
        row = run_trial(spec, Context(store=Store(store)), lambda epoch: None)
        assert row.status == "done", row.error

    trial()  # once for what is imported and computed on first use
    return _traced(trial, Walk())


def walk_of_a_sweep(store: Path) -> Walk:
    """From the command to the last row in the ledger."""
    from raypeft.cli import app

    file = store.parent / "sweep.py"
    file.write_text(f"from {Path(__file__).stem} import SWEEP\n")

    def command() -> None:
        with contextlib.suppress(SystemExit):
            app(["run", str(file), "--store", str(store), "--cpus", "1"], standalone_mode=False)

    return _traced(command, Walk(until="Ledger.commit"))


def _traced(run: Callable[[], None], walk: Walk) -> Walk:
    with walk:
        run()
    return walk


@contextmanager
def _store() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "store"


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweep", action="store_true", help="also a whole sweep, which starts Ray")
    parser.add_argument("--order", action="store_true", help="also each visit, and each upward call")
    options = parser.parse_args()
    for name, measure in {"run_trial": walk_of_a_trial, "raypeft run": walk_of_a_sweep}.items():
        if measure is walk_of_a_sweep and not options.sweep:
            continue
        with _store() as store:
            walk = measure(store)
        print(f"{name}: {walk}")
        if options.order:
            print("\n".join(f"  {file}: {function}" for file, function in walk.visits))
            print("\n".join(f"  upward: {call}" for call in walk.upward))


if __name__ == "__main__":
    main()
