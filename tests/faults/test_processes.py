"""Rows 1 to 10: a process dies, a machine goes, somebody presses Ctrl-C."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]


def busy(run, look, *, committed=1):
    """Some trials committed, and others with a checkpoint."""
    run.until(lambda: len(look.rows(run.store)) >= committed and look.saved(run.store))


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(2,), (0, 1, 3, 5, 6)])
@pytest.mark.fault(
    row=1, expected="killed driver: exit 137, then 0; no committed trial again; others from their checkpoints"
)
def test_a_driver_killed_again_and_again(kills, sweeps, look, seen):
    before: dict[str, str] = {}
    for committed in kills:
        run = sweeps.start(faults="slow:0.01")
        busy(run, look, committed=committed)
        run.kill()
        assert run.process.returncode == -signal.SIGKILL
        assert before.items() <= look.science(run.store).items()
        before = look.science(run.store)
        reached = look.saved(run.store)
    sweeps.finish()
    starts = {one["trial_id"]: one["step"] for one in look.events(run.store, "start")}  # the last of each
    assert all(starts[trial_id] >= step for trial_id, step in reached.items())
    resumed = {trial_id: look.rows(run.store)[trial_id]["resumed_step"] for trial_id in reached}
    assert all(resumed[trial_id] >= step for trial_id, step in reached.items()), "and not in name alone"
    seen(f"killed with {kills} of 8; the last time {len(reached)} went on from {sorted(reached.values())}")


@pytest.mark.slow
@pytest.mark.fault(row=3, expected="killed worker: tried again from its checkpoint, exit 0")
def test_a_worker_killed(sweeps, look, seen):
    run = sweeps.start(faults="slow:0.01")
    busy(run, look, committed=0)
    victim = run.worker()
    victim.kill()
    code, talk = run.end()
    assert code == 0, talk
    told = next(line for line in talk.splitlines() if "worker died" in line)
    assert "tried again from step" in told
    sweeps.check(run.store)
    assert sum(bool(row["remarks"]) for row in look.rows(run.store).values()) == 1
    seen(f"exit 0; '{told.partition(': ')[2]}'")


@pytest.mark.slow
@pytest.mark.fault(row=4, expected="killed raylet: exit 5 within 60 s, 'cluster lost'; resumes")
def test_the_only_raylet_killed(sweeps, look, seen):
    run = sweeps.start(faults="slow:0.01")
    busy(run, look)
    run.child("raylet").kill()
    killed = time.monotonic()
    code, talk = run.end(seconds=90)
    took = time.monotonic() - killed
    assert code == 5, talk
    assert took < 60
    assert "cluster lost" in talk
    sweeps.finish()
    seen(f"exit 5 after {took:.0f} s, 'cluster lost'; resumed, exit 0")


@pytest.mark.slow
@pytest.mark.fault(
    row=4, expected="the raylet dies while Ray starts, as on a busy machine: started again, exit 0"
)
def test_a_raylet_killed_before_it_is_up(sweeps, seen):
    run = sweeps.start()
    run.until(lambda: [one for one in run.count() if one.name() == "raylet"])
    run.child("raylet").kill()
    code, talk = run.end()
    assert code == 0, talk
    sweeps.check(run.store)
    seen("exit 0, the same table")


@pytest.mark.slow
@pytest.mark.fault(row=6, expected="killed GCS: exit 5 within 60 s, names the Ray head; resumes")
def test_the_gcs_server_killed(sweeps, look, seen):
    run = sweeps.start(faults="slow:0.01")
    busy(run, look)
    run.child("gcs_server").kill()
    killed = time.monotonic()
    code, talk = run.end(seconds=90)
    took = time.monotonic() - killed
    assert code == 5, talk
    assert took < 60
    assert "the Ray head (GCS)" in talk or "no machine" in talk
    sweeps.finish()
    seen(f"exit 5 after {took:.0f} s; resumed, exit 0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(
            signal.SIGTERM, 143,
            marks=pytest.mark.fault(row=8, expected="SIGTERM: exit 143, trials saved at their step; resumes"),
        ),
        pytest.param(
            signal.SIGINT, 130,
            marks=pytest.mark.fault(row=9, expected="SIGINT: exit 130, trials saved at their step; resumes"),
        ),
        pytest.param(
            None, 143,
            marks=pytest.mark.fault(row=8, expected="raypeft stop: exit 143, saved at their step; resumes"),
        ),
    ],
)  # fmt: skip
def test_a_signal_drains(number, code, sweeps, look, seen):
    run = sweeps.start(None, "--checkpoint-seconds", 600, faults="slow:0.02")
    run.until(lambda: len(look.rows(run.store)) >= 1 and len(look.events(run.store, "start")) >= 3)
    time.sleep(1.5)
    if number is None:
        command = [sys.executable, "-m", "raypeft", "stop", str(run.store)]
        assert "asked" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    else:
        run.process.send_signal(number)
    sent = time.monotonic()
    assert run.end()[0] == code
    if number is None:
        assert subprocess.run(command, capture_output=True).returncode == 2, "nobody is left to stop"
    left = look.events(run.store, "leave")
    assert any(event["step"] > 0 for event in left), "trials were in flight; others may have stood in line"
    took = time.monotonic() - sent
    sweeps.finish()
    starts = {one["trial_id"]: one["step"] for one in look.events(run.store, "start")}
    assert all(starts[event["trial_id"]] == event["step"] for event in left), "not a step is lost"
    assert {look.rows(run.store)[event["trial_id"]]["resumed_step"] for event in left} == {
        event["step"] for event in left
    }
    seen(f"exit {code} in {took:.0f} s; saved at steps {[event['step'] for event in left]}, 0 lost; resumed")


@pytest.mark.slow
@pytest.mark.fault(row=10, expected="SIGINT twice: exit 130 in < 10 s, no orphan; resumes")
def test_a_second_signal_ends_at_once(sweeps, look, seen):
    run = sweeps.start(faults="slow:1")
    run.until(lambda: look.events(run.store, "start") and run.worker())
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    run.process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    code, talk = run.end(seconds=10)
    took = time.monotonic() - sent
    assert code == 130
    assert "second signal: stopping now" in talk
    sweeps.finish()
    seen(f"exit 130 in {took:.1f} s, no process left; resumed, exit 0")


@pytest.fixture
def cluster(monkeypatch):
    """A head without places for trials, and two machines with one each, whose trials are slow.

    Faults reach workers through the environment of their machine, not through the driver's. Slow, for Ray
    learns of a lost machine some ten seconds later: a sweep that has ended by then cannot tell of it.
    """
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "injected"))
    monkeypatch.setenv("RAYPEFT_TEST_FAULTS", "slow:0.04")
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False},
        shutdown_at_exit=False,
    )
    made.add_node(num_cpus=1)
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.mark.fault(
    row=5, expected="one machine of two lost: its trial goes on elsewhere, exit 0, no failure counted"
)
def test_a_machine_lost(sweeps, look, cluster, seen):
    run = sweeps.start(RAY_ADDRESS=cluster.address)
    run.until(lambda: len(look.saved(run.store)) == 2)
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
    code, talk = run.end()
    assert code == 0, talk
    assert "1 machine lost, which is no failure of the trials there; 2 left" in talk
    assert {row["attempt"] for row in look.rows(run.store).values()} == {1}
    assert any(row["resumed_step"] > 0 for row in look.rows(run.store).values()), "went on from a checkpoint"
    assert not list((run.store / "failed").iterdir())
    sweeps.check(run.store)
    seen("exit 0; '1 machine lost, which is no failure of the trials there'; attempt 1 everywhere")


@pytest.mark.slow
@pytest.mark.fault(
    row=7, expected="a machine is drained: its trial saves its step and goes on elsewhere, 0 steps lost"
)
def test_a_machine_given_notice(sweeps, look, cluster, seen):
    run = sweeps.start(None, "--checkpoint-seconds", 600, RAY_ADDRESS=cluster.address)
    run.until(lambda: len(look.events(run.store, "start")) == 2)
    time.sleep(3)
    code = (
        "import sys, ray; from ray._raylet import GcsClient;"
        "client = GcsClient(address=sys.argv[1]);"
        "print(client.drain_node(sys.argv[2], 2, 'spot notice', 0))"
    )
    node = cluster.list_all_nodes()[-1]
    drained = subprocess.run(
        [sys.executable, "-c", code, cluster.address, node.node_id], capture_output=True, text=True
    )
    assert drained.returncode == 0, drained.stderr
    end, talk = run.end()
    assert end == 0, talk
    left = look.events(run.store, "leave")
    assert len(left) == 1
    assert left[0]["step"] > 0
    assert "preempted, its state saved" in talk
    row = look.rows(run.store)[left[0]["trial_id"]]
    assert (row["resumed_step"], row["attempt"]) == (left[0]["step"], 1)
    sweeps.check(run.store)
    seen(f"exit 0; saved at step {left[0]['step']} and went on from it, attempt 1")
