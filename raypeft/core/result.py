"""One row of the ledger, and the order of its columns."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from raypeft.core.spec import Stage, Task, TrialSpec

Status = Literal["done", "pruned", "diverged", "failed"]

Failure = Literal["error", "gpu_memory", "host_memory", "crashed", "hung", "storage"]
"""Why a trial failed: an exception; too little memory of the GPU or the machine; its process died or
hung; its files could not be written."""


SCHEMA = 5
"""Version of the row's columns; a reader refuses any other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The outcome of one trial. A score that does not exist is absent, never 0.

    Scores of classification are in [0, 1]; for text-to-image see raypeft/tasks/generate.py.

    Fields:
        trial_id: twelve hexadecimal digits, a hash of the spec.
        sweep: the sweep's name.
        stage: "search" (scored on val) or "final" (scored once on test).
        method: the method with its options.
        model: the name that tables show, without folders.
        dataset: the name that tables show, without a path.
        fraction: the share of the training images.
        seed: the seed of the head, the data's order and the method's initial values.
        lr: the learning rate.
        candidate: the number of a candidate, from 0; None for a final run.
        task: "classify" or "generate".
        status: "done", "pruned", "diverged" or "failed".
        failure: the kind of failure, if the status is "failed".
        error: the last line of the exception.
        remarks: notes on what happened to the trial without ending it.
        metrics: scores by name, such as "val/f1_macro" and "test/f1_macro".
        curve: one mapping per epoch: epoch, train/loss, the searched score.
        best_epoch: the epoch, from 1, whose weights are scored.
        n_train: the number of training images used.
        n_val: the number of validation images.
        n_test: the number of test images.
        n_classes: the number of classes.
        classes: the names of the classes, in the order of their indices.
        trainable: the number of parameters that the optimizer updates, head included.
        inserted: the number of parameters that the backbone does not have.
        head: the number of parameters of the head.
        total: the number of parameters of the whole network.
        epochs: the number of epochs trained.
        steps: the number of optimizer steps.
        seconds: the time of the whole trial, or since the checkpoint from which it was resumed.
        device_seconds: the time of training steps alone, times the number of workers.
        peak_memory_bytes: the peak memory of the device, or of the process on a CPU.
        images_per_second: the speed in training.
        adapter_bytes: the size of the adapter's files.
        spec: what was asked, as plain JSON types.
        precision: the precision used, to which "auto" was resolved.
        features: the network, by name and digest, whose features FID and KID compared.
        micro_batch_size: the number of images that went through the network at once: the recipe's, or fewer
            if GPU memory was small; for a linear probe its batch.
        weights_digest: the digest of the backbone's weights.
        data_digest: the digest of images, labels and split.
        git: the commit of raypeft, or "unknown".
        versions: the versions of Python and libraries.
        hardware: the device.
        attempt: the number of the attempt, from 1.
        resumed_step: optimizer steps before the checkpoint from which it was resumed; 0: no interruption.
        started: ISO 8601, UTC.
        ended: ISO 8601, UTC.
        schema: the version of this list of columns.
    """

    trial_id: str
    sweep: str
    stage: Stage
    method: str
    model: str
    dataset: str
    fraction: float
    seed: int
    lr: float
    candidate: int | None = None
    task: Task = "classify"

    status: Status
    failure: Failure | None = None
    error: str | None = None
    remarks: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Mapping[str, float], ...] = ()
    best_epoch: int | None = None

    n_train: int = 0
    n_val: int = 0
    n_test: int = 0
    n_classes: int = 0
    classes: tuple[str, ...] = ()

    trainable: int = 0
    inserted: int = 0
    head: int = 0
    total: int = 0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    device_seconds: float = 0.0
    peak_memory_bytes: int = 0
    images_per_second: float = 0.0
    adapter_bytes: int = 0

    spec: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""
    features: str = ""
    micro_batch_size: int = 0
    weights_digest: str = ""
    data_digest: str = ""
    git: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""
    attempt: int = 1
    resumed_step: int = 0
    started: str = ""
    ended: str = ""
    schema: int = SCHEMA

    @classmethod
    def of(cls, spec: TrialSpec, *, sweep: str, status: Status, **columns: Any) -> "Result":
        """Return the row of a spec with the columns that the trial produced."""
        return cls(
            trial_id=spec.trial_id,
            sweep=sweep,
            stage=spec.stage,
            seed=spec.seed,
            lr=spec.lr,
            candidate=spec.candidate,
            task=spec.task,
            status=status,
            spec=spec.content,
            weights_digest=spec.weights_digest,
            data_digest=spec.data_digest,
            **spec.content["cell"],  # by the labels that tables show
            **columns,
        )

    @property
    def cell(self) -> str:
        """Return the name of the row's cell, as Cell.name writes it."""
        return f"{self.method} / {self.model} / {self.dataset} / {self.fraction:g}"

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Result":
        """Return the row that to_dict wrote. Raises: KeyError, TypeError for a missing or unknown column."""
        lists = {name: tuple(content[name]) for name in ("curve", "classes", "remarks")}
        return cls(**{**content, **lists})
