"""What stands still is ended and says where it stood; what was suspended, moves or waits is not."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

CODE = """
import re, sys, time
from pathlib import Path
from raypeft.launch.watchdog import Watchdog

def stand_still():
    time.sleep(60)

def hold_the_lock():
    re.match("(a+)+$", "a" * 60 + "b")

def move():
    for _ in range(8):
        time.sleep(0.5)
        watchdog.beat()

def move_late():
    time.sleep(3.5)
    watchdog.beat()
    time.sleep(3.5)

def rest():
    watchdog.rest()
    time.sleep(5)

with Watchdog(Path(sys.argv[1]), seconds=2) as watchdog:
    print("up", flush=True)
    globals()[sys.argv[2]]()
with Watchdog(Path(sys.argv[1] + "2"), seconds=600) as watchdog:
    print("over", flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a process that does something under a watchdog of two seconds."""

    def run(what: str) -> subprocess.Popen:
        command = [sys.executable, "-c", CODE, str(tmp_path / "stacks"), what]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "up\n"
        return process

    return run


@pytest.mark.parametrize("what", ["stand_still", "hold_the_lock"])
def test_a_process_that_stands_still_is_ended_and_leaves_its_stacks(start, tmp_path, what):
    process = start(what)
    assert process.wait(timeout=20) == -signal.SIGKILL
    assert what in (tmp_path / "stacks").read_text()


@pytest.mark.parametrize("what", ["move", "move_late", "rest"])
def test_a_process_that_moves_or_waits_for_others_goes_on(start, tmp_path, what):
    process = start(what)
    assert process.communicate(timeout=30)[0] == "over\n"
    assert process.returncode == 0
    assert not list(tmp_path.iterdir()), "nothing to tell"


@pytest.mark.parametrize("guard_too", [False, True])
def test_a_suspended_process_does_not_count_as_hung(start, tmp_path, guard_too):
    """By a batch system, which stops them all; or alone."""
    process = start("move")
    guards = psutil.Process(process.pid).children() if guard_too else []
    assert len(guards) == guard_too
    for one in (process.pid, *(guard.pid for guard in guards)):
        os.kill(one, signal.SIGSTOP)
    time.sleep(6)
    for one in (process.pid, *(guard.pid for guard in guards)):
        os.kill(one, signal.SIGCONT)
    assert process.communicate(timeout=30)[0] == "over\n"
    assert process.returncode == 0


def test_the_guard_goes_with_the_process_that_it_watches(start):
    process = start("rest")
    (guard,) = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    gone, _ = psutil.wait_procs([guard], timeout=10)
    assert gone
