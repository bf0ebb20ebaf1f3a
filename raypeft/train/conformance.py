"""What every method must hold, built in or the user's own: checks on small networks, no weights, no data.

Two of the checks need other processes: loading what was saved, and data-parallel training. They are
made for all methods at once, in `python -m raypeft.train.conformance`.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from raypeft.core.errors import IncompatibleError
from raypeft.core.foreign import described, place_of
from raypeft.core.plugins import check_origin, import_carried, loaded_plugins, plugins_of
from raypeft.methods import bind_method
from raypeft.methods.decay import decayed_names
from raypeft.models.families import FAMILIES, FamilyName, classifier
from raypeft.train.adapter import load_tensors, save_tensors
from raypeft.train.subjects import BATCH, STEPS, Subject, descend


class NotConformingError(Exception):
    """A check that failed; the message says by how much or where."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check of one method on one family; `passed` is None where the check does not apply."""

    method: str
    family: FamilyName
    check: str
    passed: bool | None
    detail: str = ""


def check_methods(methods: Sequence[str]) -> list[Finding]:
    """Every check of every method on every family that it fits.

    Raises: UnknownNameError; ConfigError, also for a method that other processes could not import.
    """
    bound = [bind_method(text) for text in methods]
    check_origin([("method", one.method.name) for one in bound], among=loaded_plugins())
    subjects = [
        Subject(method=one, family=family)
        for one in bound
        for family in FAMILIES.values()
        if family.name in one.method.families
    ]
    num_threads = torch.get_num_threads()
    # One thread here and in the other processes: equal bits need equal numbers of threads, since a
    # convolution's sum depends on how it is cut up, and small networks gain nothing from more.
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            workers = _start_workers(subjects, Path(folder))
            findings = [_find(subject, name, check) for subject in subjects for name, check in CHECKS.items()]
            return findings + _collect(workers, subjects, Path(folder))
    finally:
        torch.set_num_threads(num_threads)


def _keeps_output(subject: Subject) -> None:
    if not subject.method.keeps_output:
        raise IncompatibleError("the method says that it changes the output")
    for variant in (0, 1):
        plain, model = subject.network(variant).eval(), subject.adapted(variant).eval()
        _close(subject.output(model), subject.output(plain), "output", tolerance=1e-4)


def _decays_to_the_plain_network(subject: Subject) -> None:
    """Weight decay must pull what was inserted towards the pretrained network, never away from it."""
    if not subject.method.keeps_output:
        raise IncompatibleError("the method says that it changes the output")
    for variant in (0, 1):
        plain, model = subject.network(variant), subject.adapted(variant)
        own = dict(plain.named_parameters())
        inserted = [name for name in decayed_names(model) if name not in own]
        with torch.no_grad():
            for name in inserted:
                model.get_parameter(name).zero_()
        try:
            _close(subject.output(model.eval()), subject.output(plain.eval()), "output", tolerance=1e-4)
        except NotConformingError as error:
            raise NotConformingError(
                f"with {inserted[:3]} at zero, to which weight decay pulls, the {error}; make what scales or "
                "shifts features a bare parameter, and leave it out of `decays`"
            ) from None


def _follows_formula(subject: Subject) -> None:
    bound = subject.method
    for variant in (0, 1):
        with torch.random.fork_rng(devices=[]):
            counts = bound.apply(subject.network(variant))
        expected = bound.method.count(subject.network(variant), **bound.options)
        if counts.trainable - counts.head != expected:
            raise NotConformingError(
                f"{counts.trainable - counts.head} parameters train, formula: {expected}"
            )


def _head_trains(subject: Subject) -> None:
    head = classifier(subject.adapted())
    if head is None:
        raise IncompatibleError("the network has no head")
    if not all(parameter.requires_grad for parameter in head.parameters()):
        raise NotConformingError("a part of the head is frozen")


def _moves_what_trains_alone(subject: Subject) -> None:
    model = subject.adapted()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if subject.method.trains_batch_norm:
        trainable |= {name for name, _ in model.named_buffers()}
    for _ in range(STEPS):
        subject.step(model)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    if moved != trainable:
        raise NotConformingError(
            f"frozen but moved: {sorted(moved - trainable)[:3]}; "
            f"trainable but still: {sorted(trainable - moved)[:3]}"
        )


def _survives_deepcopy(subject: Subject) -> None:
    model = subject.trained()
    before, twin = subject.output(model), copy.deepcopy(model)
    if not torch.equal(subject.output(twin), before):
        raise NotConformingError("the copy computes something else")
    subject.method.set_train_mode(twin)
    subject.backward(twin)
    if any(parameter.grad is not None for parameter in model.parameters()):
        raise NotConformingError("the copy trains the original's parameters: a hook holds on to a module")
    descend(twin)
    if not torch.equal(subject.output(model), before):
        raise NotConformingError("training the copy changes the original")


def _survives_checkpointing(subject: Subject) -> None:
    plain, saving = subject.adapted(), subject.adapted()
    subject.family.recompute(saving)
    _same_gradients(subject, plain, saving)


