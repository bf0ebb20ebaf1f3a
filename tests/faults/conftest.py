"""A real sweep in a process of its own, what befalls it, and what must hold afterwards."""

import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from raypeft.core.result import Result
from raypeft.launch.growth import write_plan
from raypeft.launch.mlflow_place import default_tracking_uri
from raypeft.launch.plan import make_plan
from raypeft.launch.search import open_searches
from raypeft.launch.verify import verify_store
from raypeft.store import Store
from raypeft.store.history import read_history
from raypeft.store.ledger import Ledger

INJECTED = Path(__file__).parent / "injected"
SWEEP = """
from raypeft.core.spec import LogUniform, Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="long",
    cells=grid(method=("linear", "bitfit"), model=("vit_nano",), dataset=("digits",), fraction=(0.2,)),
    search=Search(trials=3, lr=LogUniform(low=1e-3, high=1e-1), lookback=2, grace_epochs=4),
    recipe=Recipe(epochs=6, batch_size=32, micro_batch_size=16),
    final_seeds=(0,),
)
"""
NUM_TRIALS = 2 * (3 + 1)
STEPS_PER_EPOCH = 9  # 259 images of digits at 20%, in batches of 32
SCIENCE = ("status", "lr", "seed", "metrics", "curve", "best_epoch")


