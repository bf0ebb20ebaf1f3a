"""The processes that this one started: taken on when they lose their parent, found, and ended."""

import contextlib
import ctypes

import psutil

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Make processes whose parent dies, as Ray's agents when their raylet is killed, children of this one."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_children() -> None:
    """End every process that this one started, without asking: Ray's servers and workers, decoders."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def has_child(program: str) -> bool:
    """Whether one that this process started itself runs `program`."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() == program and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