def _survives_compile(subject: Subject) -> None:
    """Traced forward and backward; not lowered to machine code, which is the compiler's own business."""
    plain, traced = subject.adapted(), subject.adapted()
    torch.compiler.reset()
    traced.compile(backend="aot_eager")
    # A layer's code is traced anew per shape; past the limit the rest would run untraced, unchecked.
    with torch._dynamo.config.patch(recompile_limit=64, suppress_errors=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
        _same_gradients(subject, plain, traced)


def _survives_autocast(subject: Subject) -> None:
    model = subject.trained()
    exact = subject.output(model)
    subject.method.set_train_mode(model)
    with torch.autocast("cpu", torch.bfloat16):
        _close(subject.output(model.eval()), exact, "output in bf16", tolerance=0.05)
        subject.method.set_train_mode(model)
        subject.backward(model)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise NotConformingError(f"the gradient of {name} is not finite")


def _merges(subject: Subject) -> None:
    model = subject.trained()
    before = subject.output(model)
    subject.method.merge(model)
    _close(subject.output(model), before, "output", tolerance=1e-4)
    wanted, found = subject.network().state_dict().keys(), model.state_dict().keys()
    if found != wanted:
        raise NotConformingError(
            f"after the merge {sorted(found ^ wanted)[:3]} are not the plain network's tensors; register the "
            "method with merge=..., or merge=None if it cannot be merged"
        )


CHECKS: dict[str, Callable[[Subject], None]] = {
    "output unchanged at step 0": _keeps_output,
    "weight decay pulls towards the plain network": _decays_to_the_plain_network,
    "count equals the formula": _follows_formula,
    "head trains": _head_trains,
    "trainable tensors move, frozen ones and BatchNorm statistics do not": _moves_what_trains_alone,
    "deepcopy": _survives_deepcopy,
    "gradient checkpointing": _survives_checkpointing,
    "torch.compile": _survives_compile,
    "bf16 autocast": _survives_autocast,
    "merge into plain weights": _merges,
}
WORKER_SECONDS = 1800.0  # for a process that tries every method
LOADS, PARALLEL = "save, load in a fresh process, equal bits", "two data-parallel processes"


def _find(subject: Subject, name: str, check: Callable[[Subject], None]) -> Finding:
    passed: bool | None = True
    detail = ""
    try:
        check(subject)
    except IncompatibleError as error:
        passed, detail = None, str(error)
    except NotConformingError as error:
        passed, detail = False, str(error)
    except Exception as error:  # a method may fail in any way; the kit reports and goes on
        place = place_of(error)
        passed, detail = False, f"{place}: {described(error)}" if place else described(error)
    return Finding(
        method=subject.method.text, family=subject.family.name, check=name, passed=passed, detail=detail
    )


def _start_workers(subjects: Sequence[Subject], root: Path) -> dict[str, subprocess.Popen[str]]:
    """A process that loads what is saved here, and two that train in parallel."""
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
        "subjects": [[subject.method.text, subject.family.name] for subject in subjects],
        "plugins": [plugin.to_dict() for plugin in plugins],
    }
    (root / "job.json").write_text(json.dumps(job))
    return {
        role: subprocess.Popen(
            [sys.executable, "-P", "-m", "raypeft.train.conformance", role, str(root)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for role in ("load", "0", "1")
    }


def _collect(
    workers: dict[str, subprocess.Popen[str]], subjects: Sequence[Subject], root: Path
) -> list[Finding]:
    errors = {role: _last_words(worker) for role, worker in workers.items()}
    return [
        Finding(
            method=subject.method.text,
            family=subject.family.name,
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
    """Against one process that accumulates both halves: BatchNorm sees halves in either."""
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
        _close(parameter, expected[name], name, tolerance=1e-4)


def _work(role: str, root: Path) -> None:
    """One of the processes: `load`, or the rank of a data-parallel one."""
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
    for number, (method, family) in enumerate(job["subjects"]):
        subject = Subject(method=bind_method(method), family=FAMILIES[family])
        found = _find(
            subject,
            role,
            (lambda s, n=number: _loads(s, root, n))  # type: ignore[misc]
            if role == "load"
            else (lambda s: _trains_in_parallel(s, int(role))),
        )
        details.append(found.detail)
    (root / f"{role}.json").write_text(json.dumps(details))


def _same_gradients(subject: Subject, plain: nn.Module, other: nn.Module) -> None:
    for model in (plain, other):
        subject.method.set_train_mode(model)
        subject.backward(model)
    for (name, one), (_, two) in zip(plain.named_parameters(), other.named_parameters(), strict=True):
        if (one.grad is None) != (two.grad is None):
            raise NotConformingError(f"{name} has a gradient in one and none in the other")
        if one.grad is not None and two.grad is not None:
            _close(two.grad, one.grad, f"gradient of {name}", tolerance=1e-4)


def _close(found: torch.Tensor, wanted: torch.Tensor, what: str, *, tolerance: float) -> None:
    """By the largest difference, as a share of the largest value."""
    difference = (found.float() - wanted.float()).abs().max().item()
    if difference > tolerance * max(wanted.abs().max().item(), 1e-3):
        raise NotConformingError(f"{what} differs by {difference:.2g}")


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]))
