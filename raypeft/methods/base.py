"""The frame around every method: freeze, apply, head on, count, BatchNorm mode.

A method is a function that receives a fully frozen network and unfreezes or adds, in place, what
it trains. Everything that methods have in common happens here, once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypeft.core.errors import IncompatibleError
from raypeft.core.registry import Registry

Family = Literal["conv", "vit", "unet"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to make a frozen network trainable with few parameters."""

    name: str
    families: frozenset[Family]
    paper: str
    apply: Callable[[nn.Module], None]
    trains_batch_norm: bool  # True: batch statistics, running ones updated; False: BatchNorm in eval mode


@dataclass(frozen=True, kw_only=True)
class ParameterCounts:
    """How many parameters a method trains; `inserted` are those that the backbone does not have."""

    trainable: int
    inserted: int
    head: int
    total: int


METHODS: Registry[Method] = Registry("method")


def register_method(
    name: str, *, families: set[Family], paper: str, trains_batch_norm: bool = False
) -> Callable[[Callable[[nn.Module], None]], Callable[[nn.Module], None]]:
    """Register the decorated function as the method `name`; one function may carry several names."""

    def register(apply: Callable[[nn.Module], None]) -> Callable[[nn.Module], None]:
        METHODS.add(
            name,
            Method(
                name=name,
                families=frozenset(families),
                paper=paper,
                apply=apply,
                trains_batch_norm=trains_batch_norm,
            ),
        )
        return apply

    return register


def check_family(method: str, *, model: str, family: Family) -> None:
    """Raises: UnknownNameError; IncompatibleError when `method` does not fit the model's family."""
    families = METHODS[method].families
    if family not in families:
        fitting = [name for name, entry in METHODS.items() if family in entry.families]
        raise IncompatibleError(
            f"method '{method}' does not fit model '{model}' (family {family}; it fits "
            f"{', '.join(sorted(families))}); methods for {model}: {', '.join(fitting)}"
        )


def apply_method(method: str, model: nn.Module) -> ParameterCounts:
    """Turn `model` in place into one that trains what `method` trains, and its head.

    Draws the method's initial values from torch's global generator. The head is always trainable
    (design: the paper's counts contain it); listings that forget it train a random projection.
    """
    backbone = sum(parameter.numel() for parameter in model.parameters())
    model.requires_grad_(False)
    METHODS[method].apply(model)
    head = classifier(model)
    head.requires_grad_(True)
    total = sum(parameter.numel() for parameter in model.parameters())
    return ParameterCounts(
        trainable=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        inserted=total - backbone,
        head=sum(parameter.numel() for parameter in head.parameters()),
        total=total,
    )


def set_train_mode(method: str, model: nn.Module) -> None:
    """`model.train()`, with BatchNorm in eval mode unless the method trains it.

    Freezing weight and bias does not freeze running_mean and running_var: in train mode they drift,
    and an adapter saved without them gives other logits on a fresh backbone.
    """
    model.train()
    if not METHODS[method].trains_batch_norm:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def classifier(model: nn.Module) -> nn.Module:
    """The head of a timm model."""
    head = model.get_classifier()  # type: ignore[operator]
    assert isinstance(head, nn.Module), "timm's get_classifier returned no module"
    return head
