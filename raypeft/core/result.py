"""One row of the ledger, and its columns in order."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from raypeft.core.spec import Stage, Task, TrialSpec

Status = Literal["done", "pruned", "diverged", "failed"]

Failure = Literal["error", "gpu_memory", "host_memory", "crashed", "hung", "storage"]
"""Why a trial failed: an exception; memory of the GPU, or of the machine; its process died, or stood
still; its files could not be written."""


SCHEMA = 5
"""Version of the row's columns; a reader refuses any other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One trial's outcome. A score that does not exist is absent, never 0.

    Scores of classification are in [0, 1]; of text-to-image: raypeft/tasks/generate.py.
    """

    # what was asked
    trial_id: str
    sweep: str
    stage: Stage
    method: str
    model: str
    dataset: str  # the label that tables show, without a path
    fraction: float
    seed: int
    lr: float
    candidate: int | None = None
    task: Task = "classify"
    # what came out
    status: Status
    failure: Failure | None = None  # of status failed
    error: str | None = None
    remarks: tuple[str, ...] = ()  # what befell the trial and did not end it
    metrics: Mapping[str, float] = field(default_factory=dict)  # "val/f1_macro", "test/f1_macro", ...
    curve: tuple[Mapping[str, float], ...] = ()  # one per epoch: epoch, train/loss, the searched score
    best_epoch: int | None = None  # 1-based; its weights are the ones scored
    # on what
    n_train: int = 0
    n_val: int = 0
    n_test: int = 0
    n_classes: int = 0
    classes: tuple[str, ...] = ()
    # at what cost
    trainable: int = 0  # parameters that the optimizer updates, head included
    inserted: int = 0  # parameters that the backbone does not have
    head: int = 0
    total: int = 0
    epochs: int = 0
    steps: int = 0  # optimizer steps
    seconds: float = 0.0  # whole trial, since its checkpoint if it went on from one
    device_seconds: float = 0.0  # training steps alone
    peak_memory_bytes: int = 0
    images_per_second: float = 0.0  # training
    adapter_bytes: int = 0
    # provenance
    spec: Mapping[str, Any] = field(default_factory=dict)  # TrialSpec as a dict
    precision: str = ""  # what `auto` became
    features: str = ""  # the network, by name and digest, whose features FID and KID compared
    micro_batch_size: int = 0  # the recipe's; less where GPU memory was small; of a head alone its batch
    weights_digest: str = ""
    data_digest: str = ""
    git: str = ""  # commit of raypeft, or "unknown"
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""
    attempt: int = 1
    resumed_step: int = 0  # optimizer steps before the checkpoint it went on from; 0: never broken off
    started: str = ""  # ISO 8601, UTC
    ended: str = ""
    schema: int = SCHEMA

    @classmethod
    def of(cls, spec: TrialSpec, *, sweep: str, status: Status, **columns: Any) -> "Result":
        """The row of a spec: its columns, and what came out."""
        content = spec.to_dict()
        return cls(
            trial_id=spec.trial_id,
            sweep=sweep,
            stage=spec.stage,
            seed=spec.seed,
            lr=spec.lr,
            candidate=spec.candidate,
            task=spec.task,
            status=status,
            spec=content,
            weights_digest=spec.weights_digest,
            data_digest=spec.data_digest,
            **content["cell"],  # by the labels that tables show
            **columns,
        )

    @property
    def cell(self) -> str:
        """The name of its cell, as that of a Cell is written."""
        return f"{self.method} / {self.model} / {self.dataset} / {self.fraction:g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Result":
        """The inverse of to_dict. Raises: KeyError, TypeError for a missing or unknown column."""
        lists = {name: tuple(content[name]) for name in ("curve", "classes", "remarks")}
        return cls(**{**content, **lists})
