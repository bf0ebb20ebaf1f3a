"""Checks that every method must pass, built in or the user's own, on small networks without weights or data.

Two more checks need other processes: conformance_processes.py.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.core.errors import IncompatibleError
from raypeft.core.plugins import check_origin, loaded_plugins
from raypeft.methods import bind_method, check_parts
from raypeft.methods.decay import decayed_names
from raypeft.models.families import classifier
from raypeft.train.conformance_processes import collect, start_workers
from raypeft.train.findings import Finding, NotConformingError, close, find
from raypeft.train.subjects import NETWORKS, STEPS, Subject, descend, small_parts


def check_methods(methods: Sequence[str], backbones: Sequence[str] = ()) -> list[Finding]:
    """Run every check of every method on every network that it fits; return the findings.

    `backbones`: "timm:" and an architecture, of which a small version is made; by default small networks of
    each family.
    Raises: UnknownNameError; IncompatibleError for a method that fits none of `backbones`; ConfigError, also
    for a method that other processes could not import.
    """
    bound = [bind_method(text) for text in methods]
    check_origin([("method", one.method.name) for one in bound], among=loaded_plugins())
    subjects = [
        subject
        for one in bound
        for backbone in backbones or NETWORKS
        if (subject := Subject(method=one, backbone=backbone)).fits
    ]
    for one in bound if backbones else ():
        if not any(subject.method is one for subject in subjects):
            check_parts(one.method, model=backbones[0], parts=small_parts(backbones[0]))
    num_threads = torch.get_num_threads()
    # One thread here and in the other processes: equal bits need equal numbers of threads, since a
    # convolution's sum depends on how it is cut up, and small networks gain nothing from more.
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            workers = start_workers(subjects, Path(folder))
            findings = [find(subject, name, check) for subject in subjects for name, check in CHECKS.items()]
            return findings + collect(workers, subjects, Path(folder))
    finally:
        torch.set_num_threads(num_threads)


def _keeps_output(subject: Subject) -> None:
    if not subject.method.keeps_output:
        raise IncompatibleError("the method says that it changes the output")
    for variant in (0, 1):
        plain, model = subject.network(variant).eval(), subject.adapted(variant).eval()
        close(subject.output(model), subject.output(plain), "output", tolerance=1e-4)


def _decays_to_the_plain_network(subject: Subject) -> None:
    """Check that weight decay pulls what was inserted towards the pretrained network, never away from it."""
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
            close(subject.output(model.eval()), subject.output(plain.eval()), "output", tolerance=1e-4)
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
        norms = {name for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
        trainable |= {name for name, _ in model.named_buffers() if name.rpartition(".")[0] in norms}
    moved: set[str] = set()
    for _ in range(STEPS):
        moved |= subject.step(model)  # also where a step is less than the last digit of what it changes
    moved |= {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
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
    """Check a traced forward and backward pass; lowering to machine code is left to the compiler."""
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
        close(subject.output(model.eval()), exact, "output in bf16", tolerance=0.05)
        subject.method.set_train_mode(model)
        subject.backward(model)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise NotConformingError(f"the gradient of {name} is not finite")


def _merges(subject: Subject) -> None:
    model = subject.trained()
    before = subject.output(model)
    subject.method.merge(model)
    close(subject.output(model), before, "output", tolerance=1e-4)
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


def _same_gradients(subject: Subject, plain: nn.Module, other: nn.Module) -> None:
    for model in (plain, other):
        subject.method.set_train_mode(model)
        subject.backward(model)
    for (name, one), (_, two) in zip(plain.named_parameters(), other.named_parameters(), strict=True):
        if (one.grad is None) != (two.grad is None):
            raise NotConformingError(f"{name} has a gradient in one and none in the other")
        if one.grad is not None and two.grad is not None:
            close(two.grad, one.grad, f"gradient of {name}", tolerance=1e-4)