class Run:
    """One driver of a store: `raypeft run` in a process and a group of its own."""

    def __init__(self, sweep: Path, store: Path, marks: Path, options: tuple[object, ...], environment: dict):
        self.store = store
        self.process = subprocess.Popen(
            [sys.executable, "-m", "raypeft", "run", str(sweep), "--store", str(store), *map(str, options)],
            env=os.environ | {"PYTHONPATH": str(INJECTED), "RAYPEFT_TEST_MARKS": str(marks)} | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.family: set[psutil.Process] = set()

    def until(self, condition: Callable[[], object], *, seconds: float = 600) -> None:
        """Wait while the driver runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline, "nothing came of it"
            time.sleep(0.02)
        self.count()

    def count(self) -> list[psutil.Process]:
        """All processes that it started, remembered for the end."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        self.family |= set(found)
        return found

    def child(self, name: str) -> psutil.Process:
        """A running one, by the name of its program or the beginning of its title."""
        found = [one for one in self.count() if name in _names(one)[:2]]
        return found[0]

    def worker(self) -> psutil.Process:
        """One that trains now."""
        found = [one for one in self.count() if any("ImplicitFunc" in name for name in _names(one))]
        return found[0]

    def end(self, *, seconds: float = 900) -> tuple[int, str]:
        """Exit status and stderr; nothing that it started is left."""
        talk = self.process.communicate(timeout=seconds)[1]
        self._leaves_none(seconds=30)
        return self.process.returncode, talk

    def _leaves_none(self, *, seconds: float) -> None:
        """Of all that it started, not a process is left."""
        _, alive = psutil.wait_procs(list(self.family), timeout=seconds)
        assert not [one for one in alive if _runs(one)], "orphans"

    def kill(self) -> None:
        """SIGKILL to the driver alone, as the system does."""
        self.count()
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        self._leaves_none(seconds=90)  # Ray's servers see that their driver is gone


def _names(process: psutil.Process) -> list[str]:
    """Of its program, and its command line; none once it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process.name(), *process.cmdline()]
    return []


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


class Sweeps:
    """Starts drivers in a test's own folder, and compares what they leave with an undisturbed sweep."""

    def __init__(self, folder: Path, golden: Callable[[], Path] | None):
        self.folder, self.golden = folder, golden
        self.sweep, self.marks, self.runs = folder / "long.py", folder / "marks", []
        self.sweep.write_text(SWEEP)
        self.marks.mkdir()

    def start(self, store: Path | None = None, *options: object, faults: str = "", **environment: str) -> Run:
        run = Run(
            self.sweep,
            store or self.folder / "store",
            self.marks,
            ("--checkpoint-seconds", 0, *options),
            environment | {"RAYPEFT_TEST_FAULTS": faults},
        )
        self.runs.append(run)
        return run

    def finish(self, store: Path | None = None, *options: object, **more: str) -> str:
        """Resume, or run, to the end, and check everything; returns what it said."""
        run = self.start(store, *options, **more)
        code, talk = run.end()
        assert code == 0, talk
        self.check(run.store)
        return talk

    def write_plan(self, store: Path) -> Path:
        """As a driver does before its first trial."""
        sweep = runpy.run_path(str(self.sweep))["SWEEP"]
        write_plan(make_plan(sweep, store=Store(store)), store=Store(store))
        return store / "plan.json"

    def commit_first(self, store: Path) -> None:
        """Commit the first candidate of the plan."""
        plan = make_plan(runpy.run_path(str(self.sweep))["SWEEP"], store=Store(store))
        ledger = Ledger(Store(store))
        spec = open_searches(plan, ledger)[0].peek()
        ledger.commit(Result.of(spec, sweep=plan.sweep.name, status="done", metrics={"val/f1_macro": 0.5}))

    def sync(self, store: Path, tracking_uri: str) -> str:
        """`raypeft sync`: what it said."""
        command = [sys.executable, "-m", "raypeft", "sync", str(store), "--tracking-uri", tracking_uri]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def check(self, store: Path, *, tracking_uri: str | None = None) -> None:
        """The undisturbed table, bit for bit, and every promise kept."""
        assert len(rows(store)) == NUM_TRIALS
        if self.golden:
            assert science(store) == science(self.golden())
        assert (
            verify_store(Store(store), tracking_uri=tracking_uri or default_tracking_uri(Store(store))) == []
        )
        assert not [path for path in store.rglob("*.tmp")]


def rows(store: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (store / "ledger").glob("*.json")}


def science(store: Path) -> dict[str, str]:
    return {trial_id: json.dumps([row[name] for name in SCIENCE]) for trial_id, row in rows(store).items()}


def saved(store: Path) -> dict[str, int]:
    """Trials in flight -> the step of their newest checkpoint."""
    found: dict[str, int] = {}
    for path in (store / "checkpoints").glob("*/step-*"):
        found[path.parent.name] = max(found.get(path.parent.name, 0), int(path.name.removeprefix("step-")))
    return {trial_id: step for trial_id, step in found.items() if trial_id not in rows(store)}


def events(store: Path, *kinds: str) -> list[dict]:
    return [event for event in read_history(Store(store)) if event["event"] in kinds]


@pytest.fixture(scope="session")
def golden(tmp_path_factory) -> Callable[[], Path]:
    """The store of a sweep that nothing befell; made when a test first asks."""
    made: list[Path] = []

    def make() -> Path:
        if not made:
            sweeps = Sweeps(tmp_path_factory.mktemp("golden"), None)
            sweeps.finish()
            made.append(sweeps.folder / "store")
        return made[0]

    return make


@pytest.fixture
def sweeps(tmp_path, golden):
    made = Sweeps(tmp_path, golden)
    yield made
    for run in made.runs:  # of a test that failed
        if run.process.poll() is None:
            for one in (*run.count(), psutil.Process(run.process.pid)):
                one.kill()
            run.process.communicate()


@pytest.fixture
def look():
    """What tests read of a store."""

    class Look:
        rows, saved, events, science = map(staticmethod, (rows, saved, events, science))

    return Look


@pytest.fixture
def disk(tmp_path):
    """Mounts small disks, and takes them away."""
    mounted = []

    def mount(name: str, megabytes: int) -> Path:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        options = f"size={megabytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], check=True)
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        while os.path.ismount(path):
            subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def fill():
    """Writes a file into a folder until nothing is left of its disk; returns the file."""

    def write(path: Path) -> Path:
        filler = path / "filler"
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 2**16)
                file.flush()
        return filler

    return write


class MlflowServer:
    """MLflow on 127.0.0.1, started and stopped as often as asked over one database."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        place, artifacts = f"sqlite:///{self._folder}/server.db", str(self._folder / "artifacts")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port),
             "--workers", "1", "--backend-store-uri", place, "--artifacts-destination", artifacts],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # seven processes
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.2)
        raise AssertionError("MLflow did not start")

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            for one in psutil.Process(self._process.pid).children(recursive=True):
                one.kill()
            self._process.kill()
            self._process.wait()


@pytest.fixture
def mlflow_server(tmp_path):
    server = MlflowServer(tmp_path)
    yield server
    server.stop()
