"""Run a trial with several workers: Ray Train's TorchTrainer inside a Tune trial."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from ray.util.queue import Empty, Queue

from raypeft.launch.demand import Demand
from raypeft.store import Store

Metrics = dict[str, str]
POLL_SECONDS = 1.0  # how often the trial looks whether its workers still live
LEAVING_SECONDS = 300.0  # for workers that are told to stop


@dataclass(frozen=True)
class Group:
    """The workers' end of the connection to their Tune trial."""

    messages: Queue
    verdicts: Queue

    def report(self, metrics: Metrics) -> bool:
        """Send an epoch's numbers, wait for the answer, and return whether to go on.

        The wait keeps every worker from running past a stop.
        """
        self.messages.put(metrics)
        goes_on: bool = self.verdicts.get()
        return goes_on

    def end(self, metrics: Metrics) -> None:
        """Send the final row."""
        self.messages.put({"final": metrics})

    def saved(self, folder: Path | None) -> None:
        """Register a checkpoint with Ray Train; every worker calls this, the writer with its folder."""
        ray.train.report(
            {},
            checkpoint=ray.train.Checkpoint(str(folder)) if folder else None,
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
        )


def train_in_group(
    config: dict[str, Any],
    demand: Demand,
    *,
    work: Callable[[dict[str, Any], Group], None],
    report: Callable[[Metrics], None],
) -> None:
    """Run `work` in each of the demand's workers, and pass what the first one tells to `report`.

    The final row, if there is one, comes last. If `report` raises, as Tune's does for a trial that ASHA
    stops, the workers are told to stop, and the exception goes on once they have given their places back.
    Raises: ray.train.TrainingFailedError if a worker dies without a message.
    """
    checkpoints = Store(config["store"]).checkpoints(config["trial_id"])
    # Ray Train's own list, from before a death, may name checkpoints that are no longer kept: it would refuse
    # to start. Workers look for themselves.
    (checkpoints / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME).unlink(missing_ok=True)
    group = Group(*(Queue(actor_options={"num_cpus": 0}) for _ in range(2)))
    trainer = TorchTrainer(
        lambda config: work(config, group),
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(
            num_workers=demand.workers,
            use_gpu=demand.gpus > 0,
            resources_per_worker={"CPU": demand.cpus} | ({"GPU": demand.gpus} if demand.gpus else {}),
        ),
        # Ray Train takes note of checkpoints in its own folder alone.
        run_config=ray.train.RunConfig(name=checkpoints.name, storage_path=str(checkpoints.parent)),
    )
    training = _Training(trainer)
    try:
        final = _relay(group, training, report)
        training.wait(raises=final is None)
    finally:
        for queue in (group.messages, group.verdicts):
            queue.shutdown(force=True)
    if final is not None:  # workers that were told to leave send no final row
        report(final)


def _relay(group: Group, training: "_Training", report: Callable[[Metrics], None]) -> Metrics | None:
    """Report what the first worker tells; return the final row, or None if the workers ended without one."""
    while (message := _next_message(group, training)) is not None:
        if "final" in message:
            final: Metrics = message["final"]
            return final
        try:
            report(message)
        except BaseException:
            group.verdicts.put(False)
            training.wait()
            raise
        group.verdicts.put(True)
    return None


class _Training:
    """TorchTrainer.fit() running in its own thread."""

    def __init__(self, trainer: TorchTrainer) -> None:
        self._trainer = trainer
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def wait(self, *, raises: bool = False) -> None:
        """Wait until the workers are gone; raise their error if asked.

        Raises: RuntimeError if they do not leave.
        """
        self._thread.join(LEAVING_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError(f"the trial's workers have not left within {LEAVING_SECONDS:g} s")
        if raises and self._error is not None:
            raise self._error

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self._error = error


def _next_message(group: Group, training: _Training) -> dict[str, Any] | None:
    """Return the next message, or None if the workers have ended."""
    while True:
        ended = not training.is_alive  # asked first: the last message may come just before the end
        try:
            message: dict[str, Any] = group.messages.get(timeout=POLL_SECONDS)
            return message
        except Empty:
            if ended:
                return None
