"""Why trials fail, which failures are tried again, and when a sweep should stop."""

import errno
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from raypeft.core.errors import BrokenError, GpuMemoryError
from raypeft.core.result import Failure, Result

TRIES: Mapping[Failure, int] = MappingProxyType({"crashed": 2, "hung": 2, "host_memory": 2})
"""How often a trial may end so before it fails. Others fail at once; out of GPU memory a trial comes back
with half the micro-batch until one image is left; a lost machine is nobody's failure."""

UNSURE_TRIES = 5
"""The same if Ray only lost the connection: the trial, its machine or the network may be to blame."""

STORAGE_ERRORS = frozenset((errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EFBIG))
BREAKER = 5  # failures in a row, of one cause and not of one method alone

CAUSES: Mapping[Failure, str] = MappingProxyType(
    {
        "error": "an exception",
        "gpu_memory": "GPU memory too small",
        "host_memory": "the machine's memory ran out",
        "crashed": "worker died: it was killed or crashed, or its machine was lost",
        "hung": "no progress",
        "storage": "files could not be written",
    }
)


def cause_of(error: Exception) -> Failure:
    """Return the class of an exception that ended a trial in its process."""
    if isinstance(error, GpuMemoryError):
        return "gpu_memory"
    if isinstance(error, MemoryError):
        return "host_memory"
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        return "storage"
    # safetensors, written in Rust, tells the system's error in words alone
    found = re.search(r"os error (\d+)", str(error))
    if type(error).__name__ == "SafetensorError" and found and int(found[1]) in STORAGE_ERRORS:
        return "storage"
    return "error"


def cause_of_death(told: str) -> Failure:
    """Return the class of a process's death, from what Ray says of it."""
    return "host_memory" if "OutOfMemoryError" in told or "running low on memory" in told else "crashed"


def may_be_a_lost_machine(told: str) -> bool:
    """True if Ray tells of a broken connection, and not yet of a death."""
    return "is temporarily unavailable" in told


def is_of_a_lost_peer(error: Exception) -> bool:
    """True if a collective broke off: this worker did not fail, another one of its trial died."""
    text = f"{type(error).__name__}: {error}"
    return any(word in text for word in ("gloo/transport", "DistBackendError", "DistNetworkError"))


class Deaths:
    """The deaths of each trial's process, with the machines that were alive when it started."""

    def __init__(self) -> None:
        self._nodes: dict[str, list[frozenset[str]]] = {}  # by trial id

    def add(self, trial_id: str, nodes: frozenset[str], *, alive: frozenset[str]) -> bool:
        """Note a death; return whether it counts, that is, no machine was lost since the start."""
        self._nodes.setdefault(trial_id, []).append(nodes)
        return nodes <= alive

    def number(self, trial_id: str) -> int:
        """Return how often the trial's process died."""
        return len(self._nodes.get(trial_id, ()))

    def counted(self, trial_id: str, *, alive: frozenset[str]) -> int:
        """Return how many deaths count against the trial; those with a lost machine do not."""
        return sum(nodes <= alive for nodes in self._nodes.get(trial_id, ()))


class Breaker:
    """A counter that stops a sweep whose trials all fail for the same reason."""

    def __init__(self, methods: Iterable[str]) -> None:
        """Start counting; `methods`: those of the sweep, since one broken method must not stop the others."""
        self._enough = min(2, len(set(methods)))
        self._row: list[tuple[str, str]] = []  # cause and method, since the last success

    def succeeded(self) -> None:
        """Reset the count, because a trial was committed."""
        self._row.clear()

    def failed(self, cause: str, method: str) -> None:
        """Count a failure. Raises: BrokenError if it is one too many in a row."""
        if self._row and self._row[-1][0] != cause:
            self._row.clear()
        self._row.append((cause, method))
        if len(self._row) >= BREAKER and len({method for _, method in self._row}) >= self._enough:
            raise BrokenError(
                f"{len(self._row)} trials in a row failed for the same reason: {cause}; mend it, then run "
                "the same command again: what is committed stays"
            )


def reason(row: Result) -> str:
    """Return what failures are grouped by: the class, or an exception's first line without numbers."""
    if row.failure not in (None, "error"):
        return CAUSES[row.failure]
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", (row.error or "").partition("\n")[0])


def grouped(rows: Iterable[Result]) -> list[tuple[str, int, Result]]:
    """Return reason, number of trials and an example for each reason, the most frequent first."""
    first: dict[str, Result] = {}
    counts: Counter[str] = Counter()
    for row in rows:
        counts[reason(row)] += 1
        first.setdefault(reason(row), row)
    return [(cause, number, first[cause]) for cause, number in counts.most_common()]
