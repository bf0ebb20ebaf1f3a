"""Who starts next, and what becomes of a trial whose process died: asked without Ray, in plain steps."""

import errno
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from safetensors import SafetensorError

from raypeft.core.errors import BrokenError, GpuMemoryError, StorageError
from raypeft.core.recipe import Recipe
from raypeft.core.result import Result
from raypeft.core.spec import Search, Sweep, TrialSpec, grid
from raypeft.datasets import Prepared
from raypeft.launch.demand import Demand, Safety
from raypeft.launch.failures import Breaker, cause_of, grouped
from raypeft.launch.job import Died, Drained, Dropped, Failed, Finished, Job
from raypeft.launch.plan import Plan
from raypeft.launch.queue import JobQueue
from raypeft.store import Store
from raypeft.store.history import History, read_history
from raypeft.store.ledger import Ledger

SWEEP = Sweep(
    name="s",
    cells=grid(method=("full", "linear"), model=("vit_nano",), dataset=("digits",)),
    search=Search(trials=4, lookback=2),
    recipe=Recipe(epochs=2, image_size=32),
    final_seeds=(0,),
)
FULL, LINEAR = SWEEP.cells
DATA = Prepared(
    name="digits",
    classes=("0", "1"),
    split="grouped",
    images_digest="i",
    case_ids=("a", "b"),
    labels=np.array([0, 1]),
    groups=("a", "b"),
    sides=np.array(["train", "train"]),
    subgroups={},
)
PLAN = Plan(sweep=SWEEP, weights_digests={"vit_nano": "w"}, data={"digits": DATA})


class Driver:
    """A queue on a real ledger, with machines that the test says are there."""

    def __init__(
        self,
        store,
        demands: Mapping = {FULL: Demand(), LINEAR: Demand()},
        plan: Plan = PLAN,
        **cluster: float,
    ):
        self.ledger, self.machines = Ledger(Store(store)), {"a", "b"}
        self.ended: list[Result] = []
        self.events: list[str] = []
        self.queue = JobQueue(
            plan,
            self.ledger,
            store=Store(store),
            safety=Safety(),
            on_end=self.ended.append,
            on_event=self.events.append,
        )
        self.queue.settle(demands, cluster=lambda: cluster, nodes=lambda: frozenset(self.machines))

    def start(self) -> Job | None:
        return self.queue.next()

    def finish(self, job: Job) -> None:
        row = Result.of(job.spec, sweep="s", status="done", metrics={"val/f1_macro": 0.5})
        self.queue.close(job, Finished(row))


@pytest.fixture
def driver(tmp_path) -> Driver:
    return Driver(tmp_path, CPU=4)


def test_a_crash_is_tried_again_and_a_second_one_is_a_failure(driver):
    job = driver.start()
    spec = job.spec
    driver.queue.close(job, Died(""))
    again = driver.start()
    assert again.spec == spec
    assert driver.ended == []
    driver.queue.close(again, Died(""))
    assert [row.status for row in driver.ended] == ["failed"]
    assert driver.ledger.num_failures(spec.trial_id) == 1
    assert "tried 2 times" in driver.ended[0].error
    assert driver.ended[0].failure == "crashed"
    told = "worker died: it was killed or crashed, or its machine was lost; tried again from step 0"
    assert driver.events == [f"{spec}: {told}"]


def test_deaths_with_a_machine_that_is_gone_do_not_count(driver):
    for _ in range(3):
        driver.machines = {"a", "spot"}
        job = driver.start()
        driver.machines = {"a"}
        driver.queue.close(job, Died(""))
    assert driver.ended == []


def test_a_machine_that_joins_excuses_nobody(driver):
    for _ in range(2):
        job = driver.start()
        driver.machines |= {f"new {len(driver.machines)}"}
        driver.queue.close(job, Died(""))
    assert [row.status for row in driver.ended] == ["failed"]


def test_a_commit_removes_the_trial_s_checkpoints(driver, tmp_path):
    job = driver.start()
    folder = tmp_path / "checkpoints" / job.trial_id
    folder.mkdir(parents=True)
    driver.finish(job)
    assert not folder.exists()
    assert driver.ledger[job.trial_id].status == "done"


def test_trials_of_several_workers_start_only_with_room_for_all(tmp_path):
    two, one = Demand(workers=2), Demand()
    driver = Driver(tmp_path, {FULL: two, LINEAR: one}, CPU=3)
    first, second, third = driver.start(), driver.start(), driver.start()
    # The larger first; the next of its kind has no room, and no small one takes the place it waits for.
    assert first.spec.cell == FULL
    assert second is third is None
    driver.finish(first)
    assert driver.start().spec.cell == FULL


