"""The checks of a method that need other processes: loading what was saved, and data-parallel training.

They run for all methods at once, in `python -m raypeft.train.conformance_processes`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from raypeft.core.plugins import import_carried, loaded_plugins, plugins_of
from raypeft.methods import bind_method
from raypeft.train.adapter import load_tensors, save_tensors
from raypeft.train.findings import Finding, NotConformingError, close, find
from raypeft.train.subjects import BATCH, Subject, descend

WORKER_SECONDS = 1800.0  # for a process that tries every method
LOADS, PARALLEL = "save, load in a fresh process, equal bits", "two data-parallel processes"


def start_workers(subjects: Sequence[Subject], root: Path) -> dict[str, subprocess.Popen[str]]:
    """Start a process that loads what is saved here, and two that train in parallel."""
    for number, subject in enumerate(subjects):
        try:
            model = subject.trained()
            save_tensors(root / f"{number}.safetensors", model, method=subject.method)
            save_file({"output": subject.output(model).detach().contiguous()}, root / f"{number}.output")
        except Exception as error:  # reported by the check that finds no file
            (root / f"{number}.error").write_text(f"{type(error).__name__}: {error}")
    names = [("method", subject.method.method.name) for subject in subjects]
    plugins = plugins_of(names, among=loaded_plugins())
    job = {
        "subjects": [[subject.method.text, subject.backbone] for subject in subjects],
        "plugins": [plugin.to_dict() for plugin in plugins],
    }
    (root / "job.json").write_text(json.dumps(job))
    return {
        role: subprocess.Popen(
            [sys.executable, "-P", "-m", "raypeft.train.conformance_processes", role, str(root)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for role in ("load", "0", "1")
    }


def collect(
    workers: dict[str, subprocess.Popen[str]], subjects: Sequence[Subject], root: Path
) -> list[Finding]:
    """Return what the processes found, once they have ended."""
    errors = {role: _last_words(worker) for role, worker in workers.items()}
    return [
        Finding(
            method=subject.method.text,
            network=subject.backbone,
            check=check,
            passed=not detail,
            detail=detail,
        )
        for role, check in (("load", LOADS), ("0", PARALLEL))
        for subject, detail in zip(
            subjects, _answers(root / f"{role}.json", errors[role], subjects), strict=True
        )
    ]


def _last_words(worker: subprocess.Popen[str]) -> str:
    try:
        return worker.communicate(timeout=WORKER_SECONDS)[1]
    except subprocess.TimeoutExpired:
        worker.kill()
        return f"not done within {WORKER_SECONDS:g} s"


def _answers(path: Path, error: str, subjects: Sequence[Subject]) -> list[str]:
    if path.exists():
        details: list[str] = json.loads(path.read_text())
        return details
    return [f"the process ended: {error.strip().splitlines()[-1] if error.strip() else 'killed'}"] * len(
        subjects
    )


def _loads(subject: Subject, root: Path, number: int) -> None:
    if (problem := root / f"{number}.error").exists():
        raise NotConformingError(problem.read_text())
    model = subject.adapted()
    load_tensors(root / f"{number}.safetensors", model, method=subject.method)
    expected = load_file(root / f"{number}.output")["output"]
    if not torch.equal(subject.output(model.eval()), expected):
        raise NotConformingError("the loaded model's output differs")


def _trains_in_parallel(subject: Subject, rank: int) -> None:
    """Compare with one process that accumulates both halves; in both cases BatchNorm sees halves."""
    halves = (slice(0, BATCH // 2), slice(BATCH // 2, BATCH))
    alone, model = subject.adapted(), subject.adapted()
    parallel = nn.parallel.DistributedDataParallel(model)
    for _ in range(2):  # an unused parameter is only noticed at the second step
        for one in (alone, model):
            subject.method.set_train_mode(one)
        for half in halves:
            subject.backward(alone, half)
        for parameter in alone.parameters():
            if parameter.grad is not None:
                parameter.grad /= len(halves)
        subject.backward(parallel, halves[rank])
        for one in (alone, model):
            descend(one)
    expected = dict(alone.named_parameters())
    for name, parameter in model.named_parameters():
        close(parameter, expected[name], name, tolerance=1e-4)


def _work(role: str, root: Path) -> None:
    """Run one of the processes; `role`: "load", or the rank of a data-parallel process."""
    job: dict[str, Any] = json.loads((root / "job.json").read_text())
    import_carried(job["plugins"])
    if role != "load":
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{root / 'rendezvous'}",
            rank=int(role),
            world_size=2,
            timeout=timedelta(minutes=2),  # of a rank that waits for one that failed alone
        )
    details = []
    for number, (method, backbone) in enumerate(job["subjects"]):
        subject = Subject(method=bind_method(method), backbone=backbone)
        found = find(
            subject,
            role,
            (lambda s, n=number: _loads(s, root, n))  # type: ignore[misc]
            if role == "load"
            else (lambda s: _trains_in_parallel(s, int(role))),
        )
        details.append(found.detail)
    (root / f"{role}.json").write_text(json.dumps(details))


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]))
