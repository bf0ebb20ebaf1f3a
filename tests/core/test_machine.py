"""How many cores and how much memory a process may use, on machines that are folders of this test."""

import os

import pytest

from raypeft.core.errors import ConfigError
from raypeft.core.machine import limit_threads, memory_limit, usable_cores

MASK = len(os.sched_getaffinity(0))
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """A machine's /sys/fs/cgroup and /proc/self/cgroup, made of files."""

    def make(membership: str, **files: str) -> dict:
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
        (tmp_path / "self").write_text(membership)
        return {"groups": tmp_path / "cgroup", "membership": tmp_path / "self"}

    return make


def test_without_limits_every_core_of_the_mask_is_used(machine):
    assert usable_cores({}, **machine("0::/\n", **{"cpu.max": "max 100000"})) == MASK
    assert usable_cores({}, **machine("")) == MASK


def test_a_mask_of_one_core_is_one_core():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores({}) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("quota", "cores"), [("100000", 1), ("150000", 1), ("20000", 1)])
def test_a_quota_counts_whole_cores_and_at_least_one(machine, quota, cores):
    found = machine("0::/job/step\n", **{"job/step/cpu.max": f"{quota} 100000", "job/cpu.max": "max 100000"})
    assert usable_cores({}, **found) == cores


def test_the_quota_of_a_group_above_counts_too(machine):
    files = {"job/step/cpu.max": "max 100000", "job/cpu.max": "100000 100000"}
    assert usable_cores({}, **machine("0::/job/step\n", **files)) == 1


def test_a_quota_of_version_1_counts(machine):
    files = {
        "cpu,cpuacct/docker/c/cpu.cfs_quota_us": "50000",
        "cpu,cpuacct/docker/c/cpu.cfs_period_us": "50000",
    }
    assert usable_cores({}, **machine("5:cpu,cpuacct:/docker/c\n4:memory:/docker/c\n", **files)) == 1
    files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    (machine("").get("groups") / "cpu,cpuacct/docker/c/cpu.cfs_quota_us").write_text("-1")
    assert usable_cores({}, **machine("5:cpu,cpuacct:/docker/c\n", **files)) == MASK


def test_in_a_container_the_group_lies_at_the_top(machine):
    """The host's path names folders that the container does not see."""
    assert (
        usable_cores({}, **machine("0::/system.slice/docker-1.scope\n", **{"cpu.max": "100000 100000"})) == 1
    )


@pytest.mark.parametrize("name", ["SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "LSB_DJOB_NUMPROC"])
def test_what_a_batch_system_granted_counts(machine, name):
    assert usable_cores({name: "1"}, **machine("")) == 1
    assert usable_cores({name: "100000"}, **machine("")) == MASK
    assert usable_cores({name: ""}, **machine("")) == MASK


def test_the_least_of_all_limits_holds(machine):
    found = machine("0::/\n", **{"cpu.max": "3200000 100000"})
    assert usable_cores({"SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "64"}, **found) == 1


def test_what_the_user_asks_for_decides_alone(machine):
    found = machine("0::/\n", **{"cpu.max": "100000 100000"})
    assert usable_cores({"RAYPEFT_CPUS": "7", "SLURM_CPUS_PER_TASK": "1"}, **found) == 7
    for wrong in ("0", "two", "-1", "1.5"):
        with pytest.raises(ConfigError, match="RAYPEFT_CPUS"):
            usable_cores({"RAYPEFT_CPUS": wrong}, **found)


def test_memory_is_the_machines_or_the_least_of_its_groups(machine):
    assert memory_limit(**machine("0::/job\n", **{"job/memory.max": "max"})) == MEMORY
    found = machine("0::/job\n", **{"job/memory.max": str(GIB), "memory.max": str(2 * GIB)})
    assert memory_limit(**found) == GIB


def test_memory_of_version_1_counts_unless_it_is_no_limit(machine):
    name = "memory/slurm/memory.limit_in_bytes"
    assert memory_limit(**machine("4:memory:/slurm\n", **{name: str(GIB)})) == GIB
    assert memory_limit(**machine("4:memory:/slurm\n", **{name: "9223372036854771712"})) == MEMORY


@pytest.mark.skipif(MASK == 1, reason="a machine of one core has nothing to limit")
def test_threads_are_limited_where_fewer_cores_are_granted_than_the_mask_has():
    granted = {"SLURM_CPUS_PER_TASK": "1"}
    limit_threads(granted)
    assert granted["OMP_NUM_THREADS"] == "1"
    chosen = {"SLURM_CPUS_PER_TASK": "1", "OMP_NUM_THREADS": "3"}
    limit_threads(chosen)
    assert chosen["OMP_NUM_THREADS"] == "3"
    free = {"RAYPEFT_CPUS": str(MASK)}
    limit_threads(free)
    assert "OMP_NUM_THREADS" not in free
