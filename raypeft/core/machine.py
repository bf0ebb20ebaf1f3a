"""How many cores and how much memory a process may use, given the batch job, control group and CPU mask."""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

from raypeft.core.errors import ConfigError

CPUS = "RAYPEFT_CPUS"  # the user's limit for everything; overrides the others
# What batch systems granted: SLURM, Grid Engine, LSF, PBS.
GRANTED = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "LSB_DJOB_NUMPROC", "PBS_NUM_PPN", "NCPUS")
GROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNLIMITED = 2**60  # version 1 writes "no limit" as a number of bytes that no machine has


def usable_cores(
    environment: Mapping[str, str] = os.environ, *, groups: Path = GROUPS, membership: Path = MEMBERSHIP
) -> int:
    """Return how many cores the CPU mask, the control groups and the batch system allow; at least 1.

    RAYPEFT_CPUS overrides all of them.
    Raises: ConfigError if it is not a number.
    """
    if asked := environment.get(CPUS):
        if not asked.isdecimal() or int(asked) < 1:
            raise ConfigError(f"{CPUS}={asked}: give the number of CPU cores to use, at least 1")
        return int(asked)
    limits = [len(os.sched_getaffinity(0)), *map(int, _quotas(groups, membership))]
    limits += [int(environment[name]) for name in GRANTED if environment.get(name, "").isdecimal()]
    return max(1, min(limits))


def limit_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Limit the threads of torch and numpy, which know only the CPU mask, to the usable cores.

    Call it before they are imported. OMP_NUM_THREADS is left as it is if the user has set it.
    """
    if (cores := usable_cores(environment)) < len(os.sched_getaffinity(0)):
        environment.setdefault("OMP_NUM_THREADS", str(cores))


def memory_limit(*, groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return bytes: the machine's memory, or the smallest limit of a control group."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = [
        text
        for folder in _folders(groups, membership, controller="memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name)).isdecimal() and int(text) < UNLIMITED
    ]
    return min(machine, *map(int, found)) if found else machine


def _quotas(groups: Path, membership: Path) -> Iterator[float]:
    """Yield the number of cores that each control group above this process grants."""
    for folder in _folders(groups, membership, controller="cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not period:  # version 1
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):  # else "max", or -1, or no such file
            yield int(quota) / int(period)


def _folders(groups: Path, membership: Path, *, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and those above it, for versions 1 and 2."""
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts = (groups, groups / "unified")
        elif controller in controllers.split(","):
            mounts = (groups / controllers, groups / controller)
        else:
            continue
        inner = Path(path.lstrip("/"))  # the host's path: in a container only its last folders may exist
        for mount in mounts:
            yield from (mount / part for part in (inner, *inner.parents))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
