"""What of this machine a process may use: cores and memory, fewer where a job, a group or a mask says so."""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

from raypeft.core.errors import ConfigError

CPUS = "RAYPEFT_CPUS"  # what a user allows in all; decides alone
# What batch systems granted: SLURM, Grid Engine, LSF, PBS.
GRANTED = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "LSB_DJOB_NUMPROC", "PBS_NUM_PPN", "NCPUS")
GROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNLIMITED = 2**60  # version 1 writes "no limit" as a number of bytes that no machine has


def usable_cores(
    environment: Mapping[str, str] = os.environ, *, groups: Path = GROUPS, membership: Path = MEMBERSHIP
) -> int:
    """The least of the CPU mask, the control groups' quota and what the batch system granted; at least 1.

    Raises: ConfigError where RAYPEFT_CPUS is no number.
    """
    if asked := environment.get(CPUS):
        if not asked.isdecimal() or int(asked) < 1:
            raise ConfigError(f"{CPUS}={asked}: give the number of CPU cores to use, at least 1")
        return int(asked)
    limits = [len(os.sched_getaffinity(0)), *map(int, _quotas(groups, membership))]
    limits += [int(environment[name]) for name in GRANTED if environment.get(name, "").isdecimal()]
    return max(1, min(limits))


def limit_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let torch and numpy, which know the CPU mask alone, start no more threads than there are cores to use.

    Before they are imported; who has set OMP_NUM_THREADS has decided.
    """
    if (cores := usable_cores(environment)) < len(os.sched_getaffinity(0)):
        environment.setdefault("OMP_NUM_THREADS", str(cores))


def memory_limit(*, groups: Path = GROUPS, membership: Path = MEMBERSHIP) -> int:
    """Bytes: the machine's memory, or the least that a control group grants."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = [
        text
        for folder in _folders(groups, membership, controller="memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name)).isdecimal() and int(text) < UNLIMITED
    ]
    return min(machine, *map(int, found)) if found else machine


def _quotas(groups: Path, membership: Path) -> Iterator[float]:
    """Cores that each group above this process may keep busy."""
    for folder in _folders(groups, membership, controller="cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not period:  # version 1
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):  # else "max", or -1, or no such file
            yield int(quota) / int(period)


def _folders(groups: Path, membership: Path, *, controller: str) -> Iterator[Path]:
    """Of this process's group and those above it, in version 2 and in version 1."""
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts = (groups, groups / "unified")
        elif controller in controllers.split(","):
            mounts = (groups / controllers, groups / controller)
        else:
            continue
        inner = Path(path.lstrip("/"))  # as the host sees it: in a container its last folders may be all
        for mount in mounts:
            yield from (mount / part for part in (inner, *inner.parents))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