def test_small_trials_fill_the_room_when_no_large_one_is_in_line(tmp_path):
    driver = Driver(tmp_path, {FULL: Demand(workers=2), LINEAR: Demand()}, CPU=8)
    started = [driver.start() for _ in range(6)]
    assert [job and job.spec.cell.method for job in started] == [
        "full", "full", "linear", "linear", None, None,
    ]  # fmt: skip


def test_a_trial_larger_than_the_cluster_is_handed_out_alone_and_waits_for_machines(tmp_path):
    driver = Driver(tmp_path, {FULL: Demand(workers=8), LINEAR: Demand()}, CPU=2)
    assert driver.start().spec.cell == FULL
    assert driver.start() is None


def test_the_config_of_a_trial_is_plain_json_and_says_what_it_takes(driver):
    config = dict(driver.start().config)
    assert json.loads(json.dumps(config))["demand"] == {
        "workers": 1,
        "cpus": 1,
        "gpus": 0.0,
        "sharded": False,
    }


def failed(spec: TrialSpec, **columns: object) -> Result:
    return Result.of(spec, sweep="s", status="failed", **{"failure": "error", "error": "E: e", **columns})


def test_a_trial_is_told_of_a_micro_batch_only_where_its_own_did_not_fit(driver):
    job = driver.start()
    assert job.config["micro_batch_size"] is None
    driver.queue.close(job, Failed(failed(job.spec, failure="gpu_memory", micro_batch_size=16)))
    assert driver.start().config["micro_batch_size"] == 8


def test_out_of_gpu_memory_halves_the_micro_batch_of_the_cell_until_it_fits(driver):
    job = driver.start()
    driver.queue.close(job, Failed(failed(job.spec, failure="gpu_memory", micro_batch_size=64)))
    again = driver.start()
    assert again.trial_id == again.config["trial_id"] == job.trial_id
    assert again.config["micro_batch_size"] == 32
    told = "GPU memory: micro-batch 64 -> 32, same gradient; tried again from step 0"
    assert again.config["remarks"] == [told]
    driver.queue.close(again, Failed(failed(job.spec, failure="gpu_memory", micro_batch_size=32)))
    assert driver.start().config["micro_batch_size"] == 16
    assert driver.ended == []
    other = driver.start()
    assert other.spec.cell == job.spec.cell
    assert other.config["micro_batch_size"] == 16, "the cell's next trial need not find out again"


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ("Worker exit detail: connection error code 2. End of file", "crashed"),
        (
            "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory",
            "host_memory",
        ),
    ],
)
def test_what_ray_tells_of_a_death_is_its_cause(told, cause, driver):
    for _ in range(2):
        driver.queue.close(driver.start(), Died(told))
    assert [row.failure for row in driver.ended] == [cause]


def test_a_death_that_leaves_stacks_is_a_hang_and_they_are_kept(driver, tmp_path):
    for _ in range(2):
        job = driver.start()
        path = Store(tmp_path).stacks(job.trial_id, 0)
        path.parent.mkdir(exist_ok=True)
        path.write_text("Timeout! Thread 1")
        driver.queue.close(job, Died(""))
    assert [row.failure for row in driver.ended] == ["hung"]
    kept = sorted(path.name for path in path.parent.iterdir())
    assert kept == [f"{job.trial_id}-0-attempt1-1.txt", f"{job.trial_id}-0-attempt1-2.txt"]
    assert kept[1] in driver.ended[0].error


def test_files_that_cannot_be_written_stop_the_sweep_at_once_and_are_no_failure_of_the_trial(driver):
    job = driver.start()
    row = failed(job.spec, failure="storage", error="OSError: [Errno 28] No space left\ntrace")
    driver.queue.close(job, Failed(row))
    assert isinstance(driver.queue.fatal, StorageError)
    assert "No space left (" in str(driver.queue.fatal)
    assert "trace" not in str(driver.queue.fatal)
    assert driver.queue.is_urgent
    assert driver.start() is None
    assert driver.ledger.num_failures(job.trial_id) == 0


def test_a_trial_that_left_a_machine_stands_in_line_again_and_one_of_a_stopping_sweep_does_not(
    driver, tmp_path
):
    job = driver.start()
    spec = job.spec
    driver.queue.close(job, Drained())
    again = driver.start()
    assert again.spec == spec
    assert driver.events == [f"{spec}: preempted, its state saved; goes on from step 0"]
    driver.queue.stopping = "SIGTERM"
    (tmp_path / "checkpoints" / spec.trial_id / "step-00000007").mkdir(parents=True)
    driver.queue.close(again, Drained())
    assert driver.start() is None
    assert driver.queue.num_left == 1


