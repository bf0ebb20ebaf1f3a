"""Rows 31 to 34, 49, and the circuit breaker: what befalls a trial from within."""

import json

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]


@pytest.mark.slow
@pytest.mark.fault(row=31, expected="a loss is not finite: that trial ends as diverged, the others go on")
def test_a_loss_that_is_not_finite(sweeps, look, seen):
    run = sweeps.start(faults="nan:4")
    code, talk = run.end()
    assert code == 0, talk
    found = [row for row in look.rows(run.store).values() if row["status"] == "diverged"]
    assert len(found) == 1
    assert "epoch 1: the training loss is nan" in found[0]["error"]
    assert len(look.rows(run.store)) == 8
    again = sweeps.start()
    assert again.end()[0] == 0
    assert not look.events(run.store, "start")[8:], "never again"
    seen(f"exit 0, 1 of 8 diverged: '{found[0]['error']}'; never again")


@pytest.mark.fault(
    row=32,
    expected="GPU memory (simulated on a CPU) holds 8 images: half the micro-batch, same gradient, exit 0",
)
def test_out_of_gpu_memory(sweeps, look, seen):
    run = sweeps.start(None, "--methods", "linear", faults="gpu_memory:8")
    code, talk = run.end()
    assert code == 0, talk
    assert "GPU memory: micro-batch 16 -> 8, same gradient; tried again from step 0" in talk
    whole = look.rows(sweeps.golden())
    for trial_id, row in look.rows(run.store).items():
        assert row["micro_batch_size"] == 8
        assert row["steps"] == whole[trial_id]["steps"], "the batch is as large as before"
        for numbers, expected in zip(row["curve"], whole[trial_id]["curve"], strict=False):
            assert numbers["train/loss"] == pytest.approx(expected["train/loss"], rel=1e-3)
    seen("exit 0; 'micro-batch 16 -> 8'; training losses as with 16, to 1e-3")


@pytest.mark.slow
@pytest.mark.fault(
    row=33, expected="the machine's memory runs out: Ray ends the trial, tried once more, exit 0"
)
def test_out_of_the_machine_s_memory(sweeps, look, seen):
    import psutil

    used = psutil.virtual_memory().percent / 100
    limit = f"{used + 0.2:.2f}"
    run = sweeps.start(faults="eat:20", RAY_memory_usage_threshold=limit, RAY_memory_monitor_refresh_ms="100")
    code, talk = run.end()
    assert code == 0, talk
    told = next(line for line in talk.splitlines() if "memory ran out" in line)
    sweeps.check(run.store)
    seen(f"exit 0; '{told.partition(': ')[2]}'")


@pytest.mark.slow
@pytest.mark.fault(row=34, expected="a trial hangs: ended, stacks saved, tried once more from its checkpoint")
def test_a_hang(sweeps, look, seen):
    run = sweeps.start(None, "--hang-seconds", 6, faults="hang:20")
    code, talk = run.end()
    assert code == 0, talk
    told = next(line for line in talk.splitlines() if "no progress for 6 s" in line)
    stacks = [path.read_text() for path in (run.store / "stacks").iterdir()]
    assert len(stacks) == 1
    assert "stand_still" in stacks[0]
    sweeps.check(run.store)
    seen(f"exit 0; '{told.partition(': ')[2]}'")


@pytest.mark.slow
@pytest.mark.fault(
    row=34, expected="every trial hangs, each time: failed after two tries, or the breaker, never exit 0"
)
def test_hangs_for_ever(sweeps, look, seen):
    run = sweeps.start(None, "--hang-seconds", 5, "--methods", "linear", faults="hangs:20")
    code, talk = run.end()
    assert code in (3, 5), talk
    assert "no progress" in talk
    assert not look.rows(run.store)
    seen(f"exit {code}; '{talk.splitlines()[-1][-110:]}'")


@pytest.mark.slow
def test_a_sweep_whose_every_trial_fails_alike_is_stopped(sweeps, look):
    sweep = sweeps.sweep
    sweep.write_text(sweep.read_text().replace("trials=3", "trials=8").replace("lookback=2", "lookback=8"))
    run = sweeps.start(faults="fails:disk of process")
    code, talk = run.end()
    assert code == 5, talk
    assert "trials in a row failed for the same reason: ValueError: disk of process #" in talk
    assert len(look.events(run.store, "fail")) < 16, "not every candidate"
    assert sweeps.start().end()[0] == 0


@pytest.mark.slow
@pytest.mark.fault(row=49, expected="one in ten of Ray's calls fails: the same results, exit 0")
def test_calls_between_ray_s_processes_fail(sweeps, look, seen):
    calls = ("CoreWorkerService.grpc_client.PushTask", "NodeManagerService.grpc_client.RequestWorkerLease")
    chaos = {call: {"num_failures": 5, "req_failure_prob": 10, "resp_failure_prob": 10} for call in calls}
    run = sweeps.start(RAY_testing_rpc_failure=json.dumps(chaos))
    code, talk = run.end()
    assert code == 0, talk
    sweeps.check(run.store)
    seen("exit 0, the same table")
