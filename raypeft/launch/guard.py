"""Watch one process from outside and end it when it hangs; launch/watchdog.py runs this file.

It counts its own seconds, so time in which the machine or the watched process was suspended is no hang. It
needs nothing from that process, which may hold the interpreter's lock for ever. It reads lines: a number
allows that many seconds until the next line, an empty line waits for ever. It ends when its input ends.
"""

import os
import select
import signal
import sys

DUMP = signal.SIGUSR2  # at which the watched process writes every thread's stack
TICK_SECONDS = 1.0
DUMP_TICKS = 2  # for the stacks to be written


def guard(pid: int, lines: int) -> None:
    """Watch until `lines`, a file descriptor, ends, or until the process `pid` hangs; then end it."""
    allowed, ticks = 0.0, 0
    while True:
        readable, _, _ = select.select([lines], [], [], TICK_SECONDS)
        if readable:
            content = os.read(lines, 4096)
            if not content:
                return
            allowed, ticks = float(content.decode().split("\n")[-2] or 0), 0
        elif allowed and not is_suspended(pid):
            ticks += 1
        if allowed and ticks * TICK_SECONDS >= allowed:
            os.kill(pid, DUMP)
            if select.select([lines], [], [], DUMP_TICKS * TICK_SECONDS)[0]:
                continue  # it makes progress after all, or has ended
            os.kill(pid, signal.SIGKILL)
            return


def is_suspended(pid: int) -> bool:
    """True if the process was stopped by Ctrl-Z, a batch system or a debugger."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:  # it is gone: the end of the input comes
        return False


if __name__ == "__main__":
    # Ignore signals meant for the other processes; this one ends with the process that it watches.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guard(int(sys.argv[1]), 0)
