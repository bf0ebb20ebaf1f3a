"""Rows as the engine writes them, with the few columns that a test cares about as arguments."""

from typing import Any

from raypeft.core.result import Result

PARAMETERS = {"full": 1000, "linear": 20, "bn": 60, "bias": 50, "bitfit": 50, "lora": 120}
"""Trainable parameters by method, of a model of 1,000."""


def make_row(
    *,
    method: str = "linear",
    seed: int = 0,
    score: float | None = None,
    stage: str = "final",
    status: str = "done",
    **changes: Any,
) -> Result:
    """One row; `score` is its macro F1, on val in a search and on test in a final run."""
    fields: dict[str, Any] = {
        "trial_id": "", "sweep": "tiny", "model": "vit_nano", "dataset": "digits", "fraction": 1.0, "lr": 1e-3,
        "n_classes": 10, "trainable": PARAMETERS[method], "total": 1000, "head": 20, "seconds": 2.0,
        "device_seconds": 1.5, "git": "abc123def456", "versions": {"torch": "2.15.0"}, "hardware": "a CPU",
        "weights_digest": "aaaa", "data_digest": "bbbb", "precision": "fp32",
        "started": "2026-11-20T10:00:00.000+00:00", "ended": "2026-11-20T10:00:02.000+00:00",
    }  # fmt: skip
    if score is not None:
        fields["metrics"] = {("test" if stage == "final" else "val") + "/f1_macro": score}
    fields |= changes
    name = (
        method,
        fields["model"],
        fields["dataset"],
        fields["fraction"],
        stage,
        seed,
        changes.get("candidate"),
    )
    fields["trial_id"] = fields["trial_id"] or "-".join(map(str, name)).replace("/", "_")
    return Result(method=method, seed=seed, stage=stage, status=status, **fields)  # type: ignore[arg-type]


def final_rows(scores: dict[str, list[float]], **changes: Any) -> list[Result]:
    """Final rows of several methods, seeds 0, 1, 2, ..."""
    return [
        make_row(method=method, seed=seed, score=score, **changes)
        for method, values in scores.items()
        for seed, score in enumerate(values)
    ]
