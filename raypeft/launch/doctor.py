"""`raypeft doctor`: find out what a machine lacks for a sweep before one is started."""

import os
import resource
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from raypeft.core.commit import UNKNOWN, source_commit
from raypeft.core.errors import RaypeftError
from raypeft.core.machine import CPUS, memory_limit, usable_cores
from raypeft.core.text import count
from raypeft.launch.address import ADDRESS, check_cluster, cluster_address
from raypeft.launch.filesystem import unfit_places
from raypeft.launch.preflight import OPEN_FILES
from raypeft.launch.token import TOKEN, TOKEN_PATH, token_file, why_no_token_file

Level = Literal["OK", "WARN", "FAIL"]

GIB = 2**30
MIN_DISK, GOOD_DISK = 1 * GIB, 20 * GIB
MIN_MEMORY = 8 * GIB
CLOCK_SECONDS = 2.0  # between this machine and the one that holds the store
SHOWN = ("ray", "torch", "timm", "peft", "diffusers", "optuna", "mlflow")
DASHBOARD = "http://127.0.0.1:8265/api/jobs/"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report; `fix` says what to do unless all is well."""

    level: Level
    what: str
    fix: str = ""


def examine(store: Path, *, tracking_uri: str | None, port: int) -> Iterator[Finding]:
    """Yield the findings of every check; a check that raises is a finding too. `store` need not exist yet."""
    folder = _existing(store)
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions,
        _commit,
        _gpu,
        _memory,
        lambda: _disk("store", folder),
        lambda: _disk("temporary folder", Path(tempfile.gettempdir())),
        lambda: _file_system(folder),
        _open_files,
        lambda: _port(port),
        _token,
        _cluster,
        _open_dashboard,
        _cluster_file,
        lambda: _tracking(store, tracking_uri),
        _weights,
    )
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # the part of the machine may be broken in any way
            yield Finding(level="FAIL", what=f"{type(error).__name__}: {error}", fix="mend what it names")


def _versions() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    wrong = []
    for text in requires("raypeft") or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            if not needed.specifier.contains(found := version(needed.name), prereleases=True):
                wrong.append(f"{needed.name} {found} (needs {needed.specifier})")
        except PackageNotFoundError:
            wrong.append(f"{needed.name} is missing (needs {needed.specifier})")
    if wrong:
        yield Finding(level="FAIL", what=f"packages: {', '.join(wrong)}", fix="run: uv sync")
    else:
        shown = ", ".join(f"{name} {version(name)}" for name in SHOWN)
        yield Finding(level="OK", what=f"packages: Python {sys.version.split()[0]}, {shown}")


def _commit() -> Iterator[Finding]:
    if (commit := source_commit()) != UNKNOWN:
        yield Finding(level="OK", what=f"commit: {commit}")
        return
    why = "raypeft's folder is no checkout of its own" if shutil.which("git") else "there is no git"
    yield Finding(
        level="WARN",
        what=f"commit: unknown, {why}",
        fix="rows will name the versions of libraries, not raypeft's commit; install git, run from a clone",
    )


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        yield Finding(level="OK", what=f"GPU: {', '.join(names)}")
    elif Path("/proc/driver/nvidia/version").exists():
        yield Finding(
            level="FAIL",
            what=f"GPU: there is a driver, and torch {torch.__version__} finds no GPU",
            fix="install a torch build that fits the driver (nvidia-smi shows its CUDA version)",
        )
    else:
        yield Finding(
            level="WARN", what="GPU: none", fix="fine for small models; vit_base and larger need one"
        )


def _memory() -> Iterator[Finding]:
    total, cores, installed = memory_limit(), usable_cores(), os.cpu_count() or 1
    what = f"memory: {total / GIB:.0f} GiB, {count(cores, 'CPU core')}"
    if cores < installed:
        what += f" of {installed}: a mask, a quota, the job or {CPUS} allows no more"
    if total < MIN_MEMORY:
        yield Finding(level="WARN", what=what, fix="Ray ends trials that fill it; lower the micro-batch")
    else:
        yield Finding(level="OK", what=what)


def _disk(name: str, folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    what = f"{name}: {free / GIB:.1f} GiB free at {folder}"
    if free < GOOD_DISK:
        level: Level = "FAIL" if free < MIN_DISK else "WARN"
        variable = "--store" if name == "store" else "TMPDIR"
        yield Finding(level=level, what=what, fix=f"free some, or choose another place with {variable}")
    else:
        yield Finding(level="OK", what=what)


def _file_system(folder: Path) -> Iterator[Finding]:
    """Check what the ledger and the lease need from the file system, and its clock."""
    problems = list(unfit_places(folder))
    for problem in problems:
        text, _, fix = problem.partition("; ")
        yield Finding(level="FAIL", what=text, fix=fix)
    if not problems:
        yield Finding(level="OK", what=f"file system of {folder}: hard links, locks and fsync work")
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        before = time.time()
        file.write(b"x")
        file.flush()
        offset = os.stat(file.name).st_mtime - before
    if abs(offset) > CLOCK_SECONDS:
        yield Finding(
            level="WARN",
            what=f"clock: {offset:+.1f} s between this machine and the store's",
            fix="set both by NTP; results do not depend on it, times in tables do",
        )
    else:
        yield Finding(level="OK", what="clock: that of the store's file system")


def _open_files() -> Iterator[Finding]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        yield Finding(level="FAIL", what=f"open files: at most {hard}", fix="run: ulimit -Hn 65536")
    else:
        yield Finding(level="OK", what=f"open files: up to {hard if hard >= 0 else 'any number'}")


def _port(port: int) -> Iterator[Finding]:
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    if taken:
        yield Finding(
            level="WARN", what=f"port {port}: taken", fix="open the MLflow UI elsewhere: raypeft ui --port"
        )
    else:
        yield Finding(level="OK", what=f"port {port}: free for the MLflow UI")


def _token() -> Iterator[Finding]:
    path = token_file()
    if os.environ.get(TOKEN):
        yield Finding(level="OK", what=f"Ray's token: from {TOKEN}")
    elif path.exists() and path.stat().st_mode & 0o077:
        yield Finding(level="FAIL", what=f"Ray's token: others can read {path}", fix=f"run: chmod 600 {path}")
    elif not (problem := why_no_token_file()):
        yield Finding(level="OK", what=f"Ray's token: private ({path})")
    elif os.environ.get(TOKEN_PATH):
        yield Finding(
            level="FAIL", what=f"Ray's token: {problem}", fix=f"name another file, or unset {TOKEN_PATH}"
        )
    else:
        yield Finding(level="OK", what=f"Ray's token: a new one for each run, in memory alone ({problem})")


def _cluster() -> Iterator[Finding]:
    """Check whether the cluster that a sweep would join answers."""
    if (address := cluster_address()) is None:
        yield Finding(level="OK", what="Ray: each run starts its own on this machine")
        return
    try:
        yield Finding(level="OK", what=f"Ray: the cluster of {ADDRESS} answers at {check_cluster(address)}")
    except RaypeftError as error:
        what, _, fix = str(error).partition("; ")
        yield Finding(level="FAIL", what=f"Ray: {what}", fix=fix)


def _open_dashboard() -> Iterator[Finding]:
    """Check for a dashboard that takes jobs without a token; it runs anybody's code: CVE-2023-48022."""
    try:
        with urllib.request.urlopen(DASHBOARD, timeout=3):
            yield Finding(
                level="FAIL",
                what=f"Ray dashboard: {DASHBOARD} answers without a token",
                fix="stop that cluster and start it with RAY_AUTH_MODE=token",
            )
    except urllib.error.HTTPError as error:
        yield Finding(level="OK", what=f"Ray dashboard: asks for a token (HTTP {error.code})")
    except OSError:
        yield Finding(level="OK", what="Ray dashboard: none on this machine")


