"""Trials of several workers: one killed, and the table stays; one stopped, and its places are free."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import torch

from raypeft.store import Store
from raypeft.train.rerun import rerun_trial

SWEEP = """
from raypeft.core.spec import LogUniform, Search, Sweep, grid
from raypeft.core.recipe import Recipe
SWEEP = Sweep(
    name="long",
    cells=grid(method=("linear",), model=("vit_nano",), dataset=("digits",), fraction=(0.2,)),
    search=Search(trials=2, lr=LogUniform(low=1e-3, high=1e-1), grace_epochs=3),
    recipe=Recipe(epochs=3, batch_size=32, micro_batch_size=16),
    final_seeds=(0,),
)
"""


def start(sweep: Path, store: Store, *options: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "raypeft", "run", str(sweep), "--store", str(store), *map(str, options)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition, driver: subprocess.Popen, *, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert driver.poll() is None, driver.communicate()[1]
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.05)


def checkpointed(store: Store) -> set[str]:
    """Trials in flight that have a checkpoint after their fifth step or a later one."""
    later = (store.path / "checkpoints").glob("*/step-*")
    found = {path.parent.name for path in later if path.name > "step-00000005"}
    return found - {row.trial_id for row in store.rows()}


@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_trials_of_two_workers_have_the_numbers_of_one_worker_though_one_is_killed(tmp_path):
    sweep, store = tmp_path / "long.py", Store(tmp_path / "two")
    sweep.write_text(SWEEP)
    # Both candidates are in line at once, on a machine that holds the workers of one.
    driver = start(sweep, store, "--workers-per-trial", 2, "--checkpoint-seconds", 0)
    wait_until(lambda: checkpointed(store), driver)
    os.kill(train_workers(driver.pid)[1], signal.SIGKILL)
    talk = driver.communicate(timeout=900)[1]
    assert driver.returncode == 0, talk
    rows = store.rows()
    assert [row.status for row in rows] == ["done"] * 3
    assert any(row.resumed_step > 5 for row in rows)
    for row in rows:
        alone = rerun_trial(store, row, device=torch.device("cpu"), watch=lambda epoch: None)
        assert row.trial_id == alone.trial_id
        assert row.hardware == f"2 x {alone.hardware}"
        assert row.status == alone.status
        for numbers, expected in zip(row.curve, alone.curve, strict=True):
            assert numbers == pytest.approx(expected, abs=0.02)


def train_workers(pid: int) -> list[int]:
    children = psutil.Process(pid).children(recursive=True)
    return sorted(child.pid for child in children if "RayTrainWorker" in " ".join(child.cmdline()))


STOPPED = """
    import json, time
    import ray
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler
    from raypeft.launch.demand import Demand
    from raypeft.launch.group import train_in_group
    from raypeft.train.workers import Workers

    DEMAND = Demand(workers=2)

    def work(config, group):
        import torch
        workers = Workers.join()
        for epoch in range(10_000):
            goes_on = group.report({"row": str(epoch)}) if workers.is_first else True
            if not workers.agree(goes_on, device=torch.device("cpu")):
                return
            time.sleep(0.05)

    def trial(config):
        train_in_group(config, DEMAND, work=work, report=tune.report)

    class StopsAtOnce(FIFOScheduler):
        def on_trial_result(self, controller, trial, result):
            if ray.available_resources().get("CPU", 0):  # which follows a little late
                return TrialScheduler.CONTINUE
            stopped.append(time.monotonic())
            return TrialScheduler.STOP

    class Watch(tune.Callback):
        def on_step_end(self, iteration, trials, **info):
            if stopped and not freed and ray.available_resources().get("CPU", 0) == 2:
                freed.append(time.monotonic())

    stopped, freed = [], []
    ray.init(address="local", num_cpus=2, logging_level="ERROR", log_to_driver=False)
    tune.Tuner(
        tune.with_resources(trial, tune.PlacementGroupFactory([DEMAND.bundle])),
        param_space={"store": STORE, "trial_id": "toy"},
        tune_config=tune.TuneConfig(num_samples=1, scheduler=StopsAtOnce(), reuse_actors=True),
        run_config=tune.RunConfig(storage_path=STORE, verbose=0, callbacks=[Watch()]),
    ).fit()
    while not freed:
        if ray.available_resources().get("CPU", 0) == 2:
            freed.append(time.monotonic())
        time.sleep(0.05)
    print(freed[0] - stopped[0])
    ray.shutdown()
"""


@pytest.mark.ray
def test_a_stopped_trial_gives_its_workers_places_back_at_once(tmp_path):
    script = tmp_path / "stopped.py"
    script.write_text(f"STORE = {str(tmp_path)!r}\n" + textwrap.dedent(STOPPED))
    run = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ
        | {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120"},
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout.splitlines()[-1]) < 10  # seconds; Ray's own cleaner was seen to take over 100
