"""Ends that are no ends, and starts that are none: terminals, pipes and machines that come and go."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]


def busy(run, look):
    run.until(lambda: len(look.rows(run.store)) >= 1 and look.saved(run.store))


@pytest.mark.fault(row=10, expected="Ctrl-C while Ray starts: said within 5 s, exit 130, no process left")
def test_ctrl_c_while_ray_starts(sweeps, seen):
    run = sweeps.start()
    run.until(lambda: [one for one in run.count() if one.name() == "gcs_server"])
    run.process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    while "stopping: " not in (line := run.process.stderr.readline()):
        assert line, "said at once"
    said = time.monotonic() - sent
    assert said < 5
    code, _ = run.end(seconds=60)
    took = time.monotonic() - sent
    assert code == 130
    assert took < 45
    seen(f"said after {said:.1f} s, exit 130 after {took:.0f} s")


@pytest.mark.slow
@pytest.mark.fault(
    row=8, expected="the terminal is closed (SIGHUP to all): exit 129, saved at their step; resumes"
)
def test_a_closed_terminal_drains(sweeps, look, seen):
    run = sweeps.start(None, "--checkpoint-seconds", 600, faults="slow:0.02")
    run.until(lambda: len(look.rows(run.store)) >= 1 and len(look.events(run.store, "start")) >= 3)
    time.sleep(1.5)
    run.count()
    os.killpg(run.process.pid, signal.SIGHUP)
    code, talk = run.end()
    assert code == 129, talk
    left = look.events(run.store, "leave")
    assert any(event["step"] > 0 for event in left)
    sweeps.finish()
    seen(f"exit 129; saved at steps {[event['step'] for event in left]}; resumed")


@pytest.mark.slow
@pytest.mark.fault(
    row=34, expected="suspended twice as long as --hang-seconds: goes on, nothing counts as hung"
)
def test_a_suspended_sweep_goes_on(sweeps, look, seen):
    run = sweeps.start(None, "--hang-seconds", 20, faults="slow:0.02")
    busy(run, look)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for one in (*run.count(), psutil.Process(run.process.pid)):
            one.send_signal(number)
        time.sleep(45 if number == signal.SIGSTOP else 0)
    code, talk = run.end()
    assert code == 0, talk
    assert "no progress" not in talk
    sweeps.check(run.store)
    assert not any(row["remarks"] for row in look.rows(run.store).values())
    seen("exit 0, the same table, no remark")


@pytest.mark.slow
@pytest.mark.fault(row=34, expected="one trial alone suspended longer than --hang-seconds: goes on")
def test_a_suspended_trial_goes_on(sweeps, look, seen):
    run = sweeps.start(None, "--hang-seconds", 20, faults="slow:0.02")
    busy(run, look)
    worker = run.worker()
    worker.suspend()
    time.sleep(45)
    worker.resume()
    code, talk = run.end()
    assert code == 0, talk
    assert "no progress" not in talk
    sweeps.check(run.store)
    seen("exit 0, the same table")


@pytest.mark.slow
@pytest.mark.fault(row=8, expected="whoever read the output goes away: exit 0, the same table")
def test_a_reader_that_goes_away_ends_nothing(sweeps, look, seen):
    run = sweeps.start()
    run.until(lambda: len(look.rows(run.store)) >= 1)
    run.process.stderr.close()
    assert run.process.wait(timeout=600) == 0
    sweeps.check(run.store)
    seen("exit 0, the same table")


@pytest.mark.fault(row=47, expected="RAY_ADDRESS of a cluster that is gone: exit 4 within a minute, named")
def test_the_address_of_a_dead_cluster(sweeps, seen):
    started = time.monotonic()
    code, talk = sweeps.start(RAY_ADDRESS="127.0.0.1:6399").end()
    took = time.monotonic() - started
    assert code == 4, talk
    assert took < 60
    assert "RAY_ADDRESS=127.0.0.1:6399: no Ray cluster answers" in talk
    seen(f"exit 4 after {took:.0f} s; '{talk.splitlines()[0][:100]}'")


IN_A_THREAD = """
import sys, threading
from pathlib import Path
import runpy
from raypeft.core.terminal import Terminal
from raypeft.launch.sweep import run_sweep

sweep, store = runpy.run_path(sys.argv[1])["SWEEP"], Path(sys.argv[2])
found = []
work = lambda: found.append(run_sweep(sweep, store=store, console=Terminal(stderr=True)))
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(found[0].exit_code)
"""


@pytest.mark.slow
def test_a_sweep_runs_in_a_thread(sweeps):
    """As in a program with a window, or a server; its signals stay its own."""
    store = sweeps.folder / "store"
    run = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD, str(sweeps.sweep), str(store)], capture_output=True, text=True
    )
    assert run.stdout.strip() == "0", run.stderr
    sweeps.check(store)
