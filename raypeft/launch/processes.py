"""Adopt, find and end the processes that this one started."""

import contextlib
import ctypes

import psutil

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of processes whose parent dies, such as Ray's agents when their raylet is killed."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_children() -> None:
    """Kill every process that this one started: Ray's servers and workers, decoders."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def has_child(program: str) -> bool:
    """True if a direct child of this process runs `program`."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() == program and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
