"""The sweep of sweep_throughput.py as people run it without raypeft: its trials, and their processes."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rival_trial import Job, Scores, Work, decode_once, train, train_with_trainer

SEARCH_SEED = 1000


def searches(work: Work) -> list[Job]:
    """The candidates of every cell."""
    return [
        Job(model=model, method=method, fraction=fraction, seed=SEARCH_SEED, lr=lr)
        for model, methods in work.methods.items()
        for fraction in work.fractions
        for method in methods
        for lr in work.rates
    ]


def finals(work: Work, found: list[tuple[Job, Scores]]) -> list[Job]:
    """Every cell's best rate with each seed."""
    best: dict[tuple[str, str, float], tuple[float, Job]] = {}
    for job, scores in found:
        cell = (job.model, job.method, job.fraction)
        if cell not in best or scores["val"] > best[cell][0]:
            best[cell] = scores["val"], job
    return [replace(job, seed=seed, is_final=True) for _, job in best.values() for seed in work.seeds]


class Log:
    """Results as they come, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, job: Job, scores: Scores) -> tuple[Job, Scores]:
        """Note a finished trial."""
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(job) | scores | {"at": time.time()}) + "\n")
        return job, scores


def run_one_by_one(work: Work, log: Log, trial: Callable[[Job, Work], Scores]) -> None:
    """One trial after the other on all cores."""
    found = [log.add(job, trial(job, work)) for job in searches(work)]
    for job in finals(work, found):
        log.add(job, trial(job, work))


def train_in_a_process(job: Job, work: Work) -> Scores:
    """As train(), in a process of its own; two more load images."""
    command = [sys.executable, __file__, "trial", json.dumps([asdict(job), asdict(work)])]
    talk = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    scores: Scores = json.loads(talk.splitlines()[-1])
    return scores


def run_tune(work: Work, log: Log, *, tuned: bool) -> None:
    """Ray Tune's function trainables, a core each: one Tuner for the candidates, one for the final runs.

    A fresh process per trial; `tuned` keeps the processes, as Tune does by default.
    """
    import ray
    from ray import tune

    if tuned:
        decode_once(work)
    ray.init(include_dashboard=False, log_to_driver=False)
    own = str(Path(__file__).parent)

    class Noting(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            scores = {name: result[name] for name in ("val", "test") if name in result}
            log.add(Job(**result["config"]["job"]), scores)

    def trainable(config: dict[str, Any]) -> None:
        sys.path.insert(0, own)
        from rival_trial import Job, Work, train

        tune.report(train(Job(**config["job"]), Work(**config["work"]), tuned=tuned))

    def fit(jobs: list[Job]) -> list[tuple[Job, Scores]]:
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"job": tune.grid_search(list(map(asdict, jobs))), "work": asdict(work)},
            tune_config=tune.TuneConfig(reuse_actors=tuned),
            run_config=tune.RunConfig(
                storage_path=str(Path(work.table).parent / "tune"), verbose=0, callbacks=[Noting()]
            ),
        ).fit()
        return [(Job(**one.metrics["config"]["job"]), one.metrics) for one in results]

    fit(finals(work, fit(searches(work))))
    ray.shutdown()


RIVALS: dict[str, Callable[[Work, Log], None]] = {
    "loop": lambda work, log: run_one_by_one(work, log, train),
    "scripts": lambda work, log: run_one_by_one(work, log, train_in_a_process),
    "tune": lambda work, log: run_tune(work, log, tuned=False),
    "tune_tuned": lambda work, log: run_tune(work, log, tuned=True),
    "trainer": lambda work, log: run_one_by_one(work, log, train_with_trainer),
}

if __name__ == "__main__":
    what, content = sys.argv[1], json.loads(sys.argv[2])
    if what == "trial":
        with contextlib.redirect_stdout(sys.stderr):
            scores = train(Job(**content[0]), Work(**content[1]), num_workers=2)
        print(json.dumps(scores))
    else:
        RIVALS[what](Work(**content), Log(Path(sys.argv[3])))