def _cluster_file() -> Iterator[Finding]:
    path = Path("cluster.yaml")
    if not path.exists():
        return
    text = path.read_text()
    open_to_all = [line.strip() for line in text.splitlines() if "0.0.0.0" in line.partition("#")[0]]
    if open_to_all:
        yield Finding(
            level="FAIL",
            what=f"cluster.yaml: open to the whole internet: {open_to_all[0]}",
            fix="name your own network",
        )
    else:
        yield Finding(level="OK", what="cluster.yaml: no address is open to all")


def _tracking(store: Path, uri: str | None) -> Iterator[Finding]:
    from raypeft.launch.mlflow_place import probe

    if uri is None:
        yield Finding(level="OK", what=f"MLflow: sqlite in the store ({store})")
        return
    try:
        probe(uri)
        yield Finding(level="OK", what="MLflow: the server answers")
    except RaypeftError as error:
        yield Finding(
            level="WARN",
            what=f"MLflow: {error}",
            fix="sweeps run without it; raypeft sync sends later what it missed",
        )


def _weights() -> Iterator[Finding]:
    from raypeft.models import cached_weights

    found = cached_weights()
    if here := [name for name, is_here in found.items() if is_here]:
        yield Finding(level="OK", what=f"weights on this machine: {', '.join(here)}")
    if missing := [name for name, is_here in found.items() if not is_here]:
        yield Finding(
            level="WARN",
            what=f"weights not here yet: {', '.join(missing)}",
            fix="a sweep downloads those it names; or run what `raypeft models --json` has as 'fetch'",
        )


def _existing(path: Path) -> Path:
    """Return `path`, or the nearest existing folder above it."""
    path = path.absolute()
    return path if path.is_dir() else _existing(path.parent)
