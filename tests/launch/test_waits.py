"""What is waited for: its text, its limit, and the time in which nobody could wait."""

import os
import signal
import subprocess
import sys
import time

import pytest

from raypeft.launch.waits import SLACK_SECONDS, Attended, Wait, Waits


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_wait_says_what_how_long_and_how_long_at_most():
    clock = Clock()
    wait = Wait("starting Ray", 90, "attempt 2 of 3", clock)
    clock.seconds = 35.4
    assert str(wait) == "starting Ray: 35 s (attempt 2 of 3, limit 90 s)"
    assert str(Wait("ending Ray", 60, clock=clock)) == "ending Ray: 35 s (limit 60 s)"


def test_a_wait_is_over_at_its_limit_and_stuck_when_nobody_ends_it():
    clock = Clock()
    wait = Wait("starting Ray", 90, clock=clock)
    found = []
    for clock.seconds in (90.0, 90.1, 90 + SLACK_SECONDS, 90.1 + SLACK_SECONDS):
        found.append((wait.is_over, wait.is_stuck))
    assert found == [(False, False), (True, False), (True, False), (True, True)]


def test_the_innermost_wait_is_the_present_one():
    waits = Waits()
    assert waits.current is None
    with waits.on("one", limit_seconds=1) as one:
        with waits.on("two", limit_seconds=1) as two:
            assert waits.current is two
        assert waits.current is one
    assert waits.current is None


def test_attended_work_hands_on_what_it_raises_and_is_looked_after():
    looks = []
    Attended(lambda: time.sleep(0.8)).finish(lambda: looks.append(1))
    assert len(looks) >= 2

    def fail() -> None:
        raise ValueError("so")

    with pytest.raises(ValueError, match="so"):
        Attended(fail).finish(lambda: None)


def test_what_attended_work_starts_outlives_a_closed_terminal():
    """As Ray's servers do, which the driver then ends in order."""
    found = []

    def work() -> None:
        child = subprocess.Popen(["sleep", "30"])
        child.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        found.append(child.poll())
        child.kill()
        child.wait()

    Attended(work).finish(lambda: None)
    assert found == [None]
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "this thread still takes it"


def test_a_suspension_is_no_wait():
    code = (
        "import time; from raypeft.launch.waits import AwakeClock\n"
        "clock, end = AwakeClock(), time.monotonic() + 9\n"
        "print('up', flush=True)\n"
        "while time.monotonic() < end: time.sleep(0.1); clock()\n"
        "print(clock())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    time.sleep(1)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(6.5)
    os.kill(process.pid, signal.SIGCONT)
    assert float(process.communicate(timeout=30)[0]) == pytest.approx(2.5, abs=1.0)