def test_five_failures_of_one_reason_over_two_methods_break_the_sweep(tmp_path):
    wide = replace(PLAN, sweep=replace(SWEEP, search=Search(trials=4, lookback=4)))
    driver, failures = Driver(tmp_path, plan=wide, CPU=4), []
    while driver.queue.fatal is None:
        job = driver.start()
        failures.append(job.spec.cell.method)
        row = failed(job.spec, error=f"ValueError: step {len(failures)} of 7")
        driver.queue.close(job, Failed(row))
    assert isinstance(driver.queue.fatal, BrokenError)
    assert len(failures) == 5
    assert set(failures) == {"full", "linear"}
    assert "ValueError: step # of #" in str(driver.queue.fatal)
    assert not driver.queue.is_urgent


def test_failures_are_grouped_by_cause_whatever_their_numbers_and_addresses(driver):
    spec = driver.start().spec
    errors = (
        "ValueError: <Tensor at 0x7fa3> of 12",
        "ValueError: <Tensor at 0x19ff> of 3.5",
        "KeyError: 'x'",
    )
    rows = [replace(failed(spec, error=f"{error}\nTraceback"), trial_id=error) for error in errors]
    killed = replace(failed(spec, error="SIGKILL of 17"), failure="crashed")
    assert [(cause, number) for cause, number, _ in grouped([*rows, killed])] == [
        ("ValueError: <Tensor at #> of #", 2),
        ("KeyError: 'x'", 1),
        ("worker died: it was killed or crashed, or its machine was lost", 1),
    ]


@pytest.mark.parametrize("reasons", [("a", "b"), ("a",)])
def test_one_method_alone_or_other_reasons_break_nothing(reasons, tmp_path):
    breaker = Breaker(["full", "linear"])
    methods = ["full"] if len(reasons) == 1 else ["full", "linear"]
    for number in range(40):
        breaker.failed(reasons[number % len(reasons)], methods[number % len(methods)])


def test_a_success_in_between_keeps_the_sweep_going():
    breaker = Breaker(["full"])
    for _ in range(3):
        for _ in range(4):
            breaker.failed("a", "full")
        breaker.succeeded()
    for _ in range(4):
        breaker.failed("a", "full")
    with pytest.raises(BrokenError, match="5 trials in a row"):
        breaker.failed("a", "full")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ValueError("x"), "error"),
        (GpuMemoryError("x"), "gpu_memory"),
        (MemoryError(), "host_memory"),
        (OSError(errno.ENOSPC, "full"), "storage"),
        (OSError(errno.EROFS, "read-only"), "storage"),
        (FileNotFoundError(errno.ENOENT, "gone"), "error"),
        (
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "storage",
        ),
        (SafetensorError("invalid header"), "error"),
    ],
)
def test_exceptions_have_their_class(error, cause):
    assert cause_of(error) == cause


def test_the_history_tells_what_happened_in_order(driver, tmp_path):
    job = driver.start()
    driver.queue.started(job)
    driver.queue.close(job, Died(""))
    again = driver.start()
    driver.queue.started(again)
    driver.finish(again)
    told = [(event["event"], event["trial_id"]) for event in read_history(Store(tmp_path))]
    assert told == [(name, job.trial_id) for name in ("start", "retry", "start", "commit")]
    assert [event["attempt"] for event in read_history(Store(tmp_path)) if event["event"] == "start"] == [
        1,
        1,
    ]


def test_a_job_is_closed_once_and_an_earlier_one_of_its_trial_says_nothing_of_it(driver):
    job = driver.start()
    driver.queue.close(job, Dropped("Tune broke off"))
    again = driver.start()
    driver.queue.started(again)
    driver.finish(job)
    assert driver.ended == []
    assert (driver.queue.num_running, driver.queue.num_in_place) == (1, 1)
    driver.finish(again)
    driver.queue.close(again, Died(""))
    assert [row.status for row in driver.ended] == ["done"]
    assert (driver.queue.num_running, driver.queue.num_in_place) == (0, 0)


def test_a_torn_line_of_the_history_is_passed_over(tmp_path):
    history = History(Store(tmp_path))
    history.note("driver", pid=1)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "sta\n')
    history.note("end", exit_code=0)
    assert [event["event"] for event in read_history(Store(tmp_path))] == ["driver", "end"]


def test_a_dropped_run_is_tried_again_and_is_never_a_failure(driver):
    for _ in range(4):
        job = driver.start()
        driver.queue.close(job, Dropped("Tune broke off"))
    assert driver.start().spec == job.spec
    assert driver.ended == []
    assert driver.events == [f"{job.spec}: Tune broke off; tried again from step 0"] * 4


def test_tune_that_breaks_off_three_times_without_a_result_is_given_up(driver):
    verdicts = [driver.queue.goes_on() for _ in range(2)]
    driver.finish(driver.start())
    verdicts += [driver.queue.goes_on() for _ in range(3)]
    assert verdicts == [True, True, True, True, False]


def test_a_lost_machine_is_told_once(driver):
    driver.queue.count_machines()
    driver.machines.discard("b")
    driver.queue.count_machines()
    driver.queue.count_machines()
    assert driver.events == ["1 machine lost, which is no failure of the trials there; 1 left"]
